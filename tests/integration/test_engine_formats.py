"""Our decoders against the files of real engines, RocksDB 6.29 to 11.9, and against what `ldb` reads in them."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.demo.settings import PrimarySettings
from replicator.rocksdb.filenames import blob_name, table_name
from replicator.rocksdb.manifest import ManifestState, table_identity
from replicator.rocksdb.options_file import parse_options
from replicator.rocksdb.record_log import RecordType, Tail
from replicator.rocksdb.table_footer import check_blob_footer, check_table_magic
from replicator.rocksdb.wal import WalReader
from tests.support.engines.bench_7 import write_with_bench
from tests.support.engines.ldb import DumpedBatch, dump_manifest, dump_wal
from tests.support.primaries import STORMS, Engine, Primary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.rocksdb.manifest import ManifestVersion

_PROJECT = Path(__file__).parents[2]
_FIXTURE = _PROJECT / "tests" / "fixtures" / "rocksdb-11.9-format-7.tar.gz"
_BATCHES = 700
_LOOKS = 2000
_BLOBS = {"enable_blob_files": "true", "min_blob_size": "32"}
_GARBAGE_COLLECTION = {"enable_blob_garbage_collection": "true", "blob_garbage_collection_age_cutoff": "1.0"}


@dataclass(frozen=True)
class Written:
    """A database that an engine wrote; `version` is what its OPTIONS must say."""

    path: Path
    version: str

    @property
    def manifest(self) -> Path:
        return self.path / (self.path / "CURRENT").read_text().strip()

    def state(self) -> ManifestVersion:
        state = ManifestState()
        state.feed(self.manifest.read_bytes())
        assert state.tail() is Tail.CLEAN
        return state.snapshot()


def _by_primary(engine: Engine, settings: PrimarySettings, version: str) -> Callable[[Path], Written]:
    """A primary under load that is killed."""

    def write(folder: Path) -> Written:
        with Primary(folder / "db", settings, engine=engine) as primary:
            primary.wait_for(_BATCHES)
            primary.kill()
        return Written(folder / "db", version)

    return write


def _by_bench(
    benchmarks: str = "fillrandom",
    flags: tuple[str, ...] = (),
    family: dict[str, str] | None = None,
    **database: str,
) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        write_with_bench(
            folder / "db",
            benchmarks=benchmarks,
            database_options=database,
            family_options=family or {},
            flags=flags,
        )
        return Written(folder / "db", "7.8.3")

    return write


def _by_writer_6(folder: Path) -> Written:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.engines.writer_6", folder / "db"],
        cwd=_PROJECT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    written = Written(folder / "db", "6.29.5")
    live = {Path(name).name: size for name, size in json.loads(done.stdout)}
    tables = written.state().tables
    assert {table_name(number): table.size_bytes for number, table in tables.items()} == live
    return written


def _fixture(folder: Path) -> Written:
    with tarfile.open(_FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return Written(folder / "rocksdb-11.9", "11.9.0")


_REVERSE = PrimarySettings(family_options={"comparator": "rocksdb.ReverseBytewiseComparator"})
_DATABASES: dict[str, Callable[[Path], Written]] = {
    "6.29": _by_primary(Engine.ROCKSDB_6, PrimarySettings(), "6.29.5"),
    "6.29-comparator-and-drop": _by_writer_6,
    "7.8-families": _by_bench(flags=("--num_column_families=4",)),
    "7.8-atomic-flush": _by_bench(flags=("--num_column_families=3",), atomic_flush="true"),
    "7.8-blobs": _by_bench(
        "fillrandom,overwrite,overwrite,compact,overwrite", family=_BLOBS | _GARBAGE_COLLECTION
    ),
    "7.8-range-deletions": _by_bench(
        "fillrandom,overwrite,compact,overwrite",
        ("--max_num_range_tombstones=50", "--writes_per_range_tombstone=20"),
    ),
    "7.8-compressed-wal": _by_bench(wal_compression="kZSTD"),
    "7.8-recycled-wals": _by_bench(recycle_log_file_num="4", wal_recovery_mode="kSkipAnyCorruptedRecords"),
    "7.8-tracked-wals": _by_bench(track_and_verify_wals_in_manifest="true"),
    "7.8-large-values": _by_bench(flags=("--value_size=70000", "--num=60"), wal_compression="kZSTD"),
    "9.8-comparator": _by_primary(Engine.ROCKSDB_9, _REVERSE, "9.8.4"),
    **{f"9.8-{name}": _by_primary(Engine.ROCKSDB_9, storm, "9.8.4") for name, storm in STORMS.items()},
    "10.7": _by_primary(Engine.ROCKSDB_10, PrimarySettings(), "10.7.5"),
    "11.9": _fixture,
}


@pytest.fixture(scope="module", params=list(_DATABASES))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return _DATABASES[request.param](tmp_path_factory.mktemp("engine"))


def test_the_manifest_says_what_ldb_reads_in_it(written: Written) -> None:
    ours, theirs = written.state(), dump_manifest(written.manifest)
    assert ours.cut_offset == written.manifest.stat().st_size
    assert {id_: family.name for id_, family in ours.column_families.items()} == {
        id_: family.name for id_, family in theirs.families.items()
    }
    assert {id_: family.log_number for id_, family in ours.column_families.items()} == {
        id_: family.log_number for id_, family in theirs.families.items()
    }
    assert all(ours.column_families[id_].comparator in theirs.families[id_].comparator for id_ in theirs.families)
    tables = {number: table for family in theirs.families.values() for number, table in family.tables.items()}
    assert {
        number: (table.level, table.size_bytes, table.smallest_sequence, table.largest_sequence)
        for number, table in ours.tables.items()
    } == tables
    blobs = {number: blob for family in theirs.families.values() for number, blob in family.blobs.items()}
    assert {number: (blob.total_count, blob.size_bytes - 62) for number, blob in ours.blobs.items()} == blobs
    assert (ours.next_file_number, ours.last_sequence) == (theirs.next_file_number, theirs.last_sequence)


def test_every_live_file_is_there_and_whole(written: Written) -> None:
    version = written.state()
    for number, table in version.tables.items():
        content = (written.path / table_name(number)).read_bytes()
        assert len(content) == table.size_bytes
        check_table_magic(content[-8:])
    for number, blob in version.blobs.items():
        content = (written.path / blob_name(number)).read_bytes()
        assert len(content) == blob.size_bytes
        check_blob_footer(content[-32:])


def test_every_table_has_an_identity_of_its_own(written: Written) -> None:
    version = written.state()
    identities = {table_identity(table, version.database_id or "") for table in version.tables.values()}
    assert len(identities) == len(version.tables)
    assert "" not in identities


def test_a_manifest_that_grows_leads_to_the_same_state(written: Written) -> None:
    content = written.manifest.read_bytes()
    state = ManifestState()
    for visible in (*range(0, len(content), 53), len(content)):
        before = state.cut_offset
        state.feed(content[state.next_offset : visible])
        assert before <= state.cut_offset <= visible
    assert state.snapshot() == written.state()


def _wals(written: Written) -> Iterator[tuple[Path, int, bytes]]:
    for path in sorted(written.path.glob("*.log")):
        yield path, int(path.stem), path.read_bytes()


def test_wals_hold_the_batches_that_ldb_finds(written: Written) -> None:
    batches = 0
    for path, number, content in _wals(written):
        wal = WalReader(number)
        ours = [
            DumpedBatch(
                sequence=int.from_bytes(payload[:8], "little"),
                count=int.from_bytes(payload[8:12], "little"),
                size_bytes=len(payload),
            )
            for payload in wal.feed(content)
        ]
        assert ours == dump_wal(path)
        assert wal.end_offset <= len(content)
        assert wal.tail() is not Tail.DAMAGED
        batches += wal.record_count
    assert batches > 0


def test_needed_wals_begin_where_the_manifest_says_and_follow_each_other(written: Written) -> None:
    version = written.state()
    readers = [
        (number, WalReader(number)) for _, number, _ in _wals(written) if number >= version.lowest_needed_wal
    ]
    assert readers
    last: int | None = None
    for number, reader in readers:
        reader.feed((written.path / f"{number:06d}.log").read_bytes())
        if reader.first_sequence is not None and reader.last_sequence is not None:
            assert last is None or reader.first_sequence > last
            last = reader.last_sequence
    assert last is not None
    for number, synced_bytes in version.wals.items():
        assert number in dict(readers)
        assert dict(readers)[number].end_offset >= (synced_bytes or 0)


def test_options_are_read(written: Written) -> None:
    newest = max(written.path.glob("OPTIONS-*[0-9]"))
    options = parse_options(newest.read_text())
    assert options.rocksdb_version == written.version
    assert set(options.column_families) >= {"default"}


# --- what each way of writing must have left in the files, so that the tests above meant something ------------


def _record_types(written: Written) -> set[int]:
    """Types of physical records, as they stand in the file, at the start of each WAL."""
    return {content[6] for _, _, content in _wals(written) if len(content) > 7}


def _make(name: str, folder: Path) -> Written:
    return _DATABASES[name](folder)


def test_compressed_wals_were_compressed(tmp_path: Path) -> None:
    assert _record_types(_make("7.8-compressed-wal", tmp_path)) == {RecordType.COMPRESSION}


def test_a_live_recycled_wal_ends_where_its_past_begins(tmp_path: Path) -> None:
    with Primary(tmp_path / "db", STORMS["recycled_wals"]) as primary:
        written = Written(primary.path, "9.8.4")
        for _ in range(_LOOKS):
            primary.wait_for_more(1)
            for path in sorted(written.path.glob("*.log")):
                reader = WalReader(int(path.stem))
                with suppress(FileNotFoundError):
                    content = path.read_bytes()
                    reader.feed(content)
                assert reader.tail() is not Tail.DAMAGED
                if reader.record_count and content[reader.end_offset :].strip(b"\0"):
                    return
    pytest.fail(f"in {_LOOKS} looks no log held anything of its past")


def test_blob_files_were_collected(tmp_path: Path) -> None:
    written = _make("7.8-blobs", tmp_path)
    version = written.state()
    assert version.blobs
    made = {
        line.split()[1]
        for line in subprocess.run(
            ["ldb", "manifest_dump", f"--path={written.manifest}", "--verbose", "--hex"],
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        )
        .stdout.replace("BlobFileAddition: blob_file_number:", "\nADDED ")
        .splitlines()
        if line.startswith("ADDED")
    }
    assert len(made) > len(version.blobs)
    # The engine was closed in order: what is on disk is what is live.
    assert {path.name for path in written.path.glob("*.blob")} == {blob_name(number) for number in version.blobs}


def test_ingestions_and_families_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    for storm in ("ingest", "churn"):
        folder = tmp_path / storm
        folder.mkdir()
        quiet = _make("9.8-small_memtables", folder)
        (folder / "stormy").mkdir()
        stormy = _make(f"9.8-{storm}", folder / "stormy")
        assert stormy.state().discontinuities > quiet.state().discontinuities


def test_the_fixture_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    version = _make("11.9", tmp_path).state()
    assert version.column_family_names == ("default", "cf0", "cf1", "cf2", "cf3")
    assert len(version.tables) == 5
    wal = WalReader(23)
    batches = wal.feed((tmp_path / "rocksdb-11.9" / "000023.log").read_bytes())
    assert batches[-1].count(b"\x04last\x0c000000000968") == 5
