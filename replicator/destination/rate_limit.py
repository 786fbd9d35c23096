"""Hold the bytes sent and received down to a rate, over all threads that share the limiter."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST_SECONDS = 0.1
_SMALLEST_CHUNK_BYTES = 4096


class Limit(Protocol):
    """What whoever moves bytes must know of a limit."""

    @property
    def chunk_bytes(self) -> int:
        """The most to ask for at a time."""

    def acquire(self, count_bytes: int) -> None:
        """Wait until `count_bytes` more may be moved."""


class RateLimiter:
    """A token bucket that holds a tenth of a second's worth: smooth, and idle time is not saved up."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be above 0")
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock() - _BURST_SECONDS

    def change(self, bytes_per_second: float) -> None:
        """Hold the rate down to this from now on."""
        with self._lock:
            self._bytes_per_second = bytes_per_second

    @property
    def chunk_bytes(self) -> int:
        """The most to ask for at a time, so that no thread waits long for the others."""
        return max(_SMALLEST_CHUNK_BYTES, int(self._bytes_per_second * _BURST_SECONDS))

    def acquire(self, count_bytes: int) -> None:
        """Wait until `count_bytes` more may be moved. Threads are served in the order in which they ask."""
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - _BURST_SECONDS)
            self._free_at = start + count_bytes / self._bytes_per_second
            wait_seconds = self._free_at - now
        if wait_seconds > 0:
            self._sleep(wait_seconds)


def acquire_in_steps(limit: Limit | None, count_bytes: int) -> None:
    """Wait until so many more bytes may be moved, however many that are."""
    while limit is not None and count_bytes > 0:
        step = min(limit.chunk_bytes, count_bytes)
        limit.acquire(step)
        count_bytes -= step
