"""Noticing what changes in a tree: inotify, by way of watchdog.

watchdog's own recursive observer hides two things that a mirror has to know: that the kernel dropped events, and
that a folder could not be watched because the limit was reached. So its reader of an inotify instance
(`InotifyFD`) is used directly, and which folders are watched is kept in `watched_folders`.

A watch belongs to a folder, not to a path, and events are read later than they happen. So the path that a watch is
known under may be out of date; then an event that says so is still to be read, and what that one names is looked
at with all below it. Each folder is listed *after* it is watched, so that nothing appears in it unseen.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from watchdog.observers.inotify_c import InotifyConstants, InotifyFD

from replicator.errors import SourceError
from replicator.mirror.paths import TOP, join, lies_in, name_of
from replicator.mirror.watched_folders import WatchedFolders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from watchdog.observers.inotify_c import InotifyEvent, WatchDescriptor

    from replicator.mirror.excludes import Excludes
    from replicator.mirror.watched_folders import WatchedFolder

#: After others, size and time tell whether the content changed.
_CONTENT: Final = InotifyConstants.IN_MODIFY | InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE
#: Both halves of a move are read at once, or nearly so.
_MOVE_SECONDS: Final = 0.5


class Listener(Protocol):
    """Is told what to look at; a `Backlog` is one."""

    def touch(self, path: str, *, tree: bool = False, fresh: bool = False, born: bool = False) -> None:
        """Something happened to `path`."""

    def share(self, path: str, inodes: frozenset[int]) -> None:
        """It is, or was, one of several names of these files."""

    def move(self, source: str, target: str, *, is_folder: bool) -> None:
        """It was given another name."""


@dataclass(frozen=True, slots=True)
class _HalfMove:
    path: str
    is_folder: bool
    at_seconds: float
    #: Whether nothing has appeared under its path since: then what is watched there is what was moved.
    is_last: bool = True


class TreeWatcher:
    """Watches a tree for as long as the context lasts, and tells all listeners."""

    def __init__(
        self,
        top: Path,
        excludes: Excludes,
        listeners: Sequence[Listener],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._top = top
        self._excludes = excludes
        self._listeners = listeners
        self._clock = clock
        self._lock = threading.RLock()
        self._half_moves: dict[int, _HalfMove] = {}
        self._is_lost = False
        #: How often the kernel has dropped events.
        self.overflows = 0

    def __enter__(self) -> Self:
        """Begin to watch. Raises `SourceError` if that is not possible at all."""
        try:
            self._reader = InotifyFD()
        except OSError as error:
            raise SourceError(
                f"cannot watch {self._top}: {error.strerror}",
                hint="raise fs.inotify.max_user_instances with sysctl, or the limit on open files",
            ) from error
        self._reader.name = f"watch {self._top}"
        self._reader.start()
        with self._lock:
            self._folders = WatchedFolders(os.fsencode(self._top), self._excludes, self._reader, self)
            self._folders.watch_all()
        if not len(self._folders) and not self._folders.unwatched:
            self._close()
            raise SourceError(
                f"cannot watch {self._top}: it is not there, or may not be read",
                hint="is its filesystem mounted, may the service's user read it?",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def unwatched_folders(self) -> int:
        """How many folders could not be watched because the system allows no more watches."""
        return self._folders.unwatched

    @property
    def watched_folders(self) -> int:
        """How many folders are watched."""
        return len(self._folders)

    @property
    def is_lost(self) -> bool:
        """Whether the top was removed, renamed or unmounted, or the reader has ended: watch anew."""
        return self._is_lost or not self._reader.is_alive()

    def watch_all(self) -> None:
        """Try again to watch what could not be watched."""
        with self._lock:
            self._folders.watch_all()

    def tell_half_moves(self) -> None:
        """Tell of moves that led out of the tree; to be called now and then."""
        with self._lock:
            self._give_up_half_moves()

    # --- watchdog's callbacks, on the reader's thread ------------------------------------------------

    def on_event(self, event: InotifyEvent) -> None:
        """See watchdog."""
        with self._lock:
            folder = self._folders.of(event.wd)
            path = self._folders.path(folder) if folder else None
            if folder is None or path is None:
                return
            if event.name:
                self._on_name(event, folder, join(path, os.fsdecode(event.name)))
            elif folder is self._folders.root:  # of others the folder above tells it too
                self._on_top(event)
            if self._half_moves:
                self._give_up_half_moves()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """See watchdog: the folder is gone."""
        with self._lock:
            if self._folders.gone(wd) is self._folders.root:
                self._is_lost = True

    def on_queue_overflow(self) -> None:
        """See watchdog: events were lost, so nothing is known any more."""
        with self._lock:
            self.overflows += 1
            self._half_moves.clear()
            self._folders.watch_all()
            self._touch(TOP, tree=True)

    # --- events --------------------------------------------------------------------------------------

    def _on_top(self, event: InotifyEvent) -> None:
        if event.is_delete_self or event.is_move_self:
            self._is_lost = True
        elif event.is_attrib:
            self._touch(TOP)

    def _on_name(self, event: InotifyEvent, above: WatchedFolder, path: str) -> None:
        is_folder = bool(event.mask & InotifyConstants.IN_ISDIR)
        if event.is_moved_from:
            self._half_moves[event.cookie] = _HalfMove(path, is_folder, self._clock())
        elif event.is_moved_to:
            half = self._half_moves.pop(event.cookie, None)
            if is_folder:
                self._on_folder_moved(half, above, path)
            else:
                self._on_file_moved(half, path)
        elif self._excludes.covers(path, is_folder=is_folder):
            return
        elif is_folder:
            self._on_folder(event, above, path)
        else:
            # What was moved away from here may still lie at the destination.
            born = event.is_create and all(half.path != path for half in self._half_moves.values())
            self._touch(path, fresh=bool(event.mask & _CONTENT), born=born)
            if event.is_create:
                self._tell_shared(path)

    def _on_folder(self, event: InotifyEvent, above: WatchedFolder, path: str) -> None:
        if event.is_create:
            self._adopt(above, path)
            self._touch(path, tree=True)
        elif event.is_delete:
            self._folders.drop(path)
            self._touch(path, tree=True, fresh=True)
        else:
            self._touch(path)

    def _on_file_moved(self, half: _HalfMove | None, path: str) -> None:
        # A folder that has come to be excluded with a move may still be watched.
        is_excluded = self._excludes.covers_any(path, is_folder=False)
        if half is not None and not self._excludes.covers_any(half.path, is_folder=False):
            if not is_excluded:
                self._tell_move(half.path, path, is_folder=False)
            else:
                self._touch(half.path, fresh=True)
        elif not is_excluded:
            self._touch(path, fresh=True)
            self._tell_shared(path)

    def _on_folder_moved(self, half: _HalfMove | None, above: WatchedFolder, path: str) -> None:
        was_here = half is not None and not self._excludes.covers_any(half.path, is_folder=True)
        if self._excludes.covers_any(path, is_folder=True):
            if half is not None and was_here:
                self._folders.drop(half.path)
                self._touch(half.path, tree=True, fresh=True)
            return
        if half is not None and was_here and half.is_last:
            self._folders.move(half.path, above, name_of(path))
        else:
            self._folders.drop(path)
        self._adopt(above, path)
        if half is not None and was_here:
            self._tell_move(half.path, path, is_folder=True)
        else:
            self._touch(path, tree=True, fresh=True)

    def _adopt(self, above: WatchedFolder, path: str) -> None:
        for cookie, half in self._half_moves.items():
            if lies_in(half.path, path):
                self._half_moves[cookie] = replace(half, is_last=False)
        self._folders.adopt(above, name_of(path), path)

    def _give_up_half_moves(self) -> None:
        """What was moved out of the tree is gone."""
        before_seconds = self._clock() - _MOVE_SECONDS
        for cookie, half in list(self._half_moves.items()):
            if half.at_seconds <= before_seconds:
                del self._half_moves[cookie]
                if half.is_folder and half.is_last:
                    self._folders.drop(half.path)
                if not self._excludes.covers(half.path, is_folder=half.is_folder):
                    self._touch(half.path, tree=half.is_folder, fresh=True)

    def _tell_move(self, source: str, target: str, *, is_folder: bool) -> None:
        for listener in self._listeners:
            listener.move(source, target, is_folder=is_folder)
            # What is excluded may differ below another path, a watch may have come late: better look.
            listener.touch(target, tree=is_folder)

    def _tell_shared(self, path: str) -> None:
        """Tell of a file that has other names: no event names those. At once, for this name may be gone soon."""
        with suppress(OSError):
            found = os.lstat(os.path.join(self._top, path))  # noqa: PTH118 - for each file that is made
            if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
                for listener in self._listeners:
                    listener.share(path, frozenset([found.st_ino]))

    def _touch(self, path: str, *, tree: bool = False, fresh: bool = False, born: bool = False) -> None:
        for listener in self._listeners:
            listener.touch(path, tree=tree, fresh=fresh, born=born)

    def _close(self) -> None:
        self._reader.stop()
        self._reader.join()
