"""What has been counted since a service was started, as values. Pure: `board` counts, `metrics` shows."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: From a capture of a few links up to one that copies a large database; the last bucket, without a bound, follows.
DURATION_BOUNDS_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Durations:
    """How many took how long: `counts` for each bound (inclusive) and for what is above the last."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS_SECONDS) + 1)
    sum_seconds: float = 0.0

    def with_one(self, duration_seconds: float) -> Durations:
        """Return these and one more."""
        bucket = bisect_left(DURATION_BOUNDS_SECONDS, duration_seconds)
        counts = tuple(count + (index == bucket) for index, count in enumerate(self.counts))
        return Durations(counts, self.sum_seconds + duration_seconds)


@dataclass(frozen=True, slots=True)
class DatabaseTotals:
    """Of one database on the source host."""

    checkpoint_durations: Durations = Durations()
    checkpoint_failures: int = 0


@dataclass(frozen=True, slots=True)
class PairTotals:
    """Of one database at one destination; `errors` by kind."""

    uploaded_bytes: int = 0
    reused_files: int = 0
    reused_bytes: int = 0
    shipped_bytes: int = 0
    drill_failures: int = 0
    errors: Mapping[str, int] = field(default_factory=Counter)
