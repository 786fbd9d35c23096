"""Which folders of a tree are watched, and under which path each is known."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyFD, Mask, WatchDescriptor

from replicator.mirror.paths import TOP, join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchdog.observers.inotify_c import WatchCallback

    from replicator.mirror.excludes import Excludes

_MASK: Final = Mask(
    InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)
#: Of the top there is no folder above that would tell, and it may be named by a link.
_TOP_MASK: Final = Mask(_MASK | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF)
_BELOW_MASK: Final = Mask(_MASK | InotifyConstants.IN_DONT_FOLLOW)
_NO_WATCH: Final = WatchDescriptor(-1)
_NO_CALLBACK: Final = CallbackId(0)


@dataclass(slots=True, eq=False)
class WatchedFolder:
    """A folder; `above` is None for the top, and for what is not in the tree any more."""

    name: str
    above: WatchedFolder | None
    watch: WatchDescriptor = _NO_WATCH
    callback: CallbackId = _NO_CALLBACK
    below: dict[str, WatchedFolder] = field(default_factory=dict)


class WatchedFolders:
    """Sets and removes the watches of one `reader`, which tells `listener`. Not safe for several threads."""

    def __init__(self, top: bytes, excludes: Excludes, reader: InotifyFD, listener: WatchCallback) -> None:
        self.root = WatchedFolder("", None)
        #: Folders that cannot be watched because the system allows no more watches.
        self.unwatched = 0
        self._top = top
        self._excludes = excludes
        self._reader = reader
        self._listener = listener
        self._folders: dict[WatchDescriptor, WatchedFolder] = {}
        self._callbacks = count(1)

    def __len__(self) -> int:
        return len(self._folders)

    def of(self, watch: WatchDescriptor) -> WatchedFolder | None:
        """Return the folder that an event is about."""
        return self._folders.get(watch)

    def gone(self, watch: WatchDescriptor) -> WatchedFolder | None:
        """Forget a watch that the system has removed; return its folder."""
        folder = self._folders.pop(watch, None)
        if folder is not None:
            folder.watch = _NO_WATCH
        return folder

    def path(self, folder: WatchedFolder) -> str | None:
        """Return where a folder is as far as it is known; None if it is not in the tree any more."""
        names: list[str] = []
        while folder.above is not None:
            names.append(folder.name)
            folder = folder.above
        return "/".join(reversed(names)) if folder is self.root else None

    # --- changes -------------------------------------------------------------------------------------

    def watch_all(self) -> None:
        """Watch the whole tree as it is now, and nothing else."""
        self.unwatched = 0
        self._watch_tree(self.root, TOP, prune=True)

    def adopt(self, above: WatchedFolder, name: str, path: str) -> None:
        """Watch a folder that appeared, and all below it."""
        if name not in above.below:
            above.below[name] = WatchedFolder(name, above)
        self._watch_tree(above.below[name], path, prune=False)

    def move(self, source: str, above: WatchedFolder, name: str) -> None:
        """Note that a folder has another path. It keeps its watch."""
        if replaced := above.below.pop(name, None):
            self._abandon(replaced)
        folder = self._detach(source)
        if folder is not None:
            folder.name, folder.above = name, above
            above.below[name] = folder

    def drop(self, path: str) -> None:
        """Watch a folder and all below it no longer."""
        if folder := self._detach(path):
            self._abandon(folder)

    # --- parts ---------------------------------------------------------------------------------------

    def _detach(self, path: str) -> WatchedFolder | None:
        folder: WatchedFolder | None = self.root
        for name in path.split("/"):
            folder = folder.below.get(name) if folder else None
        if folder is not None and folder.above is not None:
            del folder.above.below[folder.name]
            folder.above = None
        return folder

    def _watch_tree(self, top: WatchedFolder, top_path: str, *, prune: bool) -> None:
        """Watch a folder and all below it. With `prune`, what was known and is not there is forgotten.

        Without it that is left to an event which is still to be read: if the folder has only been moved, its watch
        is needed on.
        """
        waiting = [(top, top_path)]
        while waiting:
            folder, path = waiting.pop()
            if not self._watch(folder, path):
                continue
            names = set(self._folders_in(path))
            for name in [name for name in folder.below if prune and name not in names]:
                self._abandon(folder.below.pop(name))
            for name in names:
                if name not in folder.below:
                    folder.below[name] = WatchedFolder(name, folder)
                waiting.append((folder.below[name], join(path, name)))

    def _folders_in(self, path: str) -> Iterator[str]:
        try:
            with os.scandir(self._place(path)) as entries:
                for entry in entries:
                    name = os.fsdecode(entry.name)
                    if entry.is_dir(follow_symlinks=False) and not self._excludes.covers(
                        join(path, name), is_folder=True
                    ):
                        yield name
        except OSError:
            return  # gone, or not to be read, which the comparison tells

    def _watch(self, folder: WatchedFolder, path: str) -> bool:
        """Watch one folder; say whether it is there. It may have been known under another path."""
        callback = CallbackId(next(self._callbacks))
        mask = _BELOW_MASK if path else _TOP_MASK
        try:
            watch = self._reader.add_callback(self._place(path), mask, self._listener, callback)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.unwatched += 1
                return True
            return False
        if watch == _NO_WATCH:  # no permission
            self._reader.remove_callbacks([(watch, callback)])
            return False
        if (known := self._folders.get(watch)) is not None:
            self._reader.remove_callbacks([(watch, known.callback)])
            known.watch = _NO_WATCH
        self._release(folder)
        folder.watch, folder.callback = watch, callback
        self._folders[watch] = folder
        return True

    def _place(self, path: str) -> bytes:
        return self._top + b"/" + os.fsencode(path) if path else self._top

    def _abandon(self, top: WatchedFolder) -> None:
        top.above = None
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            waiting.extend(folder.below.values())
            self._release(folder)

    def _release(self, folder: WatchedFolder) -> None:
        if folder.watch != _NO_WATCH:
            del self._folders[folder.watch]
            self._reader.remove_callbacks([(folder.watch, folder.callback)])
            folder.watch = _NO_WATCH
