"""Noticing what appears in a folder: new checkpoints in a checkpoint root, new logs in a database's folder.

watchdog tells at once; a periodic look (the caller's, through `wait`) makes sure that a lost event costs at most
that period. What the folder contains is not judged here.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from replicator.checkpoint.database_folder import LOG_SUFFIX
from replicator.checkpoint.rotation import CURRENT
from replicator.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from watchdog.observers.api import BaseObserver

_HINTS = {
    errno.EMFILE: "raise fs.inotify.max_user_instances with sysctl, or the limit on open files",
    errno.ENOSPC: "raise fs.inotify.max_user_watches with sysctl",
}


#: Names come, go and change. Writes to the files are not asked for: a busy log would keep a core busy here.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    DirCreatedEvent,
    FileMovedEvent,
    DirMovedEvent,
    FileDeletedEvent,
    DirDeletedEvent,
]


class FolderWatcher(FileSystemEventHandler):
    """Waits for something to happen to the names in a folder that `is_wanted` says yes to.

    `changed` is set then; somebody else may set it too, to end a wait.
    """

    def __init__(
        self, folder: Path, is_wanted: Callable[[str], bool], changed: threading.Event | None = None
    ) -> None:
        self._folder = folder
        self._is_wanted = is_wanted
        self._changed = changed or threading.Event()
        self._observer: BaseObserver | None = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """See watchdog: called on the observer's thread for every event."""
        paths = (Path(str(path)) for path in (event.src_path, event.dest_path) if path)
        if any(path.parent == self._folder and self._is_wanted(path.name) for path in paths):
            self._changed.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for an event, at most this long; True if there was one. Several since the last call count once."""
        happened = self._changed.wait(timeout_seconds)
        self._changed.clear()
        return happened

    def wake(self) -> None:
        """Make `wait` return at once, from any thread."""
        self._changed.set()

    def __enter__(self) -> Self:
        """Begin to watch. Raises `CheckpointError` if the system gives no watch."""
        try:
            # watchdog is silent about a folder that may not be listed, and sees nothing in it.
            with os.scandir(self._folder):
                pass
            # Not sooner: watchdog takes an inotify instance as soon as there is an observer.
            self._observer = Observer()
            self._observer.name = f"watch {self._folder}"
            self._observer.schedule(self, str(self._folder), recursive=False, event_filter=_EVENTS)
            self._observer.start()
        except OSError as error:
            self._stop()
            raise CheckpointError(
                f"cannot watch {self._folder}: {error.strerror}",
                hint=_HINTS.get(error.errno or 0, "the user that runs this must be able to list that folder"),
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None


class CheckpointWatcher(FolderWatcher):
    """Waits for `checkpoint_current` in a root to be replaced.

    The root itself is watched: a checkpoint arrives by a rename, of which its own folder sees nothing.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, CURRENT.__eq__)


class LogWatcher(FolderWatcher):
    """Waits for a write-ahead log to appear in a folder, or to go."""

    def __init__(self, folder: Path, changed: threading.Event) -> None:
        super().__init__(folder, lambda name: name.endswith(LOG_SUFFIX), changed)
