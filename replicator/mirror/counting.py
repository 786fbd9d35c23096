"""What many passes did together, those that broke off or are under way included."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.mirror.sending import Tally


@dataclass(frozen=True, slots=True)
class Counts:
    """Files and links sent, bytes of files, and what was removed."""

    files: int = 0
    sent_bytes: int = 0
    deletes: int = 0

    def plus(self, tally: Tally) -> Counts:
        """Return the sum."""
        return Counts(self.files + tally.files, self.sent_bytes + tally.sent_bytes, self.deletes + tally.deletes)


class Counting:
    """Adds up tallies. Used by one thread."""

    def __init__(self) -> None:
        self._over = Counts()
        self._open: list[Tally] = []

    @contextmanager
    def of(self, tally: Tally) -> Iterator[None]:
        """Count what is tallied in this context, of which there may be one within another."""
        self._open.append(tally)
        try:
            yield
        finally:
            self._over = self._over.plus(self._open.pop())

    @property
    def counts(self) -> Counts:
        """The sum up to now."""
        counts = self._over
        for tally in self._open:
            counts = counts.plus(tally)
        return counts
