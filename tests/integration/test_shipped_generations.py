"""Listing and verifying generations that were, or are being, shipped to."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.destination.directory import DirectoryDestination
from replicator.errors import ProtocolError
from replicator.replica.catalog import Writer, decode_catalog
from replicator.replica.decision import PublishRequest
from replicator.replica.generations import list_generations, read_catalog, read_shipped
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.publish import publish
from replicator.replica.verify import verify_generation
from replicator.rocksdb.filenames import FileKind
from tests.support.grown import JOURNAL_NAME, append, ship, tell
from tests.support.handmade import HandmadeDatabase
from tests.support.observer import RecordingObserver
from tests.support.replicas import BEGINNING, DATABASE, FakePrimary, current_generation, directory

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Entry
    from replicator.replica.catalog import CatalogFile
    from replicator.replica.generations import Generation
    from replicator.replica.shipped import ShippedLine
    from replicator.replica.verify import Verified

LAYOUT = ReplicaLayout(DATABASE)
LATER = BEGINNING + timedelta(minutes=10)


@pytest.fixture
def primary(tmp_path: Path) -> FakePrimary:
    return FakePrimary(tmp_path / "primary")


@pytest.fixture
def generation(tmp_path: Path, primary: FakePrimary) -> Path:
    """Return a generation whose newest log is 000014.log, with 3 000 bytes."""
    publish(primary.request(), directory(tmp_path / "base"), RecordingObserver())
    return current_generation(tmp_path / "base")


def listed(generation: Path) -> Generation:
    (found,) = list_generations(directory(generation.parents[2]), LAYOUT)
    return found


def shipped(generation: Path) -> tuple[ShippedLine, ...]:
    destination = directory(generation.parents[2])
    catalog = read_catalog(destination, LAYOUT, GenerationId.parse(generation.name))
    return read_shipped(destination, LAYOUT, catalog)


# --- listing -----------------------------------------------------------------------------------------


def test_a_generation_that_was_never_shipped_to(generation: Path, primary: FakePrimary) -> None:
    assert shipped(generation) == ()
    assert listed(generation).shipped_until is None
    assert listed(generation).file_count == len(primary.contents())


def test_a_grown_generation_is_listed_as_it_is_now(generation: Path, primary: FakePrimary) -> None:
    ship(generation, "000014.log", b"x" * 100, LATER)
    ship(generation, "000016.log", b"y" * 50, LATER + timedelta(seconds=1))
    found = listed(generation)
    assert found.complete
    assert found.shipped_until == LATER + timedelta(seconds=1)
    assert found.file_count == len(primary.contents()) + 1
    assert found.size_bytes == sum(map(len, primary.contents().values())) + 150
    assert [(line.name, line.size_bytes) for line in shipped(generation)] == [
        ("000014.log", 3100),
        ("000016.log", 50),
    ]


def test_an_append_under_way_is_not_counted_and_no_problem(generation: Path) -> None:
    ship(generation, "000014.log", b"x" * 100, LATER)
    before = listed(generation)
    append(generation, "000014.log", b"torn")
    append(generation, "000016.log", b"of a new log no line tells yet")
    with (generation / JOURNAL_NAME).open("a") as journal:
        journal.write('{"at": "2026-11-22T')
    assert listed(generation) == before
    assert before.complete


@pytest.mark.parametrize(
    "other",
    [{"bytes": 3101}, {"bytes": 2999}, {"wal": "000099.log"}, {"wal": "../000014.log"}, {"sha256": None}],
)
def test_lines_count_up_to_one_that_cannot_be(generation: Path, other: dict[str, object]) -> None:
    ship(generation, "000014.log", b"x" * 100, LATER)
    tell(generation, "000014.log", LATER + timedelta(seconds=1), **other)
    tell(generation, "000014.log", LATER + timedelta(seconds=2))
    assert listed(generation).shipped_until == LATER
    assert len(shipped(generation)) == 1


def test_a_journal_that_is_too_large_is_refused(generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(generation, "000014.log", b"x" * 100, LATER)
    monkeypatch.setattr("replicator.replica.generations.SHIPPED_LIMIT_BYTES", 100)
    with pytest.raises(ProtocolError, match=r"shipped\.jsonl"):
        shipped(generation)
    assert "shipped.jsonl" in listed(generation).problem


def test_coreutils_accept_the_checksums_of_a_grown_generation(generation: Path) -> None:
    ship(generation, "000014.log", b"x" * 100, LATER)
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=generation, check=True)


# --- verify ------------------------------------------------------------------------------------------


class Shipping:
    """A generation of a database of whole records, and the database, of which more can be shipped."""

    def __init__(self, folder: Path) -> None:
        self._base = folder / "base"
        self._at = LATER
        self.database = HandmadeDatabase(folder / "database")
        self.database.create_wal(2)
        self.database.write(2, count=20, body=bytes(900))
        checkpoint = inspect_checkpoint(self.database.path)
        writer = Writer("alpha", "/var/lib/chat", checkpoint.inventory.database_id)
        request = PublishRequest(DATABASE, self.database.path, checkpoint.inventory, BEGINNING, writer)
        publish(request, directory(self._base), RecordingObserver())
        self.generation = current_generation(self._base)

    def write(self, log: int, count: int) -> int:
        """Write batches and ship them; return the length of the log in bytes."""
        self.database.write(log, count=count, body=bytes(900))
        self.ship(log, self.database.wal_path(log).stat().st_size)
        return self.database.wal_path(log).stat().st_size

    def ship(self, log: int, up_to: int) -> None:
        """Ship a log up to a length in bytes."""
        name = self.database.wal_path(log).name
        there = self.generation / name
        done = there.stat().st_size if there.exists() else 0
        self._at += timedelta(seconds=1)
        ship(self.generation, name, self.database.wal_path(log).read_bytes()[done:up_to], self._at)

    def tell(self, log: int, **other: object) -> None:
        self._at += timedelta(seconds=1)
        tell(self.generation, self.database.wal_path(log).name, self._at, **other)

    def verified(self) -> Verified:
        generation = GenerationId.parse(self.generation.name)
        return verify_generation(directory(self._base), LAYOUT, generation, RecordingObserver())

    def findings(self) -> list[str]:
        return [str(finding) for finding in self.verified().findings]


@pytest.fixture
def shipping(tmp_path: Path) -> Shipping:
    return Shipping(tmp_path)


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_grown_generation_is_sound_and_read_up_to_its_newest_state(shipping: Shipping) -> None:
    before = shipping.verified()
    assert before.findings == ()
    # Some of the records lie across blocks, and some blocks are padded.
    for _ in range(5):
        shipping.write(2, 17)
    shipping.database.create_wal(3)
    shipping.ship(3, 0)
    shipping.write(3, 60)
    grown = shipping.verified()
    assert grown.findings == ()
    assert grown.files == before.files + 1
    assert grown.size_bytes - before.size_bytes == sum(
        shipping.database.wal_path(log).stat().st_size for log in (2, 3)
    ) - sum(file.size_bytes for file in shipped_logs(shipping.generation))


def shipped_logs(generation: Path) -> list[CatalogFile]:
    catalog = decode_catalog((generation / "replica.json").read_bytes())
    return [file for file in catalog.files if file.kind is FileKind.WAL]


def test_an_append_under_way_is_no_finding(shipping: Shipping) -> None:
    shipping.write(2, 5)
    before = shipping.verified()
    append(shipping.generation, "000002.log", b"torn")
    append(shipping.generation, "000003.log", b"of which no line tells yet")
    with (shipping.generation / JOURNAL_NAME).open("a") as journal:
        journal.write('{"at": "2026-11-22T')
    assert shipping.verified() == before
    assert before.findings == ()


def test_damage_in_what_was_shipped_is_found(shipping: Shipping) -> None:
    length = shipping.write(2, 5)
    flip_bit(shipping.generation / "000002.log", length - 100)
    assert shipping.findings() == ["000002.log does not have the SHA-256 that was recorded for it"]


def test_a_log_that_was_not_shipped_to_its_last_whole_record_is_found(shipping: Shipping) -> None:
    end = shipping.write(2, 5)
    shipping.database.write(2, count=2, body=bytes(900))
    shipping.ship(2, end + 100)
    expected = [f"000002.log was shipped up to byte {end + 100}, where no record ends"]
    assert shipping.findings() == expected
    # Though the states after it are sound.
    shipping.write(2, 1)
    assert shipping.findings() == expected


def test_records_that_were_damaged_before_they_were_shipped_are_found(shipping: Shipping) -> None:
    start = shipping.write(2, 5)
    shipping.database.write(2, count=5, body=bytes(900))
    flip_bit(shipping.database.wal_path(2), start + 1000)
    shipping.ship(2, shipping.database.wal_path(2).stat().st_size)
    (finding,) = shipping.findings()
    assert finding.startswith("000002.log is damaged after byte")


def test_an_earlier_state_with_a_wrong_digest_is_found(shipping: Shipping) -> None:
    length = shipping.write(2, 5)
    journal = shipping.generation / JOURNAL_NAME
    line = json.loads(journal.read_text())
    journal.write_text(json.dumps(line | {"sha256": "ab" * 32}) + "\n")
    shipping.write(2, 5)
    assert shipping.findings() == [
        f"shipped.jsonl tells of a SHA-256 that the first {length} bytes of 000002.log do not have"
    ]


def test_lines_that_the_files_contradict_are_found(shipping: Shipping) -> None:
    length = shipping.write(2, 5)
    shipping.tell(2, bytes=length + 1)
    assert shipping.findings() == [
        f"shipped.jsonl tells of {length + 1} bytes of 000002.log, there are {length} (line 2)"
    ]


def test_a_log_that_is_gone_is_found(shipping: Shipping) -> None:
    shipping.database.create_wal(3)
    length = shipping.write(3, 5)
    (shipping.generation / "000003.log").unlink()
    assert shipping.findings() == [f"shipped.jsonl tells of {length} bytes of 000003.log, there are 0 (line 1)"]


def test_a_malformed_line_is_found(shipping: Shipping) -> None:
    shipping.write(2, 5)
    with (shipping.generation / JOURNAL_NAME).open("a") as journal:
        journal.write("{}\n")
    shipping.write(2, 5)
    assert shipping.findings() == ["shipped.jsonl is damaged: line 2 makes no sense"]


def test_of_a_generation_that_is_being_shipped_to_every_look_is_sound(shipping: Shipping) -> None:
    """Whenever a verify reads, it finds lines and bytes that belong together."""

    class Growing(DirectoryDestination):
        def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
            shipping.write(2, 3)
            found = super().read_bytes(path, limit_bytes=limit_bytes)
            shipping.write(2, 3)
            return found

        def list_folder(self, folder: PurePosixPath) -> list[Entry]:
            shipping.write(2, 3)
            found = super().list_folder(folder)
            shipping.write(2, 3)
            return found

    base = shipping.generation.parents[2]
    generation = GenerationId.parse(shipping.generation.name)
    destination = Growing(base, label="growing")
    for _ in range(3):
        assert verify_generation(destination, LAYOUT, generation, RecordingObserver()).findings == ()
