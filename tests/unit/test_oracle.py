"""The judge's rules, against a model of a primary and against states that no primary has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.demo.layout import (
    DEFAULT_FAMILY,
    INGESTED_KEY,
    LAYOUT_KEY,
    POSITION_KEY,
    Layout,
    Verdict,
    batch_writes,
    churn_family,
    ingested_value,
    judge_contents,
    position_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Contents = dict[str, dict[bytes, bytes]]

LAYOUT = Layout(column_families=3, ring=5, value_bytes=4)
STORMY = replace(LAYOUT, delete_range_every=3, ingest_every=4, churn_every=6)

layouts = st.builds(
    Layout,
    column_families=st.integers(1, 4),
    ring=st.integers(1, 12),
    value_bytes=st.integers(0, 4),
    delete_range_every=st.integers(0, 5),
    ingest_every=st.integers(0, 5),
    churn_every=st.integers(0, 5),
)


def snapshots(layout: Layout, batches: int) -> Iterator[tuple[int, Contents]]:
    """Model a primary: yield its state after each single step that a copy could be taken at."""
    contents: Contents = {name: {} for name in layout.fixed_families}
    yield 0, contents
    for number in range(1, batches + 1):
        churn = layout.newest_churn(number) == number
        if churn:
            contents[churn_family(number)] = {}
            yield number - 1, contents
        for write in batch_writes(number, layout):
            held = contents[write.family]
            if write.delete_range:
                begin, end = write.delete_range
                for key in [key for key in held if begin <= key < end]:
                    del held[key]
            held.update(write.entries)
        yield number, contents
        if churn and contents.pop(churn_family(number - layout.churn_every), None) is not None:
            yield number, contents
        if layout.ingest_every and number % layout.ingest_every == 0:
            for name in layout.fixed_families:
                value = ingested_value(name, number, layout)
                assert value is not None
                contents[name][INGESTED_KEY] = value
                yield number, contents


def contents_at(batches: int, layout: Layout = LAYOUT) -> Contents:
    *_, (_, contents) = snapshots(layout, batches)
    return contents


@given(layouts, st.integers(0, 30))
def test_every_state_of_a_primary_is_exact(layout: Layout, batches: int) -> None:
    for number, contents in snapshots(layout, batches):
        verdict = judge_contents(contents)
        assert verdict.exact, verdict.details
        assert verdict.position == number


@given(layouts.filter(lambda layout: layout.column_families > 1), st.integers(1, 30), st.integers(1, 5), st.data())
def test_a_family_from_another_instant_is_torn(
    layout: Layout, batches: int, more: int, data: st.DataObject
) -> None:
    contents = contents_at(batches, layout)
    other = data.draw(st.sampled_from(layout.fixed_families))
    contents[other] = contents_at(batches + more, layout)[other]
    assert judge_contents(contents).torn >= 1


@given(layouts, st.integers(1, 30), st.data())
def test_no_entry_can_be_missing(layout: Layout, batches: int, data: st.DataObject) -> None:
    contents = contents_at(batches, layout)
    family = data.draw(st.sampled_from(sorted(contents)))
    key = data.draw(st.sampled_from(sorted(contents[family])))
    del contents[family][key]
    verdict = judge_contents(contents)
    # At the batch itself the ingested file may not be there yet, but only the first one leaves nothing behind.
    if key == INGESTED_KEY and batches == layout.ingest_every:
        assert verdict.exact
    else:
        assert not verdict.exact
        assert verdict.details


@given(layouts, st.integers(1, 30), st.data())
def test_no_value_can_be_damaged(layout: Layout, batches: int, data: st.DataObject) -> None:
    contents = contents_at(batches, layout)
    family = data.draw(st.sampled_from(sorted(contents)))
    key = data.draw(st.sampled_from(sorted(contents[family])))
    contents[family][key] += b"!"
    assert not judge_contents(contents).exact


@given(layouts)
def test_a_layout_survives_its_json(layout: Layout) -> None:
    assert Layout.from_json(layout.to_json()) == layout


def test_a_verdict_survives_its_json() -> None:
    verdict = Verdict(opened=True, position=3, torn=1, holes=2, column_families=("default",), details=("why",))
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_a_slot_one_round_behind_is_a_hole() -> None:
    contents = contents_at(12)
    contents["cf-1"][b"slot-000001"] = contents_at(7)["cf-1"][b"slot-000001"]
    assert judge_contents(contents) == Verdict(
        opened=True,
        position=12,
        holes=1,
        column_families=("default", "cf-1", "cf-2"),
        details=("cf-1: slot-000001 holds 6, expected 11",),
    )


def test_a_slot_ahead_of_the_position_is_a_hole() -> None:
    contents = contents_at(13)
    for held in contents.values():
        held[POSITION_KEY] = position_value(12)
    verdict = judge_contents(contents)
    assert (verdict.position, verdict.torn, verdict.holes) == (12, 0, 3)


def test_values_of_another_family_are_holes() -> None:
    contents = contents_at(12)
    contents["cf-1"] = dict(contents["cf-2"])
    assert judge_contents(contents).holes == LAYOUT.ring


def test_the_position_of_a_torn_replica_is_the_lowest() -> None:
    contents = contents_at(12)
    contents["cf-2"] = contents_at(9)["cf-2"]
    verdict = judge_contents(contents)
    assert (verdict.position, verdict.torn, verdict.holes) == (9, 1, 0)
    assert verdict.details == ("cf-2: is at batch 9, others at 12",)


def test_a_missing_family_is_torn() -> None:
    contents = contents_at(12)
    del contents["cf-2"]
    assert judge_contents(contents).torn == 1


def test_an_unknown_family_is_torn() -> None:
    contents = contents_at(12)
    contents["churn-6"] = {}
    assert judge_contents(contents).torn == 1


def test_a_key_that_a_range_deletion_removed_is_a_hole() -> None:
    contents = contents_at(12, STORMY)
    contents["cf-1"].update(contents_at(10, STORMY)["cf-1"].items() - contents["cf-1"].items())
    assert judge_contents(contents).holes > 0


def test_an_ingested_file_may_only_be_late_at_its_own_batch() -> None:
    at_batch, after_batch = contents_at(8, STORMY), contents_at(9, STORMY)
    before = contents_at(7, STORMY)["cf-1"][INGESTED_KEY]
    at_batch["cf-1"][INGESTED_KEY] = after_batch["cf-1"][INGESTED_KEY] = before
    assert judge_contents(at_batch).exact
    assert judge_contents(after_batch).holes == 1


@pytest.mark.parametrize(("batches", "left_over"), [(13, "churn-6"), (11, "churn-18"), (14, "churn-18")])
def test_a_churned_family_at_the_wrong_time_is_torn(batches: int, left_over: str) -> None:
    contents = contents_at(batches, STORMY)
    contents[left_over] = {}
    assert judge_contents(contents).torn == 1


def test_a_churned_family_that_is_missing_is_torn() -> None:
    contents = contents_at(13, STORMY)
    del contents["churn-12"]
    assert judge_contents(contents).torn == 1


def test_a_replica_from_before_the_first_batch_is_exact_only_if_empty() -> None:
    assert judge_contents({DEFAULT_FAMILY: {}}) == Verdict(opened=True, column_families=(DEFAULT_FAMILY,))
    without_first = contents_at(12)
    del without_first[DEFAULT_FAMILY][LAYOUT_KEY]
    assert judge_contents(without_first).torn == 3


def test_an_unreadable_layout_is_a_hole() -> None:
    contents = contents_at(12)
    contents[DEFAULT_FAMILY][LAYOUT_KEY] = b"{"
    assert judge_contents(contents).holes == 1
