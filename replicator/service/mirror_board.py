"""The board of the mirrors: what their threads did, for whoever tells operators. Any thread may use it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.service.board import failure_of
from replicator.service.events import Event, EventKind, NoListener
from replicator.service.mirror_status import MirrorStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicator.mirror.counting import Counts
    from replicator.service.events import Listener
    from replicator.service.mirror_status import WatchedMirror


class MirrorBoard:
    """What is known of each mirror in `watched` at each of its destinations. Times are seconds since the epoch."""

    def __init__(
        self,
        watched: Iterable[WatchedMirror],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`listener` hears of failures as they begin."""
        self._listener = listener or NoListener()
        self._told: set[tuple[str, str]] = set()
        self._clock = clock
        self._lock = threading.Lock()
        self._backlogs: dict[tuple[str, str], Callable[[], int]] = {}
        self._mirrors = {
            (mirror.name, destination): MirrorStatus(mirror.name, destination)
            for mirror in watched
            for destination in mirror.destinations
        }

    def counted(self, mirror: str, destination: str, *, counts: Counts) -> None:
        """Note what was done since the service was started."""
        self._put(
            replace(
                self._of(mirror, destination),
                files=counts.files,
                sent_bytes=counts.sent_bytes,
                deletes=counts.deletes,
            )
        )

    def incomplete(self, mirror: str, destination: str, *, failed_files: int, refused_deletes: int) -> None:
        """Note what failed or was refused since the last comparison began."""
        self._put(
            replace(self._of(mirror, destination), failed_files=failed_files, refused_deletes=refused_deletes)
        )

    def compared(self, mirror: str, destination: str) -> None:
        """Note that a whole comparison ended."""
        self._put(replace(self._of(mirror, destination), last_comparison_at_seconds=self._clock()))

    def delayed(self, mirror: str, destination: str, *, delay_seconds: float) -> None:
        """Note how long something took from its event to the destination."""
        self._put(replace(self._of(mirror, destination), last_delay_seconds=delay_seconds))

    def follow_backlog(self, mirror: str, destination: str, files: Callable[[], int]) -> None:
        """Let `files` tell how many paths wait to be looked at, whenever somebody wants to know."""
        self._backlogs[mirror, destination] = files

    def watching(self, mirror: str, *, unwatched_folders: int | None) -> None:
        """Note how many folders are not watched; None if none is."""
        with self._lock:
            for key, status in self._mirrors.items():
                if status.mirror == mirror:
                    self._mirrors[key] = replace(status, unwatched_folders=unwatched_folders)

    def failed(  # noqa: PLR0913 - what there is to tell of a failure
        self,
        mirror: str,
        destination: str,
        *,
        error: Exception,
        kind: str,
        next_try_at_seconds: float | None,
        will_heal: bool = False,
    ) -> None:
        """Note an error, which stands until `recovered`.

        One that probably heals in a moment (`will_heal`) is nothing to tell the listener of.
        """
        status = self._of(mirror, destination)
        failure = failure_of(error, self._clock())
        self._put(
            replace(
                status,
                last_error=failure,
                next_try_at_seconds=next_try_at_seconds,
                errors=Counter(status.errors) + Counter([kind]),
            )
        )
        with self._lock:
            is_news = not will_heal and (mirror, destination) not in self._told
            if is_news:
                self._told.add((mirror, destination))
        if is_news:
            self._listener.hear(
                Event(
                    EventKind.MIRROR_FAILED,
                    mirror=mirror,
                    destination=destination,
                    error=failure.message,
                    hint=failure.hint,
                )
            )

    def recovered(self, mirror: str, destination: str) -> None:
        """Note that it works; it need not have failed before."""
        with self._lock:
            self._told.discard((mirror, destination))
        status = self._of(mirror, destination)
        if status.last_error is not None and status.last_error.stands:
            healed = replace(status.last_error, recovered_at_seconds=self._clock())
            self._put(replace(status, last_error=healed, next_try_at_seconds=None))

    def snapshot(self) -> tuple[MirrorStatus, ...]:
        """Return all that is known now."""
        with self._lock:
            mirrors = tuple(self._mirrors.items())
        return tuple(
            replace(status, backlog_files=self._backlogs[key]()) if key in self._backlogs else status
            for key, status in mirrors
        )

    def _of(self, mirror: str, destination: str) -> MirrorStatus:
        with self._lock:
            return self._mirrors[mirror, destination]

    def _put(self, status: MirrorStatus) -> None:
        # Each is changed by one thread; what the watcher notes is kept.
        with self._lock:
            noted = self._mirrors[status.mirror, status.destination].unwatched_folders
            self._mirrors[status.mirror, status.destination] = replace(status, unwatched_folders=noted)
