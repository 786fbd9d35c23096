"""What a retention policy lets go, and what it never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.replica.layout import GenerationId
from replicator.replica.retention import KeepPolicy, generations_to_drop

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday

ids = st.integers(0, 4_000_000).map(lambda minutes: GenerationId(minutes * 60_000))
policies = st.builds(
    KeepPolicy,
    last=st.integers(1, 5),
    hourly=st.integers(0, 5),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 5),
)


def back(**ago: float) -> GenerationId:
    return GenerationId.at(NOON - timedelta(**ago))


def test_last_counts_the_newest() -> None:
    generations = [back(minutes=5 * step) for step in range(6)]
    assert generations_to_drop(generations, KeepPolicy(last=4)) == (back(minutes=25), back(minutes=20))


def test_the_newest_of_each_hour_stays() -> None:
    generations = [
        back(),
        back(minutes=10),
        back(minutes=50),
        back(minutes=70),
        back(hours=9),
        back(hours=9, minutes=1),
    ]
    dropped = generations_to_drop(generations, KeepPolicy(last=1, hourly=4))
    # Hours without a generation do not count: 12, 11, 10 and 3 o'clock are four.
    assert dropped == (back(hours=9, minutes=1), back(minutes=50))


def test_days_and_weeks_are_those_of_utc() -> None:
    daily = [back(), back(hours=11), back(hours=13), back(hours=36)]
    assert generations_to_drop(daily, KeepPolicy(last=1, daily=2)) == (back(hours=36), back(hours=11))
    weekly = [back(), back(days=6), back(days=7), back(days=8)]
    assert generations_to_drop(weekly, KeepPolicy(last=1, weekly=2)) == (back(days=8), back(days=6))


def test_what_one_rule_keeps_no_other_drops() -> None:
    generations = [back(), back(minutes=1), back(days=1), back(days=30)]
    assert generations_to_drop(generations, KeepPolicy(last=2, daily=2, weekly=3)) == ()


@given(st.lists(ids), policies, st.lists(ids, max_size=3))
def test_the_newest_and_the_protected_always_stay(
    generations: list[GenerationId], policy: KeepPolicy, protected: list[GenerationId]
) -> None:
    dropped = set(generations_to_drop(generations, policy, protected=protected))
    assert dropped <= set(generations)
    assert not dropped & set(protected)
    assert not dropped & set(sorted(set(generations))[-policy.last :])


@given(st.lists(ids), policies)
def test_no_more_stay_than_the_rules_allow(generations: list[GenerationId], policy: KeepPolicy) -> None:
    kept = set(generations) - set(generations_to_drop(generations, policy))
    assert len(kept) <= policy.last + policy.hourly + policy.daily + policy.weekly


@given(st.lists(ids), policies)
def test_dropping_again_drops_nothing(generations: list[GenerationId], policy: KeepPolicy) -> None:
    kept = set(generations) - set(generations_to_drop(generations, policy))
    assert generations_to_drop(kept, policy) == ()


@given(st.lists(ids), policies)
def test_the_oldest_go_first(generations: list[GenerationId], policy: KeepPolicy) -> None:
    dropped = generations_to_drop(generations, policy)
    assert list(dropped) == sorted(dropped)


@pytest.mark.parametrize("figures", [{"last": 0}, {"hourly": -1}, {"daily": -1}, {"weekly": -1}])
def test_a_policy_that_keeps_nothing_is_refused(figures: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="keeps at least the last"):
        KeepPolicy(**figures)
