"""What a primary had written, and when: the measure of what a replica must have."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.primaries import Primary

_SAMPLE_SECONDS = 0.005


class Positions:
    """What the primary had surely written, and when (seconds since the epoch)."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._positions: list[int] = []

    @contextmanager
    def sampled(self, primary: Primary) -> Iterator[None]:
        """Sample for as long as the context lasts."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(_SAMPLE_SECONDS):
                # In this order: the position is older than the time that stands beside it.
                self._positions.append(primary.position)
                self._times.append(time.time())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def at(self, when: float) -> int:
        """Return what had been written for sure at that time."""
        index = bisect_right(self._times, when)
        return self._positions[index - 1] if index else 0

    def age_seconds(self, position: int, when: float) -> float:
        """Return for how long, at that time, something had been written that `position` lacks; 0 if nothing."""
        index = bisect_right(self._positions, position)
        return max(0.0, when - self._times[index]) if index < len(self._times) else 0.0
