"""How much a mirror may remove at its destination before somebody has to say yes. Pure.

A budget is for one pass: from one full comparison to the next. Files that were new in it may go again: what counts
is how much the mirror shrinks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class DeleteBudget:
    """`most_of` says how many files may go, given how many there are; `unlimited` allows all of them, once."""

    def __init__(self, most_of: Callable[[int], int], *, unlimited: bool = False) -> None:
        self._most_of = most_of
        self._unlimited = unlimited
        self._left: int | None = None
        self.files = 0
        self.refused = 0

    def begin_pass(self, files: int) -> None:
        """Begin anew: there are so many files at the destination."""
        self.files = files
        self._left = self._most_of(files)
        self.refused = 0

    def earn(self, files: int) -> None:
        """Say that so many files are new at the destination."""
        if self._left is not None:
            self._left += files

    def grow(self, files: int) -> None:
        """Say that the pass began with so many files more: a comparison has sent them."""
        before = self.most
        self.files += files
        if self._left is not None:
            self._left += self.most - before

    def end_exception(self) -> None:
        """Hold to the limit from now on."""
        self._unlimited = False

    @property
    def is_known(self) -> bool:
        """Whether it can be said how many may go: not before the first comparison has counted the files."""
        return self._unlimited or self._left is not None

    @property
    def most(self) -> int:
        """How many may go in a whole pass."""
        return self._most_of(self.files)

    def spend(self, files: int) -> bool:
        """Say whether so many more may be removed, and count them. Before the first pass none may."""
        if self._unlimited:
            return True
        if self._left is None or files > self._left:
            self.refused += files
            return False
        self._left -= files
        return True
