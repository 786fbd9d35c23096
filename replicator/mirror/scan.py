"""The tree on this host, read from its top down without ever leaving it.

Every folder is opened by its name in the folder above, and never by way of a symbolic link: whoever may write to
the tree cannot lead us out of it. Files are named to others by way of an open folder, for the same reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.errors import SourceError
from replicator.mirror.equal_files import entry_of, read_others
from replicator.mirror.paths import TOP, join, name_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import Entry
    from replicator.mirror.excludes import Excludes
    from replicator.mirror.plan import LocalEntry

_MOST_FOLDERS_OPEN: Final = 100
_MOST_FOLDERS_HELD: Final = 300
_FOLDER_FLAGS: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnreadableError(SourceError):
    """A folder of the tree cannot be listed; it is not empty because of that."""


class LocalTree:
    """A tree that is open for as long as the context lasts.

    What it once opened it goes on reading, whatever is mounted or renamed over it. A path that is not there is
    None. Raises `SourceError` if the top cannot be opened.
    """

    def __init__(self, top: Path, excludes: Excludes) -> None:
        self._top = top
        self._excludes = excludes
        self._folders: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            # The top itself may be named by a link.
            self._folders[TOP] = os.open(self._top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"cannot read the folder {self._top}: {error.strerror}",
                hint="is its filesystem mounted, may the service's user read it?"
                " Nothing is removed at any destination meanwhile",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._folders.values():
            os.close(descriptor)
        self._folders.clear()

    @property
    def identity(self) -> tuple[int, int]:
        """Filesystem and inode of the top."""
        found = os.fstat(self._folders[TOP])
        return found.st_dev, found.st_ino

    def is_empty(self) -> bool:
        """Whether the top has no names at all."""
        with os.scandir(self._folders[TOP]) as names:
            return next(names, None) is None

    def forget(self) -> None:
        """Close all folders but the top; what `source_of` returned is of no use any more."""
        self.hand_over()()

    def hand_over(self) -> Callable[[], None]:
        """Forget all folders but the top without closing them; return what closes them.

        What `source_of` and `source_folder` returned can be used until then.
        """
        top = self._folders.pop(TOP)
        descriptors, self._folders = list(self._folders.values()), {TOP: top}

        def close() -> None:
            while descriptors:
                os.close(descriptors.pop())

        return close

    @property
    def is_full(self) -> bool:
        """Whether it is time to `forget`: descriptors are few."""
        return len(self._folders) >= _MOST_FOLDERS_OPEN

    @property
    def must_hand_over(self) -> bool:
        """Whether it is high time for `hand_over`, since nothing can be forgotten that others still need."""
        return len(self._folders) >= _MOST_FOLDERS_HELD

    def scan(
        self, folder: str, there: dict[str, Entry] | None = None, *, with_owner: bool = False
    ) -> dict[str, LocalEntry] | None:
        """Return all names in `folder` that are not excluded, but for files that `there` has just like that.

        Those are taken out of `there`. `with_owner` says whether owners count. Raises `UnreadableError`.
        """
        there = {} if there is None else there
        try:
            descriptor = self._listable(folder)
            if descriptor is None:
                return None
            try:
                with os.scandir(descriptor) as names:
                    found = read_others(names, there, with_owner=with_owner)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnreadableError(f"cannot read the folder {self._top / folder}: {error.strerror}") from error
        return self._without_excluded(folder, found) if self._excludes else found

    def look(self, path: str) -> LocalEntry | None:
        """Return what `path` is. Raises `UnreadableError`."""
        if path == TOP:
            return entry_of(os.fstat(self._folders[TOP]))
        try:
            folder = self._folder(parent_of(path))
            if folder is None:
                return None
            entry = entry_of(os.stat(name_of(path), dir_fd=folder, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreadableError(f"cannot look at {self._top / path}: {error.strerror}") from error
        return entry

    def read_link(self, path: str) -> str | None:
        """Return the text of a symbolic link; None if it is none. Raises `UnreadableError`."""
        folder = self._folder(parent_of(path))
        if folder is None:
            return None
        try:
            return os.readlink(name_of(path), dir_fd=folder)
        except OSError:
            return None

    def source_of(self, path: str) -> Path | None:
        """Return a path by which any process of this user can open the file until `forget`.

        Raises `UnreadableError`.
        """
        descriptor = self._folder(parent_of(path))
        return None if descriptor is None else Path(f"{self._named(descriptor)}/{name_of(path)}")

    def source_folder(self, folder: str) -> str | None:
        """Return a path by which any process of this user can open the folder until `forget`.

        Only its last name may be a link by then. Raises `UnreadableError`.
        """
        # By way of the folder above, which many have in common.
        descriptor = self._folder(parent_of(folder))
        return None if descriptor is None else f"{self._named(descriptor)}/{name_of(folder) or '.'}"

    def named(self, path: str) -> Path:
        """Return the path as people know it."""
        return self._top / path

    @staticmethod
    def _named(descriptor: int) -> str:
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    # --- parts ---------------------------------------------------------------------------------------

    def _without_excluded(self, folder: str, found: dict[str, LocalEntry]) -> dict[str, LocalEntry]:
        covers, kind = self._excludes.covers, EntryKind.FOLDER
        return {
            name: entry
            for name, entry in found.items()
            if not covers(join(folder, name), is_folder=entry.kind is kind)
        }

    def _listable(self, folder: str) -> int | None:
        """Open a folder for listing, for the caller to close."""
        if folder == TOP:
            return os.open(".", os.O_RDONLY | _FOLDER_FLAGS, dir_fd=self._folders[TOP])
        above = self._folder(parent_of(folder))
        if above is None:
            return None
        try:
            return os.open(name_of(folder), os.O_RDONLY | _FOLDER_FLAGS, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _folder(self, folder: str) -> int | None:
        """Return a descriptor of a folder, which is good for going on from it; None if it is none, or gone."""
        known = self._folders.get(folder)
        if known is not None:
            return known
        above = self._folder(parent_of(folder))
        if above is None:
            return None
        try:
            descriptor = os.open(name_of(folder), os.O_PATH | _FOLDER_FLAGS, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreadableError(f"cannot enter the folder {self._top / folder}: {error.strerror}") from error
        self._folders[folder] = descriptor
        return descriptor
