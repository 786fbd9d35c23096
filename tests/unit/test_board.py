"""The board: what the parts of the service note is what operators are told."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ConnectionLostError
from replicator.service.board import StatusBoard
from replicator.service.status import (
    Activity,
    DatabaseStatus,
    Drill,
    Failure,
    PairStatus,
    Watched,
    as_configured,
    lag_seconds,
)
from replicator.service.totals import DURATION_BOUNDS_SECONDS, Durations

WATCHED = (Watched("app", ("standby", "here"), shipping=True), Watched("other", ("here",), shipping=False))
LOST = ConnectionLostError("cannot reach sftp://me:secret@host", hint="is it up?")


@dataclass
class Clock:
    """A time that tests set, in seconds since the epoch."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> StatusBoard:
    return StatusBoard(WATCHED, clock=clock)


def database(board: StatusBoard) -> DatabaseStatus:
    return board.snapshot()[0]


def pair(board: StatusBoard) -> PairStatus:
    return database(board).destinations[0]


def publish(board: StatusBoard, captured_at_seconds: float, generation: str = "g1") -> None:
    board.published(
        "app",
        "standby",
        generation=generation,
        captured_at_seconds=captured_at_seconds,
        sent_bytes=100,
        reused_files=3,
        reused_bytes=5000,
    )


def test_at_first_nothing_is_known(board: StatusBoard) -> None:
    assert board.snapshot() == (
        DatabaseStatus("app", shipping=True, destinations=(PairStatus("standby"), PairStatus("here"))),
        DatabaseStatus("other", shipping=False, destinations=(PairStatus("here"),)),
    )
    assert lag_seconds(pair(board), 1000.0) is None


def test_a_publish(board: StatusBoard) -> None:
    publish(board, 990.0)
    publish(board, 995.0, "g2")
    assert pair(board) == PairStatus(
        "standby", generation="g2", last_publish_at_seconds=1000.0, restorable_at_seconds=995.0
    )
    assert board.snapshot()[0].destinations[1] == PairStatus("here")
    totals = board.pair_totals()
    assert totals["app", "standby"].uploaded_bytes == 200
    assert totals["app", "standby"].reused_files == 6
    assert totals["app", "standby"].reused_bytes == 10_000
    assert totals["app", "here"].uploaded_bytes == 0


def test_lag_is_measured_from_the_capture_not_from_the_publish(board: StatusBoard) -> None:
    publish(board, 940.0)
    assert lag_seconds(pair(board), 1000.0) == 60.0
    assert lag_seconds(pair(board), 900.0) == 0.0


@given(
    captured=st.floats(0, 1e6),
    later=st.lists(st.tuples(st.booleans(), st.floats(0, 1e6), st.integers(0, 10**12)), max_size=8),
)
def test_what_is_shipped_to_a_generation_only_adds_to_it(
    captured: float, later: list[tuple[bool, float, int]]
) -> None:
    board = StatusBoard(WATCHED)
    publish(board, captured)
    for ships, at, count in later:
        if ships:
            board.shipped("app", "standby", count_bytes=count, state_at_seconds=at)
        else:
            board.caught_up("app", "standby", state_at_seconds=at)
    assert pair(board).restorable_at_seconds == max([captured, *(at for _, at, _ in later)])
    assert board.pair_totals()["app", "standby"].shipped_bytes == sum(count for ships, _, count in later if ships)


def test_a_new_generation_is_as_new_as_its_own_capture(board: StatusBoard) -> None:
    publish(board, 900.0)
    board.shipped("app", "standby", count_bytes=1, state_at_seconds=990.0)
    publish(board, 950.0, "g2")
    assert pair(board).restorable_at_seconds == 950.0


def test_backlog_is_gone_once_caught_up(board: StatusBoard) -> None:
    board.backlog("app", "standby", count_bytes=700)
    assert pair(board).backlog_bytes == 700
    board.shipped("app", "standby", count_bytes=300, state_at_seconds=1.0)
    assert pair(board).backlog_bytes == 700
    board.caught_up("app", "standby", state_at_seconds=2.0)
    assert pair(board).backlog_bytes == 0


def test_checkpoints(board: StatusBoard, clock: Clock) -> None:
    board.checkpoint_failed("app", error=ValueError())
    clock.now = 1010.0
    assert database(board).last_error == Failure("ValueError", "", 1000.0)
    board.checkpoint_made("app", captured_at_seconds=1009.5, duration_seconds=0.2)
    board.free("app", count_bytes=5)
    board.pinned("app", count_bytes=6)
    noted = database(board)
    assert (noted.last_checkpoint_at_seconds, noted.last_checkpoint_duration_seconds) == (1009.5, 0.2)
    assert (noted.free_bytes, noted.pinned_bytes) == (5, 6)
    assert noted.last_error == Failure("ValueError", "", 1000.0, recovered_at_seconds=1010.0)
    totals = board.database_totals()["app"]
    assert totals.checkpoint_failures == 1
    assert sum(totals.checkpoint_durations.counts) == 1
    assert totals.checkpoint_durations.sum_seconds == 0.2


