"""Asking for room before something is written beside the primary, whose disk comes first.

How much must stay free, and what is given up for it, is decided elsewhere (`service.space_guard`).
"""

from __future__ import annotations

from typing import Protocol


class NeedRoom(Protocol):
    """Is asked before each copy, and with 0 wherever a capture may be broken off."""

    def __call__(self, count_bytes: int, /) -> None:
        """Raise `CheckpointError` if too little would be free once so many bytes are written."""


def any_room(_count_bytes: int) -> None:
    """Ask nobody: a `NeedRoom` for those whom an error of the filesystem is soon enough."""
