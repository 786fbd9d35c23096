"""What goes next, whether it is worth it, and when to look again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.service.space_plan import OF_OTHERS, Space, Step, is_worth_it, next_look_seconds, next_step

GIBIBYTE = 1 << 30
FLOOR_BYTES = 1000
ALL = tuple(Step)
SIZES = st.integers(0, 1 << 50)


def test_the_order_of_giving_up() -> None:
    taken: list[Step] = []
    while step := next_step(Space(0, FLOOR_BYTES), ALL, taken):
        taken.append(step)
    words = ["transfer copies", "checkpoint_prev", "pinned logs", "new checkpoints", "checkpoint_current"]
    assert taken == words


def test_the_current_checkpoint_stays_above_half_of_what_is_asked_for() -> None:
    taken = ALL[:-1]
    assert next_step(Space(FLOOR_BYTES // 2, FLOOR_BYTES), ALL, taken) is None
    assert next_step(Space(FLOOR_BYTES // 2 - 1, FLOOR_BYTES), ALL, taken) is Step.CURRENT


def test_of_what_others_make_only_what_is_ours_goes() -> None:
    assert next_step(Space(0, FLOOR_BYTES), OF_OTHERS, ()) is Step.TRANSFERS
    assert next_step(Space(0, FLOOR_BYTES), OF_OTHERS, (Step.TRANSFERS,)) is Step.LOGS
    assert next_step(Space(0, FLOOR_BYTES), OF_OTHERS, OF_OTHERS) is None


@given(floor=SIZES, more=SIZES, taken=st.sets(st.sampled_from(ALL)))
def test_nothing_goes_while_enough_is_free(floor: int, more: int, taken: set[Step]) -> None:
    assert next_step(Space(floor + more, floor), ALL, taken) is None


@given(free=SIZES, floor=SIZES, taken=st.sets(st.sampled_from(ALL)))
def test_each_step_is_taken_once(free: int, floor: int, taken: set[Step]) -> None:
    assert next_step(Space(free, floor), ALL, taken) not in taken


def test_nothing_that_the_current_checkpoint_alone_holds_is_kept_on_a_full_disk() -> None:
    assert is_worth_it(Space(0, FLOOR_BYTES), 1)
    assert not is_worth_it(Space(0, FLOOR_BYTES), 0)


@given(free=SIZES, floor=SIZES, gain=SIZES)
def test_what_is_kept_is_little_beside_what_is_free(free: int, floor: int, gain: int) -> None:
    if not is_worth_it(Space(free, floor), gain):
        assert gain * 10 <= free * 1.001


@given(free=SIZES, floor=SIZES)
def test_a_fast_disk_is_not_filled_unseen(free: int, floor: int) -> None:
    """Before the next look it is not written down to where something must go, unless that is very near."""
    wait_seconds = next_look_seconds(Space(free, floor), 0.0)
    assert 0 < wait_seconds <= 1
    limit = floor if free >= floor else floor // 2
    if wait_seconds > next_look_seconds(Space(0, 1), 0.0):
        assert free - wait_seconds * GIBIBYTE >= limit - 1


@pytest.mark.parametrize("free", [0, FLOOR_BYTES, 100 * GIBIBYTE])
def test_looks_that_take_long_leave_time_for_others(free: int) -> None:
    space = Space(free, FLOOR_BYTES)
    assert next_look_seconds(space, 0.2) >= 0.8
    assert next_look_seconds(space, 1000.0) == 1.0
