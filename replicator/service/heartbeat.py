"""The heartbeat: looks again and again whether all threads go on; the service manager is told, and the log."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from replicator.service.status import lag_seconds
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from replicator.liveness import Stuck, Vitals
    from replicator.service.board import StatusBoard
    from replicator.service.mirror_board import MirrorBoard
    from replicator.service.mirror_status import MirrorStatus
    from replicator.service.status import DatabaseStatus, PairStatus
    from replicator.service.systemd import ServiceManager

_LOOK_EVERY_SECONDS: Final = 5.0
#: So many beats fall into the time after which systemd loses patience: one may be late.
_BEATS_PER_PERIOD: Final = 3

_log = structlog.get_logger()


class Heartbeat:
    """Beats from entry into the `with` block to its end, but for when a thread hangs."""

    def __init__(
        self,
        vitals: Vitals,
        board: StatusBoard,
        manager: ServiceManager,
        *,
        mirrors: MirrorBoard | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mirrors = mirrors
        self._vitals = vitals
        self._board = board
        self._manager = manager
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat")
        self._stuck: frozenset[str] = frozenset()
        self._said = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        period_seconds = self._manager.watchdog_seconds
        every_seconds = _LOOK_EVERY_SECONDS
        if period_seconds is not None:
            every_seconds = min(every_seconds, period_seconds / _BEATS_PER_PERIOD)
        self._look()
        while not self._stop.wait(every_seconds):
            self._look()

    def _look(self) -> None:
        stuck = self._vitals.stuck()
        self._note(stuck)
        if self._manager.watchdog_seconds is not None and not stuck:
            self._manager.alive()
        if self._manager.is_there:
            mirrors = self._mirrors.snapshot() if self._mirrors else ()
            line = status_line(self._board.snapshot(), stuck, self._clock(), mirrors)
            if line != self._said:
                self._said = line
                self._manager.status(line)

    def _note(self, stuck: Sequence[Stuck]) -> None:
        names = frozenset(item.name for item in stuck)
        for item in stuck:
            if item.name not in self._stuck:
                _log.error(
                    "service.stuck",
                    thread=item.name,
                    silent_for=format_duration(item.silent_seconds),
                    hint="a disk or a mount that does not answer? With WatchdogSec= systemd restarts the service",
                )
        for name in sorted(self._stuck - names):
            _log.info("service.unstuck", thread=name)
        self._stuck = names


def status_line(
    databases: Iterable[DatabaseStatus],
    stuck: Iterable[Stuck],
    now_seconds: float,
    mirrors: Iterable[MirrorStatus] = (),
) -> str:
    """Return how the service fares, in one line.

    First what hangs, then the lag of each database at each destination, then the mirrors that fail.
    """
    return "; ".join(
        [
            *(f"STUCK: {item.name} for {format_duration(item.silent_seconds)}" for item in stuck),
            *(_database_text(database, now_seconds) for database in databases),
            *(
                f"mirror {mirror.mirror}: {mirror.destination} FAILING"
                for mirror in mirrors
                if mirror.last_error and mirror.last_error.stands
            ),
        ]
    )


def _database_text(database: DatabaseStatus, now_seconds: float) -> str:
    failing = " (checkpoints FAILING)" if database.last_error and database.last_error.stands else ""
    pairs = ", ".join(_pair_text(pair, now_seconds) for pair in database.destinations)
    return f"{database.name}{failing}: {pairs}"


def _pair_text(pair: PairStatus, now_seconds: float) -> str:
    lag = lag_seconds(pair, now_seconds)
    text = (
        f"{pair.destination} has nothing yet" if lag is None else f"{pair.destination} lags {format_duration(lag)}"
    )
    return f"{text} (FAILING)" if pair.last_error and pair.last_error.stands else text
