"""The board: every part of the service notes here what it did, and whoever tells operators reads it.

Safe for use by several threads. It holds what was said and counts; it judges nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from replicator.errors import ReplicatorError
from replicator.locator import hide_password
from replicator.service.events import Event, EventKind, NoListener
from replicator.service.status import Activity, DatabaseStatus, Drill, Failure, PairStatus
from replicator.service.totals import DatabaseTotals, PairTotals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicator.service.events import Listener
    from replicator.service.status import Watched

_FAILURES: Final = {Activity.PUBLISH: EventKind.PUBLISH_FAILED, Activity.SHIP: EventKind.SHIPPING_FAILED}


@dataclass(slots=True)
class _Pair:
    """What is noted of a database at a destination; what fails is held by activity."""

    status: PairStatus
    totals: PairTotals = field(default_factory=PairTotals)
    failures: dict[Activity, tuple[Failure, float | None]] = field(default_factory=dict)
    #: What the listener knows to fail.
    told: set[Activity] = field(default_factory=set)

    def current(self) -> PairStatus:
        """Return the status with the error that matters most: the newest that stands, else the newest."""
        if not self.failures:
            return self.status
        failure, next_try_at_seconds = max(
            self.failures.values(), key=lambda item: (item[0].stands, item[0].at_seconds)
        )
        return replace(self.status, last_error=failure, next_try_at_seconds=next_try_at_seconds)


@dataclass(slots=True)
class _Database:
    """What is noted of a database."""

    status: DatabaseStatus
    pairs: dict[str, _Pair]
    totals: DatabaseTotals = field(default_factory=DatabaseTotals)


class StatusBoard:
    """What is known of each database in `watched`, and of it at each of its destinations.

    Times are seconds since the epoch. A name that is not in `watched` is a `KeyError`.
    """

    def __init__(
        self,
        watched: Iterable[Watched],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`listener` hears of what was published, and of failures as they begin."""
        self._clock = clock
        self._listener = listener or NoListener()
        self._lock = threading.Lock()
        self._databases = {
            item.name: _Database(
                DatabaseStatus(item.name, item.shipping),
                {name: _Pair(PairStatus(name)) for name in item.destinations},
            )
            for item in watched
        }

    # --- the source host -----------------------------------------------------------------------------

    def checkpoint_made(
        self, database: str, *, captured_at_seconds: float, duration_seconds: float | None
    ) -> None:
        """Note a checkpoint, and the time that it took; None if somebody else made it."""
        with self._lock:
            entry = self._databases[database]
            entry.status = replace(
                entry.status,
                last_checkpoint_at_seconds=captured_at_seconds,
                last_checkpoint_duration_seconds=duration_seconds,
                last_error=self._healed(entry.status.last_error),
            )
            if duration_seconds is not None:
                durations = entry.totals.checkpoint_durations.with_one(duration_seconds)
                entry.totals = replace(entry.totals, checkpoint_durations=durations)

    def checkpoint_failed(self, database: str, *, error: Exception) -> None:
        """Note that no checkpoint could be made."""
        with self._lock:
            entry = self._databases[database]
            known, failure = entry.status.last_error, self._failure(error)
            entry.status = replace(entry.status, last_error=failure)
            failures = entry.totals.checkpoint_failures + 1
            entry.totals = replace(entry.totals, checkpoint_failures=failures)
        if known is None or not known.stands:
            self._tell(EventKind.CHECKPOINT_FAILED, database, failure=failure)

    def pinned(self, database: str, *, count_bytes: int) -> None:
        """Note how many bytes of obsolete files are held on to."""
        with self._lock:
            entry = self._databases[database]
            entry.status = replace(entry.status, pinned_bytes=count_bytes)

    def free(self, database: str, *, count_bytes: int) -> None:
        """Note how many bytes are free on the filesystem of the checkpoint root."""
        with self._lock:
            entry = self._databases[database]
            entry.status = replace(entry.status, free_bytes=count_bytes)

    def given_up(self, database: str, *, what: tuple[str, ...]) -> None:
        """Note what is given up because too little space is free there; empty if nothing is any more."""
        with self._lock:
            entry = self._databases[database]
            entry.status = replace(entry.status, given_up=what)

    # --- at a destination ----------------------------------------------------------------------------

    def published(  # noqa: PLR0913 - what there is to tell of a publish
        self,
        database: str,
        destination: str,
        *,
        generation: str,
        captured_at_seconds: float,
        sent_bytes: int,
        reused_files: int,
        reused_bytes: int,
    ) -> None:
        """Note a new generation, or that the one before is as new. `shipped` and `caught_up` are about it now."""
        with self._lock:
            pair = self._pair(database, destination)
            is_new = pair.status.generation != generation
            pair.status = replace(
                pair.status,
                generation=generation,
                last_publish_at_seconds=self._clock(),
                restorable_at_seconds=captured_at_seconds,
            )
            pair.totals = replace(
                pair.totals,
                uploaded_bytes=pair.totals.uploaded_bytes + sent_bytes,
                reused_files=pair.totals.reused_files + reused_files,
                reused_bytes=pair.totals.reused_bytes + reused_bytes,
            )
        if is_new:
            self._tell(EventKind.PUBLISHED, database, destination, generation=generation)

    def caught_up(self, database: str, destination: str, *, state_at_seconds: float) -> None:
        """Note that all that was on the source's disk at that instant can be restored: nothing is left to ship."""
        with self._lock:
            pair = self._pair(database, destination)
            pair.status = replace(_restorable(pair.status, state_at_seconds), backlog_bytes=0)

    def shipped(self, database: str, destination: str, *, count_bytes: int, state_at_seconds: float) -> None:
        """Note that so many bytes of log were appended and confirmed, up to a reading of that instant."""
        with self._lock:
            pair = self._pair(database, destination)
            pair.status = _restorable(pair.status, state_at_seconds)
            pair.totals = replace(pair.totals, shipped_bytes=pair.totals.shipped_bytes + count_bytes)

    def backlog(self, database: str, destination: str, *, count_bytes: int) -> None:
        """Note how many bytes of write-ahead log are still to be shipped."""
        with self._lock:
            pair = self._pair(database, destination)
            pair.status = replace(pair.status, backlog_bytes=count_bytes)

    def failed(  # noqa: PLR0913 - what there is to tell of a failure
        self,
        database: str,
        destination: str,
        *,
        error: Exception,
        kind: str,
        next_try_at_seconds: float | None,
        activity: Activity = Activity.PUBLISH,
        will_heal: bool = False,
    ) -> None:
        """Note an error, which stands until `recovered` of the same activity.

        One that probably heals in a moment (`will_heal`) is nothing to tell the listener of.
        """
        with self._lock:
            pair = self._pair(database, destination)
            failure = self._failure(error)
            pair.failures[activity] = (failure, next_try_at_seconds)
            is_news = not will_heal and activity not in pair.told
            if is_news:
                pair.told.add(activity)
            pair.totals = replace(pair.totals, errors=Counter(pair.totals.errors) + Counter([kind]))
        if is_news:
            self._tell(_FAILURES[activity], database, destination, failure=failure)

    def recovered(self, database: str, destination: str, *, activity: Activity = Activity.PUBLISH) -> None:
        """Note that it works; it need not have failed before."""
        with self._lock:
            pair = self._pair(database, destination)
            pair.told.discard(activity)
            if (noted := pair.failures.get(activity)) and (healed := self._healed(noted[0])):
                pair.failures[activity] = (healed, None)

    def drilled(  # noqa: PLR0913 - what there is to tell of a drill
        self,
        database: str,
        destination: str,
        *,
        at_seconds: float,
        loss_seconds: float | None,
        took_seconds: float,
        error: str | None,
    ) -> None:
        """Note a restore drill: how many seconds of writes the restore lacked, and what was wrong with it."""
        with self._lock:
            pair = self._pair(database, destination)
            drill = Drill(at_seconds, loss_seconds, took_seconds, error if error is None else _text(error))
            pair.status = replace(pair.status, last_drill=drill)
            failures = pair.totals.drill_failures + (error is not None)
            pair.totals = replace(pair.totals, drill_failures=failures)
        if drill.error is not None:
            failure = Failure(drill.error, "", at_seconds)
            self._tell(EventKind.DRILL_FAILED, database, destination, failure=failure)

    def remember_drills(self, databases: Iterable[DatabaseStatus]) -> None:
        """Take over what an earlier run told of the last drills; what is not watched any more is left out."""
        with self._lock:
            for database in databases:
                entry = self._databases.get(database.name)
                for told in database.destinations:
                    if entry and (pair := entry.pairs.get(told.destination)):
                        pair.status = replace(pair.status, last_drill=told.last_drill)

    # --- reading -------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[DatabaseStatus, ...]:
        """Return all that is known now, in the order of `watched`."""
        with self._lock:
            return tuple(
                replace(entry.status, destinations=tuple(pair.current() for pair in entry.pairs.values()))
                for entry in self._databases.values()
            )

    def last_drill(self, database: str, destination: str) -> Drill | None:
        """Return what is known of the last drill."""
        with self._lock:
            return self._pair(database, destination).status.last_drill

    def database_totals(self) -> dict[str, DatabaseTotals]:
        """Return what was counted for each database."""
        with self._lock:
            return {name: entry.totals for name, entry in self._databases.items()}

    def pair_totals(self) -> dict[tuple[str, str], PairTotals]:
        """Return what was counted for each database and destination."""
        with self._lock:
            return {
                (name, destination): pair.totals
                for name, entry in self._databases.items()
                for destination, pair in entry.pairs.items()
            }

    def _tell(
        self,
        kind: EventKind,
        database: str,
        destination: str = "",
        *,
        generation: str = "",
        failure: Failure | None = None,
    ) -> None:
        error, hint = (failure.message, failure.hint) if failure else ("", "")
        self._listener.hear(Event(kind, database, destination, generation, error, hint))

    # --- with the lock held --------------------------------------------------------------------------

    def _pair(self, database: str, destination: str) -> _Pair:
        return self._databases[database].pairs[destination]

    def _failure(self, error: Exception) -> Failure:
        return failure_of(error, self._clock())

    def _healed(self, failure: Failure | None) -> Failure | None:
        if failure is None or not failure.stands:
            return failure
        return replace(failure, recovered_at_seconds=self._clock())


def failure_of(error: Exception, at_seconds: float) -> Failure:
    """Return what there is to say of an error."""
    hint = error.hint if isinstance(error, ReplicatorError) else ""
    return Failure(_text(str(error) or type(error).__name__), _text(hint), at_seconds)


def _restorable(status: PairStatus, at_seconds: float) -> PairStatus:
    known = status.restorable_at_seconds
    return replace(status, restorable_at_seconds=at_seconds if known is None else max(known, at_seconds))


def _text(message: str) -> str:
    # What is told to operators is UTF-8, which a file's name in a message need not be.
    return hide_password(message).encode("utf-8", "backslashreplace").decode()
