"""One destination's shipping: a thread with a connection of its own, which sends what the logs have grown by.

However slow or dead the destination is, it holds up nobody else: what is not sent yet is held by the followers.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from replicator.errors import (
    DestinationError,
    InterruptedTransferError,
    PermanentDestinationError,
    TransientDestinationError,
)
from replicator.liveness import beat
from replicator.service.status import Activity
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.destination.interface import Destination
    from replicator.service.board import StatusBoard
    from replicator.service.shipping_line import ShippingLine

_log = structlog.get_logger()

_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
#: So that a thread that waits for work can be told from one that hangs.
_LOOK_EVERY_SECONDS: Final = 30.0


class Shipper:
    """Runs all lines to one destination, which connects anew by itself and tries nothing twice."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        lines: Sequence[ShippingLine],
        board: StatusBoard,
        *,
        stop: threading.Event,
    ) -> None:
        self.name = name
        self.thread_name = f"shipping {name}"
        self.is_watched = True
        self._destination = destination
        self._lines = lines
        self._board = board
        self._stop = stop
        self._woken = threading.Event()
        #: Of the lines that failed: how long to wait after the next failure, and until when to wait now.
        self._waits: dict[ShippingLine, tuple[float, float]] = {}

    def wake(self) -> None:
        """Say that there is something to send, or that it is time to stop; from any thread."""
        self._woken.set()

    def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._stop.is_set():
                beat(_LOOK_EVERY_SECONDS)
                if not self._woken.wait(_LOOK_EVERY_SECONDS):
                    continue
                self._woken.clear()
                for line in self._lines:
                    if not self._stop.is_set():
                        self._try(line)
        finally:
            self._destination.close()

    def _try(self, line: ShippingLine) -> None:
        beat()
        wait_seconds, not_before = self._waits.get(line, (_FIRST_WAIT_SECONDS, 0.0))
        if time.monotonic() < not_before:
            line.tell_backlog()
            return
        try:
            line.ship(self._destination)
        except InterruptedTransferError:
            return
        except DestinationError as error:
            self._note_failure(line, error, wait_seconds)
        else:
            if line in self._waits:
                del self._waits[line]
                self._board.recovered(line.database, self.name, activity=Activity.SHIP)
                _log.info("shipping.resumed", database=line.database, destination=self.name)

    def _note_failure(self, line: ShippingLine, error: DestinationError, wait_seconds: float) -> None:
        if isinstance(error, PermanentDestinationError):
            wait_seconds = _LONGEST_WAIT_SECONDS
        if line not in self._waits:
            log = _log.warning if isinstance(error, TransientDestinationError) else _log.error
            log(
                "shipping.interrupted",
                database=line.database,
                destination=self.name,
                error=error,
                next_try_in=format_duration(wait_seconds),
            )
        self._waits[line] = (min(2 * wait_seconds, _LONGEST_WAIT_SECONDS), time.monotonic() + wait_seconds)
        self._board.failed(
            line.database,
            self.name,
            error=error,
            kind=error.kind,
            next_try_at_seconds=time.time() + wait_seconds,
            activity=Activity.SHIP,
            will_heal=isinstance(error, TransientDestinationError),
        )
        line.tell_backlog()
