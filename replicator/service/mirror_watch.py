"""One mirror on the source host: a thread that sees to it that changes are noticed."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from replicator.errors import SourceError
from replicator.liveness import beat
from replicator.mirror.paths import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.mirror.backlog import Backlog
    from replicator.mirror.excludes import Excludes
    from replicator.mirror.watcher import TreeWatcher
    from replicator.service.mirror_board import MirrorBoard

_log = structlog.get_logger()

_LIMIT_FILE: Final = Path("/proc/sys/fs/inotify/max_user_watches")
_LOOK_EVERY_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 5.0


class MirrorWatch:
    """Watches one folder, for all destinations of it: each has its backlog."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        name: str,
        path: Path,
        excludes: Excludes,
        backlogs: Sequence[Backlog],
        board: MirrorBoard,
        *,
        rescan_seconds: float,
        stop: threading.Event,
    ) -> None:
        self.thread_name = f"watch mirror {name}"
        self.is_watched = True
        #: Set once changes are noticed, or cannot be: only then may anything be compared.
        self.ready = threading.Event()
        self._name = name
        self._path = path
        self._excludes = excludes
        self._backlogs = backlogs
        self._board = board
        self._rescan_seconds = rescan_seconds
        self._stop = stop
        self._is_failing = False
        self._unwatched = 0

    def wake(self) -> None:
        """See `Part`: `stop` is enough."""

    def run(self) -> None:
        """Watch until stopped; what cannot be watched is found by rescans."""
        from replicator.mirror.watcher import TreeWatcher  # noqa: PLC0415 - a single pass watches nothing

        while not self._stop.is_set():
            beat()
            try:
                with TreeWatcher(self._path, self._excludes, self._backlogs) as watcher:
                    self._note_recovery()
                    self._follow(watcher)
            except SourceError as error:
                self._note_failure(error)
            self.ready.set()
            self._stop.wait(_RETRY_SECONDS if self._is_failing else _LOOK_EVERY_SECONDS)

    def _follow(self, watcher: TreeWatcher) -> None:
        if self.ready.is_set():  # what happened before is not known
            for backlog in self._backlogs:
                backlog.touch(TOP, tree=True)
        self._note_limit(watcher)
        self.ready.set()
        overflows = 0
        again_at = time.monotonic() + self._rescan_seconds
        while not self._stop.wait(_LOOK_EVERY_SECONDS) and not watcher.is_lost:
            beat()
            watcher.tell_half_moves()
            if watcher.overflows != overflows:
                overflows = watcher.overflows
                _log.warning(
                    "mirror.overflow",
                    mirror=self._name,
                    hint="changes came faster than they could be read, so everything is compared;"
                    " if this is so often, raise fs.inotify.max_queued_events with sysctl",
                )
            if self._unwatched and time.monotonic() >= again_at:
                watcher.watch_all()
                again_at = time.monotonic() + self._rescan_seconds
            self._note_limit(watcher)

    def _note_limit(self, watcher: TreeWatcher) -> None:
        unwatched = watcher.unwatched_folders
        self._board.watching(self._name, unwatched_folders=unwatched)
        if bool(unwatched) != bool(self._unwatched):
            if unwatched:
                need = watcher.watched_folders + unwatched
                _log.error(
                    "mirror.watch_limit",
                    mirror=self._name,
                    error=f"{unwatched} of {need} folders cannot be watched: the system's limit is reached",
                    limit=watch_limit(),
                    need=need,
                    hint="changes in them are found at the next rescan only; allow more watches:"
                    f" sysctl fs.inotify.max_user_watches={2 * max(need, watch_limit() or 0)}",
                )
            else:
                _log.info("mirror.watch_limit_over", mirror=self._name, folders=watcher.watched_folders)
        self._unwatched = unwatched

    def _note_failure(self, error: SourceError) -> None:
        self._board.watching(self._name, unwatched_folders=None)
        if not self._is_failing:
            self._is_failing = True
            _log.error("mirror.not_watched", mirror=self._name, error=error)

    def _note_recovery(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("mirror.watched", mirror=self._name)


def watch_limit() -> int | None:
    """Return how many watches the system allows each user; None if it does not tell."""
    try:
        return int(_LIMIT_FILE.read_text())
    except (OSError, ValueError):
        return None
