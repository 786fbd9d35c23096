"""Listing and verifying generations, sound ones and others."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rocksdict import Options, Rdict, WriteBatch

from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.destination.directory import DirectoryDestination
from replicator.errors import NotFoundError, PermanentDestinationError
from replicator.replica.catalog import decode_catalog, encode_catalog
from replicator.replica.decision import PublishRequest
from replicator.replica.generations import list_generations
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.publish import publish
from replicator.replica.restore import plan_restore, restore
from replicator.replica.verify import verify_generation
from tests.support.observer import RecordingObserver
from tests.support.replicas import (
    DATABASE,
    WRITER,
    FakePrimary,
    current_generation,
    directory,
    flip_bit,
    publish_database,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import Download, TransferObserver

LAYOUT = ReplicaLayout(DATABASE)
FIXTURE = Path(__file__).parents[1] / "fixtures" / "rocksdb-11.9-format-7.tar.gz"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of RocksDB 11.9 with five column families and logs."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (current,) = (tmp_path / "unpacked").rglob("CURRENT")
    return current.parent


@pytest.fixture
def generation(tmp_path: Path, database: Path) -> Path:
    return publish_database(tmp_path / "base", database)


def findings(generation: Path, destination: DirectoryDestination | None = None) -> list[str]:
    base = generation.parents[2]
    verified = verify_generation(
        destination or directory(base), LAYOUT, GenerationId.parse(generation.name), RecordingObserver()
    )
    return sorted(str(finding) for finding in verified.findings)


def names(generation: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in generation.glob(pattern))


# --- verify ------------------------------------------------------------------------------------------


def test_a_real_database_is_sound(generation: Path) -> None:
    observer = RecordingObserver()
    verified = verify_generation(
        directory(generation.parents[2]), LAYOUT, GenerationId.parse(generation.name), observer
    )
    catalog = decode_catalog((generation / "replica.json").read_bytes())
    assert verified.findings == ()
    assert verified.files == len(catalog.files)
    assert verified.size_bytes == catalog.size_bytes == observer.moved_bytes
    assert len(catalog.column_families) == 5


def test_every_damaged_file_is_named(generation: Path) -> None:
    table, other_table = names(generation, "*.sst")[:2]
    log = names(generation, "*.log")[0]
    manifest = names(generation, "MANIFEST-*")[0]
    for name in (table, log, manifest, "CURRENT"):
        flip_bit(generation / name)
    with (generation / other_table).open("ab") as file:
        file.write(b"!")
    (generation / "000001.log").write_bytes(b"from elsewhere")
    (generation / "SHA256SUMS").unlink()
    size = (generation / other_table).stat().st_size
    assert findings(generation) == sorted(
        [
            f"{table} does not have the SHA-256 that was recorded for it",
            f"{log} does not have the SHA-256 that was recorded for it",
            f"{manifest} does not have the SHA-256 that was recorded for it",
            "CURRENT does not have the SHA-256 that was recorded for it",
            "CURRENT does not say what follows from the catalog",
            f"{other_table} has {size} bytes, expected {size - 1}",
            "000001.log is not in the catalog",
            "SHA256SUMS is missing",
        ]
    )


def test_missing_files_do_not_hide_others(generation: Path) -> None:
    table, other_table = names(generation, "*.sst")[:2]
    (generation / table).unlink()
    (generation / "CURRENT").unlink()
    flip_bit(generation / other_table)
    assert findings(generation) == sorted(
        [
            f"{table} is missing",
            "CURRENT is missing",
            f"{other_table} does not have the SHA-256 that was recorded for it",
        ]
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_damaged_catalog_is_a_finding(generation: Path, content: bytes) -> None:
    (generation / "replica.json").write_bytes(content)
    (finding,) = findings(generation)
    assert finding.startswith("replica.json cannot be used")


def test_no_such_generation(generation: Path) -> None:
    missing = generation.with_name("20200101T000000.000Z")
    with pytest.raises(NotFoundError):
        findings(missing)


def recatalogued(database: Path, tmp_path: Path, change: Callable[[Path], object]) -> list[str]:
    """Publish `database` with `change` done to the copy: digests agree, so only the structure can tell."""
    checkpoint = inspect_checkpoint(database)
    change(database)
    sizes = {path.name: path.stat().st_size for path in database.iterdir()}
    files = tuple(
        type(file)(file.name, file.kind, sizes[file.name], file.identity)
        for file in checkpoint.inventory.files
        if file.name in sizes
    )
    inventory = type(checkpoint.inventory)(
        checkpoint.inventory.database_id, checkpoint.inventory.manifest_name, files, ("default",)
    )
    request = PublishRequest(DATABASE, database, inventory, datetime(2026, 11, 22, tzinfo=UTC), WRITER)
    publish(request, directory(tmp_path / "base"), RecordingObserver())
    return findings(current_generation(tmp_path / "base"))


def test_a_table_that_the_manifest_names_must_be_in_the_catalog(database: Path, tmp_path: Path) -> None:
    table = names(database, "*.sst")[0]
    size = (database / table).stat().st_size
    assert recatalogued(database, tmp_path, lambda folder: (folder / table).unlink()) == [
        f"{table} is not in the catalog with the {size} bytes that the MANIFEST asks for"
    ]


@pytest.mark.parametrize("pattern", ["*.log", "MANIFEST-*"])
def test_a_log_that_was_damaged_before_it_was_sent_is_found_out(
    database: Path, tmp_path: Path, pattern: str
) -> None:
    name = max(names(database, pattern), key=lambda name: (database / name).stat().st_size)

    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[100] ^= 1
        (folder / name).write_bytes(content)

    (finding,) = [text for text in recatalogued(database, tmp_path, damage) if text.startswith(name)]
    assert "damaged after byte" in finding or "not sound" in finding


def test_a_file_that_cannot_be_read_is_a_finding_and_the_others_are_still_read(generation: Path) -> None:
    unreadable, damaged = names(generation, "*.sst")[:2]
    flip_bit(generation / damaged)

    class BadSector(DirectoryDestination):
        def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
            for item in downloads:
                if item.source.name == unreadable:
                    raise PermanentDestinationError("input/output error")
                super().download([item], observer)

    assert findings(generation, BadSector(generation.parents[2], label="test")) == sorted(
        [
            f"{unreadable} cannot be read: input/output error",
            f"{damaged} does not have the SHA-256 that was recorded for it",
        ]
    )


# --- a round trip that an engine judges --------------------------------------------------------------


def test_what_was_published_opens_where_it_was_restored(tmp_path: Path) -> None:
    primary = tmp_path / "primary"
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - the binding takes it by position only
    database = Rdict(str(primary), options)
    for turn in range(5):
        batch = WriteBatch(raw_mode=True)
        for key in range(100):
            batch.put(b"%03d" % key, b"%d" % turn)
        database.write(batch)
        if turn == 2:
            database.flush()
    database.close()
    generation = publish_database(tmp_path / "base", primary)
    assert findings(generation) == []
    destination = directory(tmp_path / "base")
    restore(plan_restore(destination, LAYOUT, tmp_path / "restored"), destination, RecordingObserver())
    restored = Rdict(str(tmp_path / "restored"), Options(raw_mode=True))
    assert {bytes(value) for value in restored.values()} == {b"4"}
    assert len(list(restored.keys())) == 100
    restored.close()


# --- listing -----------------------------------------------------------------------------------------


def test_generations_are_listed_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    base = tmp_path / "base"
    primary = FakePrimary(tmp_path / "primary")
    for _ in range(4):
        publish(primary.request(), directory(base), RecordingObserver())
    folder = base / DATABASE / "generations"
    first, second, third, fourth = sorted(folder.iterdir())
    (first / "000010.sst").unlink()
    (second / "replica.json").write_text("{")
    (folder / "not-an-id").mkdir()
    (folder / "20300101T000000.000Z").write_text("a file, not a folder")

    listed = list_generations(directory(base), LAYOUT)
    assert [str(one.id) for one in listed] == [path.name for path in (first, second, third, fourth)]
    assert [one.complete for one in listed] == [False, False, True, True]
    assert listed[0].problem == "000010.sst is missing"
    assert "catalog is damaged" in listed[1].problem
    assert listed[1].writer is None
    assert [one.links for one in listed] == [(), (), ("checkpoint_prev",), ("checkpoint_current",)]
    assert listed[3].file_count == len(primary.contents())
    assert listed[3].size_bytes == sum(map(len, primary.contents().values()))
    assert listed[3].writer == WRITER


def test_a_draft_is_not_complete(tmp_path: Path) -> None:
    base = tmp_path / "base"
    primary = FakePrimary(tmp_path / "primary")
    publish(primary.request(), directory(base), RecordingObserver())
    path = current_generation(base) / "replica.json"
    catalog = decode_catalog(path.read_bytes())
    draft = type(catalog)(
        **{name: getattr(catalog, name) for name in catalog.__slots__ if name != "files"},
        files=tuple(type(file)(file.name, file.kind, file.size_bytes, "", None) for file in catalog.files),
    )
    path.write_bytes(encode_catalog(draft))
    (listed,) = list_generations(directory(base), LAYOUT)
    assert "draft" in listed.problem


def test_no_replica_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no replica"):
        list_generations(directory(tmp_path / "base"), LAYOUT)
