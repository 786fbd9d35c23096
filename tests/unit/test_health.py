"""What is wrong, in words."""

from __future__ import annotations

from replicator.errors import CheckpointError, ConnectionLostError
from replicator.liveness import Vitals
from replicator.service.board import StatusBoard
from replicator.service.health import Health
from replicator.service.mirror_board import MirrorBoard
from replicator.service.mirror_status import WatchedMirror
from replicator.service.status import Watched


class Clock:
    """In seconds since the epoch."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def health_of(clock: Clock, *, max_lag_seconds: float | None = None) -> tuple[StatusBoard, Vitals, Health]:
    board = StatusBoard([Watched("app", ("standby",), shipping=True)], clock=clock)
    vitals = Vitals(patience_seconds=10, clock=clock)
    return board, vitals, Health(board, vitals, max_lag_seconds=max_lag_seconds, clock=clock)


def publish(board: StatusBoard, captured_at_seconds: float) -> None:
    board.published(
        "app",
        "standby",
        generation="g",
        captured_at_seconds=captured_at_seconds,
        sent_bytes=0,
        reused_files=0,
        reused_bytes=0,
    )


def test_what_was_never_published_counts_from_the_start() -> None:
    clock = Clock()
    board, _, health = health_of(clock, max_lag_seconds=60)
    clock.seconds += 60
    assert health.problems() == []
    clock.seconds += 1
    assert health.problems() == ["app at standby has had nothing for 1 m 01 s, more than max_lag = 1 m 00 s"]
    publish(board, clock.seconds)
    assert health.problems() == []


def test_without_a_bound_any_lag_is_fine() -> None:
    clock = Clock()
    _, _, health = health_of(clock)
    clock.seconds += 1e6
    assert health.problems() == []


def test_a_thread_that_hangs_is_named() -> None:
    clock = Clock()
    _, vitals, health = health_of(clock)
    with vitals.watch("database app"):
        clock.seconds += 20
        assert health.problems() == ["database app hangs: no sign of life for 20.0 s"]
    assert health.problems() == []


def test_all_is_well_only_without_failures() -> None:
    clock = Clock()
    board, _, health = health_of(clock)
    assert health.all_problems() == ["app at standby: nothing was published yet"]
    publish(board, clock.seconds)
    assert health.all_problems() == []
    lost = ConnectionLostError("gone")
    board.failed("app", "standby", error=lost, kind="connection", next_try_at_seconds=None)
    board.checkpoint_failed("app", error=CheckpointError("full"))
    assert health.all_problems() == ["app: full", "app at standby: gone"]
    assert health.problems() == []
    board.recovered("app", "standby")
    board.checkpoint_made("app", captured_at_seconds=1, duration_seconds=1)
    assert health.all_problems() == []


def test_mirrors_have_to_be_well_too() -> None:
    mirrors = MirrorBoard([WatchedMirror("media", ("standby",))])
    health = Health(StatusBoard([]), Vitals(), max_lag_seconds=None, mirrors=mirrors)
    assert health.all_problems() == ["mirror media at standby: nothing was compared yet"]
    mirrors.compared("media", "standby")
    assert health.all_problems() == []
    lost = ConnectionLostError("gone")
    mirrors.failed("media", "standby", error=lost, kind="connection", next_try_at_seconds=None)
    assert health.all_problems() == ["mirror media at standby: gone"]
    assert health.problems() == []
