"""Listing and verifying generations that were, or are being, shipped to."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicator.errors import ProtocolError
from replicator.replica.generations import list_generations, read_catalog, read_shipped
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.publish import publish
from tests.support.grown import JOURNAL_NAME, append, ship, tell
from tests.support.observer import RecordingObserver
from tests.support.replicas import BEGINNING, DATABASE, FakePrimary, current_generation, directory

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.replica.generations import Generation
    from replicator.replica.shipped import ShippedLine

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
