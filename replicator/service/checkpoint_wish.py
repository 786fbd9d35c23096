"""The wish for a new checkpoint: passed on at once, but when several were in vain, later and later.

Why there is one is decided elsewhere (`shipping_line`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_PATIENCE_SECONDS: Final = 60.0


class CheckpointWish:
    """For one thread at a time."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        """`ask` is told the reason, each time that a checkpoint is to be made."""
        self._ask = ask
        self._reason = ""
        self._in_vain = 0
        self._asked_at = 0.0
        self._ask_at = 0.0

    def make(self, reason: str) -> None:
        """Wish for a checkpoint; the one that was wished for before, if any, was in vain."""
        self._reason = reason
        self._ask_at = self._asked_at + min(2.0**self._in_vain - 1, _LONGEST_PATIENCE_SECONDS)
        self._in_vain += 1
        self.pass_on()

    def pass_on(self) -> None:
        """Ask if it is time to; call this again and again."""
        if self._reason and time.monotonic() >= self._ask_at:
            self._asked_at = time.monotonic()
            reason, self._reason = self._reason, ""
            self._ask(reason)

    def come_true(self) -> None:
        """Say that there is nothing to wish for any more."""
        self._reason = ""
        self._in_vain = 0
