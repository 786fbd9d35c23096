"""Who goes first at a destination: a publish of a database, before what mirrors have to send."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from replicator.errors import InterruptedTransferError
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_EVERY_SECONDS: Final = 1.0


class Precedence:
    """One for each destination; for use by several threads."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._publishing = 0

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Go first for as long as the context lasts."""
        with self._changed:
            self._publishing += 1
        try:
            yield
        finally:
            with self._changed:
                self._publishing -= 1
                self._changed.notify_all()

    def is_clear(self) -> bool:
        """Whether nobody goes first now."""
        return not self._publishing

    def wait(self) -> None:
        """Wait until nobody goes first. Raises `InterruptedTransferError` if it is time to stop."""
        with self._changed:
            while not self._stop.is_set() and self._publishing:
                beat()
                self._changed.wait(_LOOK_EVERY_SECONDS)
        if self._stop.is_set():
            raise InterruptedTransferError("stopped before everything was mirrored")


class BulkPace:
    """How a whole comparison goes on: not while a publish is under way, and not after the wish to stop."""

    def __init__(self, precedence: Precedence, stop: threading.Event) -> None:
        self._precedence = precedence
        self._stop = stop

    def may_begin(self) -> bool:
        """See `Pace`."""
        beat()
        return self._precedence.is_clear() and not self._stop.is_set()

    def wait(self) -> None:
        """See `Pace`."""
        self._precedence.wait()


class SteadyPace:
    """How what events ask for goes on: it is little, and does not wait for anybody."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def may_begin(self) -> bool:
        """See `Pace`."""
        beat()
        return not self._stop.is_set()

    def wait(self) -> None:
        """See `Pace`: there is nothing to wait for but the end."""
        if self._stop.is_set():
            raise InterruptedTransferError("stopped before everything was mirrored")
