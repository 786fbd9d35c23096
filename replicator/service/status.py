"""What is known of a service at one instant, as values.

Pure. `board` collects it, `state_document` writes it down, `metrics` and the command line show it. Times are
seconds since the epoch, on the clock of the source host. How old something is, and so the lag, depends on when
one looks: whoever shows it computes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.service.mirror_status import MirrorStatus


class Activity(StrEnum):
    """What a service does for a database at a destination; one may fail while the other works."""

    PUBLISH = "publish"
    SHIP = "ship"


class RunState(StrEnum):
    """What a service says of itself."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Watched:
    """A database of the configuration, where it goes to, and whether its write-ahead log is shipped there."""

    name: str
    destinations: tuple[str, ...]
    shipping: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The last error. It stands until `recovered_at_seconds`, when the same thing worked again."""

    message: str
    hint: str
    at_seconds: float
    recovered_at_seconds: float | None = None

    @property
    def stands(self) -> bool:
        """Whether nothing has worked since."""
        return self.recovered_at_seconds is None


@dataclass(frozen=True, slots=True)
class Drill:
    """A restore that was made to see whether it works: seconds of writes that it lacked, seconds that it took."""

    at_seconds: float
    loss_seconds: float | None
    took_seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class PairStatus:
    """One database at one destination; None is what is not known.

    `restorable_at_seconds` is the newest instant of the source that the destination could restore;
    `backlog_bytes` are those of the write-ahead log that it lacks.
    """

    destination: str
    generation: str | None = None
    last_publish_at_seconds: float | None = None
    restorable_at_seconds: float | None = None
    backlog_bytes: int | None = None
    last_error: Failure | None = None
    next_try_at_seconds: float | None = None
    last_drill: Drill | None = None


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One database on the source host, and its destinations; None is what is not known.

    `last_checkpoint_at_seconds` is the point in time that the checkpoint shows. `given_up` is what is done without
    because less than `min_free` was free.
    """

    name: str
    shipping: bool
    last_checkpoint_at_seconds: float | None = None
    last_checkpoint_duration_seconds: float | None = None
    last_error: Failure | None = None
    pinned_bytes: int | None = None
    free_bytes: int | None = None
    given_up: tuple[str, ...] = ()
    destinations: tuple[PairStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceState:
    """All that a service tells of itself, and when it told so."""

    program_version: str
    pid: int
    started_at_seconds: float
    written_at_seconds: float
    state: RunState
    databases: tuple[DatabaseStatus, ...]
    mirrors: tuple[MirrorStatus, ...] = ()


def lag_seconds(pair: PairStatus, now_seconds: float) -> float | None:
    """Return how old the newest state is that could be restored; None if none is known."""
    if pair.restorable_at_seconds is None:
        return None
    return max(0.0, now_seconds - pair.restorable_at_seconds)


def as_configured(known: Iterable[DatabaseStatus], watched: Sequence[Watched]) -> tuple[DatabaseStatus, ...]:
    """Return what is known of the databases and destinations in `watched`; of some that may be nothing."""
    databases = {database.name: database for database in known}
    return tuple(_as_configured(databases.get(wanted.name), wanted) for wanted in watched)


def _as_configured(known: DatabaseStatus | None, wanted: Watched) -> DatabaseStatus:
    database = known or DatabaseStatus(name=wanted.name, shipping=wanted.shipping)
    pairs = {pair.destination: pair for pair in database.destinations}
    destinations = tuple(pairs.get(name) or PairStatus(destination=name) for name in wanted.destinations)
    return replace(database, destinations=destinations)
