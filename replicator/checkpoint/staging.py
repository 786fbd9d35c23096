"""Holding on to the database's SST and blob files: the interface, and the usual way, by hard links.

The files are immutable once written, so a link made at any time is as good as one made at the cut. Which of
them belong to the checkpoint is decided elsewhere (`capture`).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replicator.checkpoint.database_folder import not_regular
from replicator.errors import SourceChangedError, SourceError
from replicator.rocksdb.filenames import FileKind, parse_file_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from replicator.checkpoint.database_folder import ListedFile
    from replicator.checkpoint.room import NeedRoom

#: A file's kind and number: what the MANIFEST calls it by.
FileKey = tuple[FileKind, int]

#: How many checkpoints there are, with the one that is being made.
_SEALED_FOLDERS = 3

IMMUTABLE_KINDS = frozenset({FileKind.TABLE, FileKind.BLOB})


class CrossDeviceError(SourceError):
    """The checkpoint root is on another filesystem (or mount) than the database: no hard links between them."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` did: the names that are new in staging since `open`, and the bytes copied for them."""

    new_names: tuple[str, ...]
    copied_bytes: int


class TableStaging(Protocol):
    """The SST and blob files in `checkpoint_staging`."""

    def open(self) -> None:
        """Create the folder, or take stock of the SST and blob files in it; anything else there is removed."""

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """Make sure that the listed SST and blob files cannot go away; those that are gone already are skipped."""

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """Return which of the live files were never listed while they were there."""

    def settle(self, live_sizes: Mapping[FileKey, int], need_room: NeedRoom) -> Settled:
        """Leave exactly the live files, which are pinned, in staging; each must have its size in bytes.

        Raises `SourceChangedError` if one has another size; what is pinned stays pinned. `need_room` is asked
        before each copy.
        """

    def seal(self, small_names: Iterable[str]) -> None:
        """Note that the folder is complete, `small_names` are the other files in it, and becomes a checkpoint."""

    def trim(self, live: Collection[FileKey]) -> None:
        """Leave nothing but live files in staging, so that no space is held for others."""

    def close(self) -> None:
        """Give up what is held outside the folder."""


@dataclass(frozen=True, slots=True)
class _Staged:
    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A folder as it was left: with what is in it, and the time of its last change."""

    changed_at_ns: int
    staged: dict[FileKey, _Staged]
    small_names: tuple[str, ...]


class LinkStaging:
    """Hard links: the primary's files, held at no cost for as long as the link stays."""

    def __init__(self, database: Path, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._staged: dict[FileKey, _Staged] = {}
        self._new: dict[FileKey, _Staged] = {}
        #: Checkpoints by the inode of their folder: one of them comes back to be staging again.
        self._sealed: dict[int, _Sealed] = {}
        #: All that this listing tells of is pinned.
        self._listed: Iterable[ListedFile] | None = None

    def open(self) -> None:
        """See `TableStaging.open`. Equal inode numbers mean equal files: the link keeps the inode in use."""
        self._staged = {}
        self._new = {}
        self._listed = None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        status = self._folder.stat()
        sealed = self._sealed.pop(status.st_ino, None)
        if sealed and sealed.changed_at_ns == status.st_mtime_ns:
            for name in sealed.small_names:
                (self._folder / name).unlink()
            self._staged = sealed.staged
            return
        with os.scandir(self._folder) as entries:
            for entry in entries:
                key = key_of(entry.name)
                if key is None:
                    Path(entry).unlink()
                else:
                    self._staged[key] = _Staged(entry.name, entry.inode())

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """See `TableStaging.pin`. Raises `CrossDeviceError` where no link can be made to the folder."""
        if listed is self._listed:
            return
        source = os.open(self._database, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        target = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for file in listed:
                kind, number = file.name.kind, file.name.number
                if kind not in IMMUTABLE_KINDS or number is None:
                    continue
                known = self._staged.get((kind, number))
                if known and known.inode == file.inode:
                    continue
                if known:
                    os.unlink(known.name, dir_fd=target)
                    del self._staged[kind, number]
                name = file.name.name
                try:
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self._staged[kind, number] = self._new[kind, number] = _Staged(name, file.inode)
        except OSError as error:
            raise link_trouble(error, self._database, self._folder) from error
        finally:
            os.close(source)
            os.close(target)
        self._listed = listed

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """See `TableStaging.not_pinned`."""
        return live - self._staged.keys()

    def settle(
        self,
        live_sizes: Mapping[FileKey, int],
        need_room: NeedRoom,  # noqa: ARG002 - links take none
    ) -> Settled:
        """See `TableStaging.settle`. Sizes are looked at once for each link: a live file never changes."""
        for key, staged in self._new.items():
            if key in live_sizes:
                _check_size(self._folder / staged.name, live_sizes[key])
        self.trim(live_sizes.keys())
        return Settled(tuple(staged.name for staged in self._new.values()), copied_bytes=0)

    def seal(self, small_names: Iterable[str]) -> None:
        """See `TableStaging.seal`."""
        status = self._folder.stat()
        self._sealed[status.st_ino] = _Sealed(status.st_mtime_ns, self._staged, tuple(small_names))
        # Folders that are gone since: two stay, and the one that comes back.
        for inode in list(self._sealed)[:-_SEALED_FOLDERS]:
            del self._sealed[inode]

    def trim(self, live: Collection[FileKey]) -> None:
        """See `TableStaging.trim`. What is not live may be soon: the next listing is looked at again."""
        for key in [key for key in self._staged if key not in live]:
            self._listed = None
            (self._folder / self._staged.pop(key).name).unlink()
            self._new.pop(key, None)

    def close(self) -> None:
        """See `TableStaging.close`."""


def key_of(name: str) -> FileKey | None:
    """Return by what the MANIFEST would call a file; None for what is no SST or blob file."""
    parsed = parse_file_name(name)
    if parsed is None or parsed.number is None or parsed.kind not in IMMUTABLE_KINDS:
        return None
    return parsed.kind, parsed.number


def wrong_size(name: str, found_bytes: int, expected_bytes: int) -> SourceChangedError:
    """Say that a file has another size than it should."""
    return SourceChangedError(f"{name} has {found_bytes} bytes where the MANIFEST says {expected_bytes}")


def link_trouble(error: OSError, database: Path, folder: Path) -> SourceError:
    """Say why a file of `database` could not be linked to `folder`."""
    if error.errno == errno.EXDEV:
        return CrossDeviceError(f"{folder} is on another filesystem or mount than {database}")
    if error.errno == errno.EPERM:
        return SourceError(
            f"not allowed to make hard links to the files of {database} in {folder}",
            hint="run as the owner of the database's files, or with CAP_FOWNER (fs.protected_hardlinks);"
            " the filesystem must know hard links",
        )
    return SourceError(f"cannot make hard links to the files of {database} in {folder}: {error.strerror}")


def _check_size(path: Path, size_bytes: int) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise not_regular(path)
    if found.st_size != size_bytes:
        raise wrong_size(path.name, found.st_size, size_bytes)
