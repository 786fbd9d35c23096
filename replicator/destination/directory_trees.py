"""Many names of a tree on this machine: listed, made, removed, and given their attributes. No link is followed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.paths import private_part_of
from replicator.destination.system_calls import entry_of, set_attributes
from replicator.errors import DestinationError, PermanentDestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    from replicator.destination.directory_place import DirectoryPlace
    from replicator.destination.interface import Entry, FileAttributes, SymbolicLink

    _Item = TypeVar("_Item")

_NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class DirectoryTrees:
    """Trees of one base folder. What changes raises `DestinationError` after all that can be done was done."""

    def __init__(self, place: DirectoryPlace) -> None:
        self._place = place

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """See `Destination`."""
        for folder in folders:
            self._place.check_open()
            yield folder, self._list(PurePosixPath(folder))

    def _list(self, folder: PurePosixPath) -> list[Entry] | None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if folder.parts:  # the base alone may be a link
            flags |= os.O_NOFOLLOW
        with self._place.translated("list", folder):
            try:
                fd = os.open(self._place.path(folder), flags)
            except OSError as error:
                if error.errno in _NO_FOLDER and self._place.base.is_dir():
                    return None
                raise
            try:
                with os.scandir(fd) as found:
                    return [entry for item in found if (entry := entry_of(item)) is not None]
            finally:
                os.close(fd)

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """See `Destination`."""
        return [self._read_link(link) for link in links]

    def _read_link(self, link: PurePosixPath) -> str | None:
        with self._place.translated("read the link", link):
            try:
                return str(self._place.path(link).readlink())
            except OSError as error:
                if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
                    return None
                raise

    def make_folders(self, folders: Sequence[PurePosixPath], mode: int) -> None:
        """See `Destination`."""

        def make(folder: PurePosixPath) -> None:
            path = self._place.path(folder)
            with self._place.translated("create the folder", folder):
                try:
                    path.mkdir(mode)
                except FileExistsError:
                    if folder.parts and not stat.S_ISDIR(path.lstat().st_mode):
                        label = self._place.label
                        raise PermanentDestinationError(f"{label}: {folder} exists and is no folder") from None

        self._each(folders, make)

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """See `Destination`."""
        self._each(links, self._make_symlink)

    def _make_symlink(self, link: SymbolicLink) -> None:
        path = self._place.path(link.path)
        with self._place.translated("make the link", link.path):
            try:
                path.symlink_to(link.text)
            except FileExistsError:
                part = self._place.path(link.part or private_part_of(link.path))
                part.unlink(missing_ok=True)
                part.symlink_to(link.text)
                try:
                    part.replace(path)
                except OSError:
                    part.unlink()
                    raise

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """See `Destination`."""
        missing: list[PurePosixPath] = []

        def set_one(item: tuple[PurePosixPath, FileAttributes]) -> None:
            path, attributes = item
            with self._place.translated("set the attributes of", path):
                try:
                    fd = os.open(self._place.path(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                        raise
                    missing.append(path)
                    return
                try:
                    mode = os.fstat(fd).st_mode
                    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                        # A handle of this kind has no calls of its own, but its name leads to what was opened.
                        set_attributes(f"/proc/self/fd/{fd}", attributes)
                    else:
                        missing.append(path)
                finally:
                    os.close(fd)

        self._each(items, set_one)
        return missing

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """See `Destination`."""

        def remove(path: PurePosixPath) -> None:
            with self._place.translated("remove", path), suppress(FileNotFoundError, NotADirectoryError):
                self._place.path(path).unlink()

        self._each(paths, remove)

    def _each(self, items: Sequence[_Item], act: Callable[[_Item], None]) -> None:
        first: DestinationError | None = None
        for item in items:
            self._place.check_open()
            try:
                act(item)
            except DestinationError as error:
                first = first or error
        if first is not None:
            raise first
