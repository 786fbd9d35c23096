"""Signs of life of the threads that do the work: whether each goes on, or hangs.

A thread that is watched gives a sign whenever it gets on, and says beforehand how long it is going to wait. So a
destination that is down is no hang: whoever waits for it does so for a time that he said. Code of any layer gives
the sign of the thread that it runs on; on a thread that nobody watches that does nothing.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread that has given no sign for so many seconds, which is longer than it may."""

    name: str
    silent_seconds: float


class Pulse:
    """The signs of one thread; any thread may give them for it."""

    def __init__(self, name: str, patience_seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._patience_seconds = patience_seconds
        self._clock = clock
        # One reference each way, so no lock is needed.
        self._last_and_due = (0.0, 0.0)
        self.beat()

    def beat(self, wait_seconds: float = 0.0) -> None:
        """Give a sign; the next one may come so much later, because of a wait that begins now."""
        now = self._clock()
        self._last_and_due = (now, now + wait_seconds + self._patience_seconds)

    def stuck(self) -> Stuck | None:
        """Return how long no sign has come, if that is too long."""
        now = self._clock()
        last, due = self._last_and_due
        return Stuck(self.name, now - last) if now > due else None


_pulse: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def beat(wait_seconds: float = 0.0) -> None:
    """Give a sign of life of this thread; see `Pulse.beat`."""
    if pulse := _pulse.get():
        pulse.beat(wait_seconds)


def own_pulse() -> Pulse | None:
    """Return the pulse of this thread, for others that work for it; None if nobody watches it."""
    return _pulse.get()


class Vitals:
    """All threads that are watched."""

    def __init__(self, *, patience_seconds: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Between two signs, waits aside, there are at most `patience_seconds`: a slow disk syncs a large file."""
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._pulses: list[Pulse] = []

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Watch this thread inside of the context."""
        pulse = Pulse(name, self._patience_seconds, self._clock)
        with self._lock:
            self._pulses.append(pulse)
        token = _pulse.set(pulse)
        try:
            yield
        finally:
            _pulse.reset(token)
            with self._lock:
                self._pulses.remove(pulse)

    def stuck(self) -> tuple[Stuck, ...]:
        """Return the threads that hang."""
        with self._lock:
            return tuple(stuck for pulse in self._pulses if (stuck := pulse.stuck()))
