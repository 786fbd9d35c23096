"""One destination: a thread with a connection of its own, which brings it the newest checkpoint of each database.

However slow or dead a destination is, it holds up nobody else. Only the newest checkpoint counts: those that
came and went meanwhile are not made up for.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from replicator.errors import (
    InterruptedTransferError,
    PermanentDestinationError,
    ReplicatorError,
    SourceError,
    SupersededError,
)
from replicator.liveness import beat, own_pulse
from replicator.service.precedence import Precedence
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination
    from replicator.progress import ProgressDisplay
    from replicator.service.reporter import Reporter
    from replicator.service.transfer import Transfer

_log = structlog.get_logger()

_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 60.0
#: So that a thread that waits for work can be told from one that hangs.
_LOOK_EVERY_SECONDS = 30.0


class StopObserver:
    """A `TransferObserver` that passes on the wish to stop; bytes that move are signs of its maker's life."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._pulse = own_pulse()

    def bytes_moved(self, count: int) -> None:  # noqa: ARG002 - any number is a sign of life
        """See `TransferObserver`."""
        if self._pulse:
            self._pulse.beat()

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """See `TransferObserver`."""

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`; no file of a database may be left out."""
        raise SourceError(f"{target} cannot be left out") from error

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return self._stop.is_set()


class DestinationWorker:
    """Transfers to one destination, for the databases in `transfers`."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        name: str,
        destination: Destination,
        transfers: Mapping[str, Transfer],
        *,
        stop: threading.Event,
        display: ProgressDisplay,
        reporter: Reporter,
        precedence: Precedence | None = None,
        break_off: Callable[[], None] = lambda: None,
    ) -> None:
        """`precedence` is told of publishes, so that mirrors wait meanwhile.

        `break_off` makes what `destination` is doing fail; it is called from another thread.
        """
        self.name = name
        self.thread_name = f"destination {name}"
        self.is_watched = True
        self._destination = destination
        self._transfers = transfers
        self._stop = stop
        self._display = display
        self._reporter = reporter
        self._precedence = precedence or Precedence()
        self._break_off = break_off
        self._condition = threading.Condition()
        #: Databases that have something to transfer, each with the time (monotonic) from which on it may be tried.
        self._due: dict[str, float] = {}
        self._waits: dict[str, float] = {}

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases that this destination receives."""
        return tuple(self._transfers)

    def submit(self, database: str) -> None:
        """Say that there is a new checkpoint of `database`; from any thread. Unknown ones are not for here."""
        if database in self._transfers:
            with self._condition:
                self._due[database] = time.monotonic()
                self._condition.notify()

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop; from any thread."""
        with self._condition:
            self._condition.notify()

    def transfer(self, database: str) -> None:
        """Bring the newest checkpoint of one database here. Raises `ReplicatorError`."""
        beat()
        self._reporter.begin(database)
        observer = StopObserver(self._stop)
        with (
            self._precedence.publishing(),
            self._display.transfer(f"{database} -> {self.name}", observer) as line,
        ):
            self._transfers[database].run(
                self._destination,
                line,
                planned=lambda plan: line.expect(files=len(plan.send), size_bytes=plan.send_bytes),
                break_off=self._break_off,
            )

    def run(self) -> None:
        """Work until stopped. What fails is logged and tried again: soon, or when there is a new checkpoint."""
        try:
            while (database := self._next()) is not None:
                self._try_transfer(database)
        finally:
            self._destination.close()

    def close(self) -> None:
        """Break off what is under way."""
        self._destination.close()

    def _next(self) -> str | None:
        """Wait for the database that is due first; None when it is time to stop."""
        with self._condition:
            while not self._stop.is_set():
                database = min(self._due, key=self._due.__getitem__, default=None)
                wait_seconds = _LOOK_EVERY_SECONDS
                if database is not None:
                    wait_seconds = self._due[database] - time.monotonic()
                    if wait_seconds <= 0:
                        del self._due[database]
                        return database
                beat(wait_seconds)
                self._condition.wait(wait_seconds)
        return None

    def _try_transfer(self, database: str) -> None:
        try:
            self.transfer(database)
        except InterruptedTransferError:
            _log.info("publish.interrupted", database=database, destination=self.name)
        except SupersededError as error:
            _log.info("publish.superseded", database=database, destination=self.name, reason=str(error))
        except ReplicatorError as error:
            wait_seconds = self._wait_after(database, error)
            self._reporter.failed(error, next_try_in_seconds=wait_seconds)
            _log.error(
                "publish.failed",
                database=database,
                destination=self.name,
                error=error,
                next_try_in=format_duration(wait_seconds),
            )
            with self._condition:
                self._due.setdefault(database, time.monotonic() + wait_seconds)
        else:
            self._waits.pop(database, None)
            self._reporter.worked()

    def _wait_after(self, database: str, error: ReplicatorError) -> float:
        """Wait longer each time; what will not heal by itself is looked at once a minute."""
        if isinstance(error, PermanentDestinationError):
            return _LONGEST_WAIT_SECONDS
        wait_seconds = self._waits.get(database, _FIRST_WAIT_SECONDS)
        self._waits[database] = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
        return wait_seconds
