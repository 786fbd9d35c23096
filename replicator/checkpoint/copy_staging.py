"""Holding on to the database's SST and blob files by copies, for a checkpoint root where links are impossible."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.checkpoint.database_folder import open_for_reading
from replicator.checkpoint.file_copy import copy_bytes
from replicator.checkpoint.staging import IMMUTABLE_KINDS, FileKey, Settled, key_of, wrong_size
from replicator.errors import SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from replicator.checkpoint.database_folder import ListedFile
    from replicator.checkpoint.room import NeedRoom


@dataclass(frozen=True, slots=True)
class _Opened:
    name: str
    descriptor: int


class CopyStaging:
    """Copies, for a checkpoint root on another filesystem.

    An open descriptor pins a file until it has been copied; a copy carries the original's modification time, by
    which it is known again, also in the previous checkpoint.
    """

    def __init__(self, database: Path, folder: Path, previous: Path) -> None:
        self._database = database
        self._folder = folder
        self._previous = previous
        self._opened: dict[FileKey, _Opened] = {}
        self._new: set[FileKey] = set()
        self._copied_bytes = 0
        raise_descriptor_limit()

    def open(self) -> None:
        """See `TableStaging.open`."""
        self._new = set()
        self._copied_bytes = 0
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if key_of(entry.name) is None:
                    Path(entry).unlink()

    def pin(self, listed: Iterable[ListedFile]) -> None:
        """See `TableStaging.pin`. Raises `SourceError` when the limit on open files is reached."""
        for file in listed:
            kind, number = file.name.kind, file.name.number
            if kind not in IMMUTABLE_KINDS or number is None:
                continue
            known = self._opened.get((kind, number))
            if known and os.fstat(known.descriptor).st_ino == file.inode:
                continue
            try:
                descriptor = open_for_reading(self._database / file.name.name)
            except SourceChangedError:
                continue
            if known:
                os.close(known.descriptor)
            self._opened[kind, number] = _Opened(file.name.name, descriptor)

    def not_pinned(self, live: AbstractSet[FileKey]) -> AbstractSet[FileKey]:
        """See `TableStaging.not_pinned`."""
        return live - self._opened.keys()

    def settle(self, live_sizes: Mapping[FileKey, int], need_room: NeedRoom) -> Settled:
        """See `TableStaging.settle`. Copies what neither staging nor the previous checkpoint has."""
        for key, size_bytes in live_sizes.items():
            opened = self._opened[key]
            original = os.fstat(opened.descriptor)
            if original.st_size != size_bytes:
                raise wrong_size(opened.name, original.st_size, size_bytes)
            target = self._folder / opened.name
            if _is_copy(target, original):
                continue
            target.unlink(missing_ok=True)
            self._new.add(key)
            if _is_copy(self._previous / opened.name, original):
                os.link(self._previous / opened.name, target)
            else:
                need_room(size_bytes)
                copy_bytes(opened.descriptor, target, size_bytes)
                os.utime(target, ns=(original.st_atime_ns, original.st_mtime_ns))
                self._copied_bytes += size_bytes
        self.trim(live_sizes.keys())
        self._new &= live_sizes.keys()
        return Settled(tuple(sorted(self._opened[key].name for key in self._new)), self._copied_bytes)

    def seal(self, small_names: Iterable[str]) -> None:
        """See `TableStaging.seal`."""

    def trim(self, live: Collection[FileKey]) -> None:
        """See `TableStaging.trim`."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if key_of(entry.name) not in live:
                    Path(entry).unlink()

    def close(self) -> None:
        """See `TableStaging.close`."""
        for opened in self._opened.values():
            os.close(opened.descriptor)
        self._opened = {}


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_copy(path: Path, original: os.stat_result) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (original.st_size, original.st_mtime_ns)
