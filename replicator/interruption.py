"""Ctrl-C and its relatives, heeded only where it does no harm.

So they come neither between the start of something and its being known, nor while things are tidied up.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Within the context the signals that end a program are noted; those that were ignored stay so.

    To be used on the main thread.
    """

    def __init__(self) -> None:
        self._came = False
        self._heeded = False
        # SIGINT is ignored in what a shell starts in the background, SIGHUP under nohup.
        heeded = (number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN)
        self._before = {number: signal.getsignal(number) for number in heeded}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises `KeyboardInterrupt` if a signal has come since the beginning."""
        time.sleep(seconds)
        self._raise_if_it_came()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Let a signal raise `KeyboardInterrupt` at once, as one does that came before. Only one raises."""
        self._heeded = True
        try:
            self._raise_if_it_came()
            yield
        finally:
            self._heeded = False

    def _raise_if_it_came(self) -> None:
        if self._came:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        if self._heeded:
            self._heeded = False
            raise KeyboardInterrupt
