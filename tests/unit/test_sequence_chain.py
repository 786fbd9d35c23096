"""Whether a log was missed, told by the sequence numbers of those that were seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.checkpoint.sequence_chain import SequenceChain


def after_log_four() -> SequenceChain:
    """A chain that has seen log 4 with the writes 1 to 10."""
    chain = SequenceChain()
    chain.follow(4, 1, 10, deletable_below=4)
    return chain


def test_the_first_log_that_is_seen_follows_nothing() -> None:
    assert SequenceChain().follow(40, 1000, 1010, deletable_below=40)


@pytest.mark.parametrize("deletable_below", [4, 5, 6, 100])
def test_numbers_without_a_gap_need_no_log_in_between(deletable_below: int) -> None:
    assert after_log_four().follow(6, 11, 12, deletable_below=deletable_below)


@pytest.mark.parametrize(("deletable_below", "is_whole"), [(4, True), (5, True), (6, False), (7, False)])
def test_a_gap_tells_of_a_missing_log_only_if_one_may_have_been_deleted(
    deletable_below: int, *, is_whole: bool
) -> None:
    """Log 5 can only be gone once the primary may delete what is below 6."""
    assert after_log_four().follow(6, 13, 14, deletable_below=deletable_below) is is_whole


def test_what_one_log_has_grown_by_leaves_no_gap() -> None:
    chain = after_log_four()
    assert chain.follow(4, 1, 50, deletable_below=100)
    assert chain.follow(5, 51, 60, deletable_below=100)


def test_a_log_that_repeats_numbers_is_no_gap() -> None:
    """A recovery writes an empty batch with the number of the write before."""
    assert after_log_four().follow(6, 10, 10, deletable_below=100)


def test_after_a_missing_log_it_goes_on_from_the_one_that_was_seen() -> None:
    chain = after_log_four()
    assert not chain.follow(6, 20, 30, deletable_below=6)
    assert chain.follow(6, 20, 31, deletable_below=7)
    assert chain.follow(7, 32, 33, deletable_below=8)


@pytest.mark.parametrize(
    ("last_sequence", "deletable_below", "is_whole"),
    [(10, 100, True), (11, 5, True), (11, 6, False), (9, 6, True)],
)
def test_what_is_in_tables_was_in_a_log(last_sequence: int, deletable_below: int, *, is_whole: bool) -> None:
    assert after_log_four().reaches(last_sequence, deletable_below=deletable_below) is is_whole


def test_what_was_in_tables_before_the_first_log_is_no_matter() -> None:
    assert SequenceChain().reaches(1000, deletable_below=50)


@given(st.lists(st.integers(1, 50), min_size=3, max_size=10), st.data())
def test_exactly_a_log_that_is_left_out_is_missed(writes: list[int], data: st.DataObject) -> None:
    """Of logs with at least one write each, all of them deletable but the newest."""
    missed = data.draw(st.integers(1, len(writes) - 2))
    chain = SequenceChain()
    sequence = 0
    found = []
    for number, count in enumerate(writes, start=10):
        first, sequence = sequence + 1, sequence + count
        if number - 10 != missed:
            found.append(chain.follow(number, first, sequence, deletable_below=number))
    assert found == [True] * missed + [False] + [True] * (len(writes) - missed - 2)
