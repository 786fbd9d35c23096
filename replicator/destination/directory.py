"""A destination that is a folder of this machine: a second disk, or a network share that is mounted.

Knows nothing of checkpoints or catalogs. The kernel bounds its waits, or, on a share mounted `hard`, does not.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.directory_files import DirectoryFiles
from replicator.destination.directory_place import DirectoryPlace
from replicator.destination.directory_trees import DirectoryTrees
from replicator.destination.interface import Capabilities
from replicator.destination.paths import part_of
from replicator.destination.system_calls import entry_at, entry_of, sync_folder, write_all
from replicator.errors import NotFoundError, PermanentDestinationError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import (
        Append,
        Download,
        Entry,
        FileAttributes,
        FolderObserver,
        FolderUpload,
        Link,
        SymbolicLink,
        TransferObserver,
        Upload,
    )
    from replicator.destination.rate_limit import RateLimiter

_FOLDER_MODE = 0o750


class DirectoryDestination:
    """Implements `Destination` with system calls. `base` must exist; it is never created."""

    def __init__(self, base: Path, *, label: str, limiter: RateLimiter | None = None) -> None:
        self._place = DirectoryPlace(base, label)
        self._files = DirectoryFiles(self._place, limiter)
        self._trees = DirectoryTrees(self._place)

    @property
    def label(self) -> str:
        """How messages name it."""
        return self._place.label

    @property
    def session(self) -> int:
        """There is no connection that could be lost."""
        return 1

    def capabilities(self) -> Capabilities:
        """Everything that a local filesystem has."""
        return Capabilities(hard_link=True, server_copy=True, fsync=True, free_space=True)

    # --- reading -------------------------------------------------------------------------------------

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`."""
        with self._place.translated("list", folder), os.scandir(self._place.path(folder)) as found:
            return [entry for item in found if (entry := entry_of(item)) is not None]

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """List many folders."""
        return self._trees.list_folders(folders)

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        found = []
        for path in paths:
            with self._place.translated("look at", path):
                found.append(entry_at(self._place.path(path)))
        return found

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        with self._place.translated("read", path), self._place.path(path).open("rb") as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise ProtocolError(f"{self._place.label}: {path} is larger than {limit_bytes} bytes")
        return data

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        try:
            return str(self._place.path(path).readlink())
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise NotFoundError(f"{self._place.label}: {path} is no symbolic link") from error
            raise self._place.error("read the link", path, error) from error

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """Where many symbolic links point."""
        return self._trees.read_links(links)

    def free_bytes(self) -> int | None:
        """Space that this user may still use."""
        with self._place.translated("ask for the free space of", PurePosixPath()):
            figures = os.statvfs(self._place.base)
        return figures.f_bavail * figures.f_frsize

    # --- changing ------------------------------------------------------------------------------------

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file durably."""
        with self._place.translated("write", path), self._place.replacing(path) as fd:
            write_all(fd, memoryview(data))

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        with self._place.translated("create the folder", folder):
            if not self._place.base.is_dir():
                raise self._place.no_base()
            for parent in reversed([folder, *folder.parents]):
                path = self._place.path(parent)
                if not path.is_dir():
                    with suppress(FileExistsError):
                        path.mkdir(_FOLDER_MODE)
                    if not path.is_dir():
                        raise PermanentDestinationError(f"{self._place.label}: {parent} exists and is no folder")
                    sync_folder(path.parent)

    def make_folders(self, folders: Sequence[PurePosixPath]) -> None:
        """Create many folders."""
        self._trees.make_folders(folders, _FOLDER_MODE)

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        for item in links:
            with self._place.translated("link", item.source):
                source, target = self._place.path(item.source), self._place.path(item.target)
                try:
                    os.link(source, target, follow_symlinks=False)
                except FileExistsError:
                    part = self._place.path(part_of(item.target))
                    part.unlink(missing_ok=True)
                    os.link(source, part, follow_symlinks=False)
                    part.replace(target)
                    part.unlink(missing_ok=True)  # rename(2) does nothing when both are names of one file
        self._place.sync_parents(item.target for item in links)

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies."""
        self._files.copy(links)

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        old, new = self._place.path(source), self._place.path(target)
        with self._place.translated("rename", source):
            if not os.path.lexists(old) and os.path.lexists(new):
                return
            # rename(2) replaces an empty folder, which a caller takes for "nobody else was here".
            if old.is_dir() and not old.is_symlink() and os.path.lexists(new):
                raise PermanentDestinationError(f"{self._place.label}: cannot rename {source}: {target} exists")
            old.replace(new)
        self._place.sync_parents((source, target))

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`."""
        part = self._place.path(part_of(link))
        with self._place.translated("point the link", link):
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(self._place.path(link))
        self._place.sync_parents((link,))

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make many symbolic links."""
        self._trees.make_symlinks(links)

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """Set what many files and folders carry."""
        return self._trees.set_attributes(items)

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove many files and links."""
        self._trees.remove_files(paths)

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        found = self._place.path(path)
        with self._place.translated("remove", path), suppress(FileNotFoundError):
            if stat.S_ISDIR(found.lstat().st_mode):
                shutil.rmtree(found)
            else:
                found.unlink()

    # --- moving files --------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Copy local files to the destination."""
        self._files.upload(uploads, observer)

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Leave them all: without a wire, no way is shorter than that of `upload`."""
        for item in uploads:
            observer.folder_done(item, [file.name for file in item.files])

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        self._files.append(appends)

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        self._files.copy_range(source, target, offset=offset, end=end)

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Copy files from the destination."""
        self._files.download(downloads, observer)

    def close(self) -> None:
        """Make calls under way fail."""
        self._place.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
