"""What is known of the mirrors of a service at one instant, as values. Pure; times are seconds since the epoch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.service.status import Failure


@dataclass(frozen=True, slots=True)
class WatchedMirror:
    """A mirror of the configuration, and where it goes to."""

    name: str
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """One mirror at one destination; None is what is not known.

    `backlog_files` are paths that wait to be looked at. `last_delay_seconds` is the time from the first event to
    the destination, of what was mirrored last. `files`, `sent_bytes`, `deletes` and `errors` (by kind) count since
    the service was started, `failed_files` and `refused_deletes` since the last comparison began. Changes in
    `unwatched_folders` are found by comparisons only; None if nothing is watched.
    """

    mirror: str
    destination: str
    backlog_files: int | None = None
    last_comparison_at_seconds: float | None = None
    last_delay_seconds: float | None = None
    files: int = 0
    sent_bytes: int = 0
    deletes: int = 0
    failed_files: int = 0
    refused_deletes: int = 0
    unwatched_folders: int | None = None
    last_error: Failure | None = None
    next_try_at_seconds: float | None = None
    errors: Mapping[str, int] = field(default_factory=Counter, compare=False)


def mirrors_as_configured(
    known: Iterable[MirrorStatus], watched: Sequence[WatchedMirror]
) -> tuple[MirrorStatus, ...]:
    """Return what is known of the mirrors in `watched`; of some that may be nothing."""
    found = {(status.mirror, status.destination): status for status in known}
    return tuple(
        found.get((mirror.name, name)) or MirrorStatus(mirror.name, name)
        for mirror in watched
        for name in mirror.destinations
    )
