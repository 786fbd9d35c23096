"""Who goes first at a destination: a publish of a database, before what mirrors have to send."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from replicator.errors import InterruptedTransferError
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_EVERY_SECONDS: Final = 1.0
#: What events ask for does not wait for a publish until it comes to so much.
_LITTLE_BYTES: Final = 64 << 20


class Precedence:
    """One for each destination; for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._begun = 0

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Go first for as long as the context lasts."""
        with self._lock:
            self._under_way += 1
            self._begun += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def is_clear(self) -> bool:
        """Whether nobody goes first now."""
        return not self._under_way

    @property
    def begun(self) -> int:
        """How many publishes were begun until now."""
        return self._begun


class BulkPace:
    """How a whole comparison goes on: not while a publish is under way, and not after the wish to stop."""

    def __init__(
        self, precedence: Precedence, stop: threading.Event, meanwhile: Callable[[float], object]
    ) -> None:
        """`meanwhile` is what to do for about so many seconds instead of waiting."""
        self._precedence = precedence
        self._stop = stop
        self._meanwhile = meanwhile

    def may_begin(self) -> bool:
        """See `Pace`."""
        beat()
        return self._precedence.is_clear() and not self._stop.is_set()

    def wait(self) -> None:
        """See `Pace`."""
        while not self.may_begin():
            if self._stop.is_set():
                raise _stopped()
            self._meanwhile(_LOOK_EVERY_SECONDS)

    def note_sent(self, count_bytes: int) -> None:
        """See `Pace`: however much that is."""


class SteadyPace:
    """How what events ask for goes on: a little of it waits for nobody, the rest as a comparison does."""

    def __init__(self, precedence: Precedence, stop: threading.Event) -> None:
        self._precedence = precedence
        self._stop = stop
        self._publish = 0
        #: While that publish was under way.
        self._sent_bytes = 0

    def may_begin(self) -> bool:
        """See `Pace`."""
        beat()
        return not self._stop.is_set() and (self._precedence.is_clear() or self._sent_now() < _LITTLE_BYTES)

    def wait(self) -> None:
        """See `Pace`."""
        while not self.may_begin():
            if self._stop.wait(_LOOK_EVERY_SECONDS):
                raise _stopped()

    def note_sent(self, count_bytes: int) -> None:
        """See `Pace`."""
        if not self._precedence.is_clear():
            self._sent_bytes = self._sent_now() + count_bytes

    def _sent_now(self) -> int:
        """Return how much was sent since the publish that is under way was begun."""
        if self._publish != self._precedence.begun:
            self._publish = self._precedence.begun
            self._sent_bytes = 0
        return self._sent_bytes


def _stopped() -> InterruptedTransferError:
    return InterruptedTransferError("stopped before everything was mirrored")
