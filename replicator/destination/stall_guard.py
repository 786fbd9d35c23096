"""End waits in which nothing happens for too long, by cutting the connection under them.

paramiko waits without end in several places (a write to a full socket, an answer to a channel request), so a
thread of our own watches, and whoever waits sees the connection break. Knows nothing of SSH.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOKS_PER_TIMEOUT = 8


class StallGuard:
    """Calls `cut`, once and from a thread of its own, when a wait has gone `timeout_seconds` without progress."""

    def __init__(self, timeout_seconds: float, cut: Callable[[], None]) -> None:
        self.timeout_seconds = timeout_seconds
        self.fired = False
        self._cut = cut
        # Written by the waiting thread, read by the other: one reference, so no lock is needed.
        self._waiting_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-guard", daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Watch what is done inside as one wait; enter anew, or call `progress`, after each sign of life."""
        self._waiting_since = time.monotonic()
        beat(self.timeout_seconds)
        try:
            yield
        finally:
            self._waiting_since = None

    def progress(self) -> None:
        """Count the wait under way anew from here."""
        self._waiting_since = time.monotonic()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self.timeout_seconds / _LOOKS_PER_TIMEOUT):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self.timeout_seconds:
                self.fired = True
                self._cut()
                return