def test_a_checkpoint_of_somebody_else_has_no_duration(board: StatusBoard) -> None:
    board.checkpoint_made("app", captured_at_seconds=1.0, duration_seconds=None)
    assert database(board).last_checkpoint_at_seconds == 1.0
    assert board.database_totals()["app"].checkpoint_durations == Durations()


def fail(board: StatusBoard, *, activity: Activity = Activity.PUBLISH) -> None:
    board.failed("app", "standby", error=LOST, kind=LOST.kind, next_try_at_seconds=1060.0, activity=activity)


def test_a_failure_stands_until_it_works_again(board: StatusBoard, clock: Clock) -> None:
    fail(board)
    assert pair(board).last_error == Failure("cannot reach sftp://me:***@host", "is it up?", 1000.0)
    assert pair(board).next_try_at_seconds == 1060.0
    clock.now = 1050.0
    board.recovered("app", "standby")
    clock.now = 1055.0
    board.recovered("app", "standby")
    assert pair(board).last_error == Failure("cannot reach sftp://me:***@host", "is it up?", 1000.0, 1050.0)
    assert pair(board).next_try_at_seconds is None
    assert board.snapshot()[0].destinations[1].last_error is None
    assert board.pair_totals()["app", "standby"].errors == {"connection": 1}


def test_one_activity_that_works_does_not_hide_another_that_fails(board: StatusBoard, clock: Clock) -> None:
    fail(board, activity=Activity.PUBLISH)
    clock.now = 1001.0
    fail(board, activity=Activity.SHIP)
    clock.now = 1002.0
    board.recovered("app", "standby", activity=Activity.SHIP)
    assert pair(board).last_error == Failure("cannot reach sftp://me:***@host", "is it up?", 1000.0)
    assert pair(board).next_try_at_seconds == 1060.0
    board.recovered("app", "standby", activity=Activity.PUBLISH)
    assert pair(board).last_error == Failure("cannot reach sftp://me:***@host", "is it up?", 1001.0, 1002.0)


def test_a_name_that_is_not_utf_8_can_be_told(board: StatusBoard) -> None:
    board.checkpoint_failed("app", error=ValueError("\udcff is no table"))
    error = database(board).last_error
    assert error
    assert error.message == "\\udcff is no table"


def test_drills(board: StatusBoard) -> None:
    board.drilled("app", "standby", at_seconds=5.0, loss_seconds=1.5, took_seconds=9.0, error=None)
    assert pair(board).last_drill == Drill(5.0, 1.5, 9.0, None)
    board.drilled("app", "standby", at_seconds=6.0, loss_seconds=None, took_seconds=9.0, error="damaged")
    assert pair(board).last_drill == Drill(6.0, None, 9.0, "damaged")
    assert board.pair_totals()["app", "standby"].drill_failures == 1


def test_drills_of_an_earlier_run_are_remembered(board: StatusBoard) -> None:
    made = Drill(5.0, None, 9.0, "damaged")
    told = [
        DatabaseStatus(
            "app", shipping=True, destinations=(PairStatus("gone"), PairStatus("here", last_drill=made))
        ),
        DatabaseStatus("unknown", shipping=True, destinations=(PairStatus("here", last_drill=made),)),
    ]
    board.remember_drills(told)
    assert board.last_drill("app", "here") == made
    assert board.last_drill("app", "standby") is None
    assert board.last_drill("other", "here") is None
    # What is counted is counted from the start of this run on.
    assert board.pair_totals()["app", "here"].drill_failures == 0


def test_nothing_is_lost_between_threads(board: StatusBoard) -> None:
    def work() -> None:
        for _ in range(200):
            board.shipped("app", "standby", count_bytes=1, state_at_seconds=1.0)
            fail(board)
            board.snapshot()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = board.pair_totals()["app", "standby"]
    assert totals.shipped_bytes == 800
    assert totals.errors == {"connection": 800}


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_durations_are_counted_at_or_below_their_bound(durations_seconds: list[float]) -> None:
    durations = Durations()
    for duration_seconds in durations_seconds:
        durations = durations.with_one(duration_seconds)
    for index, bound_seconds in enumerate(DURATION_BOUNDS_SECONDS):
        at_or_below = sum(1 for duration_seconds in durations_seconds if duration_seconds <= bound_seconds)
        assert sum(durations.counts[: index + 1]) == at_or_below
    assert sum(durations.counts) == len(durations_seconds)


def test_a_configuration_that_asks_for_more_than_is_known(board: StatusBoard) -> None:
    publish(board, 990.0)
    wanted = (
        Watched("new", ("standby",), shipping=True),
        Watched("app", ("far", "standby"), shipping=True),
    )
    new, app = as_configured(board.snapshot(), wanted)
    assert new == DatabaseStatus("new", shipping=True, destinations=(PairStatus("standby"),))
    assert app.destinations == (PairStatus("far"), pair(board))
