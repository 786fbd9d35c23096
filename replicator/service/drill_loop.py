"""Restore drills on a schedule: a thread that drills one pair after the other, each once in a while.

When a pair was drilled last is what the board knows of it, also from an earlier run of the service.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from replicator.errors import InterruptedTransferError
from replicator.moments import format_moment
from replicator.service.destination_worker import StopObserver
from replicator.service.drill import Sound, drill, scratch_folder
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from replicator.destination.interface import Destination
    from replicator.service.board import StatusBoard
    from replicator.service.drill import Drilled, DrillPair

_log = structlog.get_logger()


class DrillLoop:
    """Drills each of `pairs` every `interval_seconds` below `folder`, for which None is the system's own."""

    def __init__(
        self,
        pairs: Sequence[DrillPair],
        board: StatusBoard,
        *,
        interval_seconds: float,
        folder: Path | None,
        stop: threading.Event,
    ) -> None:
        self.thread_name = "drills"
        #: A drill that hangs holds up no replica.
        self.is_watched = False
        self._pairs = pairs
        self._board = board
        self._interval_seconds = interval_seconds
        self._folder = folder
        self._stop = stop
        self._connection: Destination | None = None

    def run(self) -> None:
        """Work until stopped: the first drill of a pair is due one interval after the last, or from now on."""
        due = [(time.monotonic() + self._first_wait_seconds(pair), pair) for pair in self._pairs]
        while due:
            due.sort(key=lambda item: item[0])
            due_at, pair = due.pop(0)
            if self._stop.wait(max(0.0, due_at - time.monotonic())):
                return
            due.append((time.monotonic() + self._interval_seconds, pair))
            self._drill(pair)

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop, even in the middle of a file; from any thread."""
        if connection := self._connection:
            connection.close()

    def _first_wait_seconds(self, pair: DrillPair) -> float:
        last = self._board.last_drill(pair.database, pair.destination)
        if last is None:
            return self._interval_seconds
        left_seconds = last.at_seconds + self._interval_seconds - time.time()
        # A clock that was set back must not put a drill off for long.
        return min(max(0.0, left_seconds), self._interval_seconds)

    def _drill(self, pair: DrillPair) -> None:
        within_reach = replace(pair, connect=lambda: self._connect(pair))
        try:
            drilled = drill(within_reach, partial(scratch_folder, self._folder), StopObserver(self._stop))
        except InterruptedTransferError:
            drilled = None
        finally:
            self._connection = None
        if drilled is None or self._stop.is_set():
            _log.info("drill.interrupted", database=pair.database, destination=pair.destination)
        else:
            self._report(drilled)

    def _connect(self, pair: DrillPair) -> Destination:
        connection = self._connection = pair.connect()
        if self._stop.is_set():  # and `wake` perhaps came too early to close it
            connection.close()
        return connection

    def _report(self, drilled: Drilled) -> None:
        names = {"database": drilled.database, "destination": drilled.destination}
        took = format_duration(drilled.took_seconds)
        loss_seconds: float | None = None
        error: str | None = None
        match drilled.outcome:
            case Sound(restored, loss_seconds, engine):
                _log.info(
                    "drill.done",
                    **names,
                    generation=str(restored.generation),
                    state_at=format_moment(restored.state_at),
                    loss=format_duration(loss_seconds),
                    files=restored.files,
                    size=format_size(restored.size_bytes),
                    engine=engine.text,
                    took=took,
                )
            case failure:
                error = str(failure)
                _log.error("drill.failed", **names, error=failure, took=took)
        self._board.drilled(
            **names,
            at_seconds=drilled.began_at.timestamp(),
            loss_seconds=loss_seconds,
            took_seconds=drilled.took_seconds,
            error=error,
        )
