"""The history of readings: whoever is behind gets all that has grown, or is told that it cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.checkpoint.readings import NEVER, ReadingHistory
from replicator.errors import SourceChangedError

if TYPE_CHECKING:
    from replicator.checkpoint.readings import Reading
    from replicator.checkpoint.wal_files import WalFile

EPOCH = 1


@dataclass(frozen=True)
class Log:
    """All that a history looks at of a log."""

    number: int


@dataclass
class User:
    """Wants all readings from a serial number on."""

    next_serial: int = NEVER
    pending_log: int = NEVER


def log(number: int) -> WalFile:
    return cast("WalFile", Log(number))


def add(history: ReadingHistory, lengths: dict[int, int], grown: dict[int, int], *, epoch: int = EPOCH) -> None:
    """Add a reading by which logs have grown by so much."""
    for number, by_bytes in grown.items():
        lengths[number] = lengths.get(number, 0) + by_bytes
    history.add(
        epoch,
        float(sum(lengths.values())),
        done_at_seconds=float(sum(lengths.values())),
        oldest_log=min(grown, default=max(lengths, default=1)),
        grown={log(number): (lengths[number], by_bytes) for number, by_bytes in sorted(grown.items())},
    )


def last_lengths(readings: list[Reading]) -> dict[int, int]:
    return {item.log.number: item.length_bytes for reading in readings for item in reading.grown}


def test_an_idle_reading_takes_the_place_of_the_one_before() -> None:
    history, lengths = ReadingHistory(), dict[int, int]()
    add(history, lengths, {1: 5})
    for _ in range(3):
        add(history, lengths, {})
    assert [bool(reading.grown) for reading in history.since(1, EPOCH)] == [True, False]


def test_readings_of_another_epoch_are_not_told() -> None:
    history, lengths = ReadingHistory(), dict[int, int]()
    add(history, lengths, {1: 5})
    add(history, lengths, {1: 5}, epoch=EPOCH + 1)
    assert last_lengths(history.since(1, EPOCH)) == {1: 5}
    assert last_lengths(history.since(2, EPOCH + 1)) == {1: 10}


def test_what_nobody_wants_is_forgotten_but_for_the_newest() -> None:
    history, lengths = ReadingHistory(), dict[int, int]()
    for _ in range(4):
        add(history, lengths, {1: 5})
    history.forget([User(3), User(4), User()], whole_from=0)
    assert [reading.serial for reading in history.since(3, EPOCH)] == [3, 4]
    history.forget([], whole_from=0)
    assert [reading.serial for reading in history.since(4, EPOCH)] == [4]


def test_who_wants_what_is_gone_is_told() -> None:
    history, lengths = ReadingHistory(), dict[int, int]()
    for number in (1, 2, 3):
        add(history, lengths, {number: 5})
    history.forget([User(1)], whole_from=2)
    with pytest.raises(SourceChangedError, match="let go of"):
        history.since(1, EPOCH)
    assert last_lengths(history.since(2, EPOCH)) == {2: 5, 3: 5}


def test_nothing_is_missed_if_only_idle_readings_are_gone() -> None:
    history, lengths = ReadingHistory(), dict[int, int]()
    add(history, lengths, {1: 5})
    add(history, lengths, {})
    add(history, lengths, {})
    assert history.since(2, EPOCH)[0].grown == ()


@given(
    st.lists(st.dictionaries(st.integers(1, 4), st.integers(1, 9), max_size=2), min_size=1, max_size=60),
    st.integers(1, 60),
)
def test_a_history_that_is_thinned_out_tells_of_all_that_has_grown(
    growths: list[dict[int, int]], wanted: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("replicator.checkpoint.readings._MOST_READINGS", 5)
        history, lengths = ReadingHistory(), dict[int, int]()
        expected: dict[int, int] = {}
        for serial, growth in enumerate(growths, start=1):
            add(history, lengths, growth)
            if serial >= wanted:
                expected.update({number: lengths[number] for number in growth})
    readings = history.since(wanted, EPOCH)
    told = last_lengths(readings)
    # A reading that is merged with one from before what is wanted tells more, never less.
    assert {number: told[number] for number in expected} == expected
    assert all(length == lengths[number] or number not in expected for number, length in told.items())
    assert [reading.serial for reading in readings] == sorted(reading.serial for reading in readings)
    assert len(history.since(1, EPOCH)) <= 6
