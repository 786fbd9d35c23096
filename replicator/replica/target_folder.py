"""The local folder that a restore writes to: may it be used, what is in it, and the marker of a restore under way.

Knows nothing of destinations. Every error is a `TargetError`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator.errors import TargetError, target_error
from replicator.replica.layout import GenerationId, parse_database_file
from replicator.rocksdb.filenames import CURRENT_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from replicator.replica.catalog import CatalogFile

PART_SUFFIX = ".part"
MARKER_NAME = ".replicator-restore.json"

_LOCK_NAME = "LOCK"
_BLOCK_BYTES = 512  # the unit of st_blocks


@dataclass(frozen=True, slots=True)
class UnfinishedRestore:
    """A restore of a generation: of its last state at `moment` (with a time zone), or else of its newest."""

    generation: GenerationId
    moment: datetime | None


class TargetFolder:
    """A folder, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def unfinished_restore(self, database: str) -> UnfinishedRestore | None:
        """Return what of `database` was to be restored here, if that was begun and not finished."""
        try:
            marker = json.loads((self.path / MARKER_NAME).read_bytes())
            if not isinstance(marker, dict) or marker.get("database") != database:
                return None
            generation = GenerationId.parse(str(marker.get("generation")))
            moment = marker.get("moment")
            return UnfinishedRestore(
                generation, None if moment is None else datetime.fromisoformat(str(moment)).astimezone(UTC)
            )
        except (OSError, ValueError):
            return None

    def refuse_if_not_empty(self) -> None:
        """Raise unless there is nothing here that a restore could mix with."""
        with self._translated("look into"):
            if not self.path.exists():
                return
            if not self.path.is_dir():
                raise TargetError(f"{self.path} is not a folder", hint="name a folder; it need not exist yet")
            name = next(iter(sorted(os.listdir(self.path))), None)  # noqa: PTH208 - names are all that is asked
        if name is not None:
            raise TargetError(
                f"{self.path} is not empty: it holds {name!r}",
                hint="restore into a new folder, or replace the database in this one with --force",
            )

    def refuse_if_open(self) -> None:
        """Raise if a process has the database in this folder open.

        RocksDB holds a POSIX lock on LOCK for that long. Source: RocksDB `env/fs_posix.cc` (`LockFile`).
        """
        try:
            lock = os.open(self.path / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TargetError(
                f"a process has the database in {self.path} open",
                hint="stop the application that uses it first",
            ) from error
        finally:
            os.close(lock)

    def refuse_if_too_small(self, needed_bytes: int, *, replaced: Collection[str]) -> None:
        """Raise unless there is room for `needed_bytes`, once the files in `replaced` are gone."""
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.is_dir())
        with self._translated("ask for the free space of"):
            figures = os.statvfs(existing)
        free_bytes = figures.f_bavail * figures.f_frsize + sum(self._freed_bytes(name) for name in replaced)
        if free_bytes < needed_bytes:
            raise TargetError(
                f"{self.path} has room for {free_bytes} bytes, the restore needs {needed_bytes}",
                hint="make room, or restore to another disk",
            )

    def database_names(self) -> set[str]:
        """Return the names here that RocksDB, or an unfinished restore, would give to files of a database."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - names are all that is asked
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise target_error("look into", self.path, error) from error
        return {name for name in names if parse_database_file(name.removesuffix(PART_SUFFIX))}

    def has(self, file: CatalogFile) -> bool:
        """Whether the file lies here with the size and the SHA-256 that were recorded for it."""
        try:
            descriptor = os.open(self.path / file.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as local, self._translated("read"):
            if os.fstat(descriptor).st_size != file.size_bytes:
                return False
            return hashlib.file_digest(local, "sha256").hexdigest() == file.sha256

    def part_bytes(self, file: CatalogFile) -> int:
        """Return how many bytes of the file an earlier try has fetched; too many count as none."""
        try:
            size_bytes = (self.path / (file.name + PART_SUFFIX)).lstat().st_size
        except OSError:
            return 0
        return size_bytes if size_bytes <= file.size_bytes else 0

    def begin(self, database: str, begun: UnfinishedRestore) -> None:
        """Make the folder, and mark it as one that holds no finished database."""
        marker = self.path / MARKER_NAME
        document = {
            "database": database,
            "generation": str(begun.generation),
            "moment": None if begun.moment is None else begun.moment.isoformat(),
        }
        with self._translated("write to"):
            self.path.mkdir(parents=True, exist_ok=True)
            _sync_folder(self.path.parent)
            with marker.open("w", encoding="ascii") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
        self.sync()

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; CURRENT first, so that what remains in between is no database."""
        with self._translated("remove files from"):
            for name in sorted(names, key=lambda name: name != CURRENT_NAME):
                (self.path / name).unlink(missing_ok=True)
                if name == CURRENT_NAME:
                    self.sync()

    def accept(self, file: CatalogFile) -> None:
        """Give a fetched file its own name."""
        with self._translated("rename a file in"):
            (self.path / (file.name + PART_SUFFIX)).replace(self.path / file.name)

    def discard_part(self, file: CatalogFile) -> None:
        """Remove what was fetched of a file."""
        with self._translated("remove a file from"):
            (self.path / (file.name + PART_SUFFIX)).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make the names in the folder durable."""
        with self._translated("sync"):
            _sync_folder(self.path)

    def finish(self) -> None:
        """Remove the marker: the database is whole."""
        self.sync()
        with self._translated("remove the marker from"):
            (self.path / MARKER_NAME).unlink(missing_ok=True)
        self.sync()

    def _freed_bytes(self, name: str) -> int:
        with suppress(OSError):
            status = (self.path / name).lstat()
            if status.st_nlink == 1:
                return status.st_blocks * _BLOCK_BYTES
        return 0

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise target_error(action, self.path, error) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
