"""Which generations are kept. Pure: ids and a policy in, ids out; removing is left to `publish`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

    from replicator.replica.layout import GenerationId


@dataclass(frozen=True, slots=True)
class KeepPolicy:
    """How many generations to keep: the newest `last`, and the newest of each hour, day and week (UTC).

    Each rule counts for itself, and only periods that have a generation count; what any rule keeps stays.
    """

    last: int = 1
    hourly: int = 0
    daily: int = 0
    weekly: int = 0

    def __post_init__(self) -> None:
        if self.last < 1 or min(self.hourly, self.daily, self.weekly) < 0:
            raise ValueError(f"a policy keeps at least the last generation, and no negative number: {self}")


def generations_to_drop(
    generations: Collection[GenerationId], policy: KeepPolicy, *, protected: Collection[GenerationId] = ()
) -> tuple[GenerationId, ...]:
    """Return what the policy lets go, oldest first: never the newest, nor one that is `protected`."""
    newest_first = sorted(set(generations), reverse=True)
    kept = set(protected)
    kept.update(newest_first[: policy.last])
    kept.update(_newest_of_each(newest_first, policy.hourly, _hour))
    kept.update(_newest_of_each(newest_first, policy.daily, _day))
    kept.update(_newest_of_each(newest_first, policy.weekly, _week))
    return tuple(generation for generation in reversed(newest_first) if generation not in kept)


def _newest_of_each(
    newest_first: Iterable[GenerationId], periods: int, period_of: Callable[[GenerationId], Hashable]
) -> list[GenerationId]:
    newest: dict[Hashable, GenerationId] = {}
    for generation in newest_first:
        newest.setdefault(period_of(generation), generation)
    return list(newest.values())[:periods]


def _hour(generation: GenerationId) -> Hashable:
    return generation.unix_milliseconds // 3_600_000


def _day(generation: GenerationId) -> Hashable:
    return generation.time.date()


def _week(generation: GenerationId) -> Hashable:
    return generation.time.isocalendar()[:2]
