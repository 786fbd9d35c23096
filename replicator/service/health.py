"""What is wrong with the running service, in words: for `/healthz`, and for the dead man's switch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicator.service.status import lag_seconds
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from replicator.liveness import Vitals
    from replicator.service.board import StatusBoard
    from replicator.service.mirror_board import MirrorBoard
    from replicator.service.mirror_status import MirrorStatus
    from replicator.service.status import DatabaseStatus


class Health:
    """Judges what the board shows. `max_lag_seconds` may be replaced at any time; None allows any lag."""

    def __init__(
        self,
        board: StatusBoard,
        vitals: Vitals,
        *,
        max_lag_seconds: float | None,
        mirrors: MirrorBoard | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._mirrors = mirrors
        self._vitals = vitals
        self.max_lag_seconds = max_lag_seconds
        self._clock = clock
        self._started_at_seconds = clock()

    def problems(self) -> list[str]:
        """Return one line for each thread that hangs, and for each replica that is older than it may be.

        Of a replica that this service knows nothing of yet, the lag counts from its start.
        """
        return [*self._hangs(), *self._lags(self._board.snapshot())]

    def all_problems(self) -> list[str]:
        """Return these, and one line for each thing that failed and has not worked since, or has never worked."""
        databases = self._board.snapshot()
        mirrors = self._mirrors.snapshot() if self._mirrors else ()
        return [*self._hangs(), *self._lags(databases), *standing_failures(databases), *mirror_failures(mirrors)]

    def _hangs(self) -> Iterator[str]:
        for stuck in self._vitals.stuck():
            yield f"{stuck.name} hangs: no sign of life for {format_duration(stuck.silent_seconds)}"

    def _lags(self, databases: Iterable[DatabaseStatus]) -> Iterator[str]:
        most_seconds = self.max_lag_seconds
        if most_seconds is None:
            return
        now_seconds = self._clock()
        for database in databases:
            for pair in database.destinations:
                known_seconds = lag_seconds(pair, now_seconds)
                behind_seconds = now_seconds - self._started_at_seconds if known_seconds is None else known_seconds
                if behind_seconds > most_seconds:
                    what = "has had nothing" if known_seconds is None else "lags"
                    yield (
                        f"{database.name} at {pair.destination} {what} for {format_duration(behind_seconds)},"
                        f" more than max_lag = {format_duration(most_seconds)}"
                    )


def standing_failures(databases: Iterable[DatabaseStatus]) -> Iterator[str]:
    """Yield one line for each thing that failed and has not worked since, or has never worked."""
    for database in databases:
        if database.last_error and database.last_error.stands:
            yield f"{database.name}: {database.last_error.message}"
        for pair in database.destinations:
            if pair.last_error and pair.last_error.stands:
                yield f"{database.name} at {pair.destination}: {pair.last_error.message}"
            elif pair.restorable_at_seconds is None:
                yield f"{database.name} at {pair.destination}: nothing was published yet"


def mirror_failures(mirrors: Iterable[MirrorStatus]) -> Iterator[str]:
    """Yield one line for each mirror that failed and has not worked since, or was never compared."""
    for mirror in mirrors:
        name = f"mirror {mirror.mirror} at {mirror.destination}"
        if mirror.last_error and mirror.last_error.stands:
            yield f"{name}: {mirror.last_error.message}"
        elif mirror.last_comparison_at_seconds is None:
            yield f"{name}: nothing was compared yet"
