"""Pin and cut: a checkpoint of a live database, made of nothing but its files, read in the right order.

The steps and the reasons for their order are in docs/architecture.md. In short: every file that might be needed
is pinned, the MANIFEST says what the state is, pinning is done once more, and whatever could have slipped
through between the two is detected and leads to another try. No RocksDB code runs here, and the database
directory is only listed, read and linked from.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tenacity

from replicator.checkpoint.copy_staging import CopyStaging
from replicator.checkpoint.cut import Cut, CutFinder
from replicator.checkpoint.database_folder import DatabaseFolder, OptionsCopy
from replicator.checkpoint.file_copy import copy_bytes, write_bytes
from replicator.checkpoint.room import NeedRoom, any_room
from replicator.checkpoint.rotation import sync_folder
from replicator.checkpoint.staging import CrossDeviceError, FileKey, LinkStaging, TableStaging
from replicator.checkpoint.verification import CopyCheck, check_structure
from replicator.errors import (
    CheckpointError,
    ReplicatorError,
    SourceChangedError,
    SourceError,
    UnsupportedFormatError,
)
from replicator.liveness import beat
from replicator.rocksdb.filenames import CURRENT_NAME, IDENTITY_NAME, FileKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from replicator.checkpoint.database_folder import ListedFile
    from replicator.checkpoint.rotation import CheckpointRoot
    from replicator.rocksdb.manifest import ManifestVersion

#: Retries converge, because what is pinned stays pinned; a primary that outruns this many is in trouble itself.
_MAX_TRIES = 30
_FIRST_WAIT_SECONDS = 0.002
_LONGEST_WAIT_SECONDS = 1.0
#: Of files that are missing, this many are named.
_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Captured:
    """What one capture did. `captured_at_seconds` (epoch) is when the WAL sizes were taken: its point in time."""

    captured_at_seconds: float
    live_files: int
    new_files: int
    copied_bytes: int
    wal_bytes: int
    tries: int
    duration_seconds: float
    last_sequence: int


class Capture:
    """Makes checkpoints of one database in one checkpoint root; keeps what makes the next one cheap.

    To make one is for one thread at a time, and for one process on a root (see `service.lock`).
    """

    def __init__(self, database: Path, root: CheckpointRoot, check: CopyCheck = check_structure) -> None:
        self._check = check
        self._database = DatabaseFolder(database)
        self._root = root
        self._staging: TableStaging = LinkStaging(database, root.staging)
        self._staging_identity: bytes | None = None
        self._small_files: list[Path] = []
        self._cuts = CutFinder(self._database)
        self._need_room: NeedRoom = any_room
        self._in_use = threading.Lock()

    def make(self, need_room: NeedRoom = any_room) -> Captured:
        """Make a checkpoint and rotate: afterwards it is `checkpoint_current`. After an error nothing is held.

        `need_room` breaks it off.

        Raises `CheckpointError` if the primary moved on at every try (the message says how), or if the checkpoint
        cannot be written; `SourceError`, `UnsupportedFormatError`, `CorruptFileError` as the database is found.
        """
        with self._in_use:
            self._need_room = need_room
            return self._make()

    def _make(self) -> Captured:
        started = time.monotonic()
        tries: list[str] = []
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(SourceChangedError),
            stop=tenacity.stop_after_attempt(_MAX_TRIES),
            wait=tenacity.wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
            before_sleep=lambda state: tries.append(str(state.outcome.exception()) if state.outcome else ""),
            reraise=True,
        )
        try:
            return retrying(lambda: self._try(started, len(tries) + 1))
        except SourceChangedError as error:
            self._let_go()
            reasons = "; ".join(dict.fromkeys([*tries, str(error)]))
            raise CheckpointError(
                f"no checkpoint of {self._database.path}:"
                f" the primary moved on at each of {_MAX_TRIES} tries: {reasons}",
                hint="it is tried again at the next interval; a slow disk or a starved CPU makes this more likely",
            ) from error
        except OSError as error:
            self._let_go()
            raise CheckpointError(
                f"no checkpoint of {self._database.path} in {self._root.path}: {error}"
            ) from error
        except ReplicatorError:
            self._let_go()
            raise
        finally:
            self._staging.close()

    def close(self) -> None:
        """Let go of the database: of the files that are held open, and of the links in staging."""
        with self._in_use:
            self._let_go()

    def give_up(self) -> None:
        """Let go of the database, unless a checkpoint is being made; from any thread.

        One that is being made asks for room itself.
        """
        if self._in_use.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._in_use.release()

    def _let_go(self) -> None:
        self._forget()
        self._root.discard_staging()

    def _forget(self) -> None:
        """Begin the next capture from nothing: readers that met an error are of no use any more."""
        self._staging_identity = None
        self._cuts.forget()

    def _try(self, started: float, tries: int) -> Captured:
        beat()
        self._need_room(0)
        identity = self._database.identity()
        self._prepare_staging(identity)
        options = self._database.newest_options()
        refuse_direct_blobs(options)
        cut = self._cuts.find(self._database.wal_folder(options.options if options else None), self._pin_tables)
        refuse_foreign_folders(cut.version)
        self._need_room(0)
        live_sizes = _live_sizes(cut.version)
        self._check_pinned(cut, live_sizes)
        settled = self._staging.settle(live_sizes, self._need_room)
        wal_bytes, last_sequence = self._write_wals(cut)
        self._write_small_files(cut, options, identity)
        if self._database.identity() != identity:
            raise SourceChangedError("the database was replaced by another one")
        sync_folder(self._root.staging)
        self._check(self._root.staging, settled.new_names, self._need_room)
        self._staging.seal(path.name for path in self._small_files)
        self._root.rotate()
        self._recycle_staging(live_sizes.keys())
        self._cuts.release_wals(cut.version.lowest_needed_wal)
        return Captured(
            captured_at_seconds=cut.taken_at_seconds,
            live_files=len(cut.version.tables) + len(cut.version.blobs),
            new_files=len(settled.new_names),
            copied_bytes=settled.copied_bytes,
            wal_bytes=wal_bytes,
            tries=tries,
            duration_seconds=time.monotonic() - started,
            last_sequence=last_sequence,
        )

    def _prepare_staging(self, identity: bytes) -> None:
        """Keep what is staged already, unless it is another database's that was in this one's place."""
        same_database = identity == self._staging_identity
        if not identity:
            same_database = self._cuts.is_following()
        if not same_database:
            self._staging.close()
            self._root.discard_staging()
            self._staging.open()
            self._cuts.forget()
            self._staging_identity = identity
        for path in self._small_files:
            path.unlink(missing_ok=True)
        self._small_files = []

    def _pin_tables(self, listed: Iterable[ListedFile]) -> None:
        try:
            self._staging.pin(listed)
        except CrossDeviceError:
            self._root.discard_staging()
            self._staging = CopyStaging(self._database.path, self._root.staging, self._root.current)
            self._staging.open()
            self._staging.pin(listed)

    def _check_pinned(self, cut: Cut, live_sizes: Mapping[FileKey, int]) -> None:
        missing = self._staging.not_pinned(live_sizes.keys())
        if not missing:
            return
        some = sorted(f"{number:06d}.{kind}" for kind, number in missing)
        shown = ", ".join(some[:_SHOWN_NAMES]) + (
            f" and {len(some) - _SHOWN_NAMES} more" if len(some) > _SHOWN_NAMES else ""
        )
        # The MANIFEST was read once more after the last listing, and files are deleted later than their entries.
        if missing & _live_sizes(cut.manifest.state.snapshot()).keys():
            raise SourceError(
                f"{cut.manifest.path} lists {shown}, but not in {self._database.path}",
                hint="databases in several folders (db_paths, cf_paths) are not supported;"
                " if the application sets neither, the database has lost files",
            )
        raise SourceChangedError(f"{shown} went away before it could be pinned")

    def _write_wals(self, cut: Cut) -> tuple[int, int]:
        """Copy the logs into staging, each cut to whole records; return the bytes and the last sequence number."""
        total_bytes = 0
        last_sequence = cut.version.last_sequence
        # In advance, and of all that is written here: the logs are most of it.
        left_bytes = cut.version.cut_offset + sum(length_bytes for _, length_bytes in cut.wals)
        for wal, length_bytes in cut.wals:
            self._need_room(left_bytes - total_bytes)
            wal.copy(self._new_file(wal.name), length_bytes)
            total_bytes += length_bytes
            last_sequence = max(last_sequence, wal.last_sequence or 0)
        self._check_not_recycled(cut)
        return total_bytes, last_sequence

    def _check_not_recycled(self, cut: Cut) -> None:
        """With `recycle_log_file_num` a log is renamed, then overwritten: the copy may hold some of both."""
        for wal, _ in cut.wals:
            if wal.was_recycled():
                raise SourceChangedError(f"{wal.name} was recycled while it was copied")

    def _write_small_files(self, cut: Cut, options: OptionsCopy | None, identity: bytes) -> None:
        manifest_name = cut.manifest.path.name
        copy_bytes(cut.manifest.descriptor, self._new_file(manifest_name), cut.version.cut_offset)
        if options:
            write_bytes(self._new_file(options.name), options.content)
        if identity:
            write_bytes(self._new_file(IDENTITY_NAME), identity)
        current = self._new_file(CURRENT_NAME)
        write_bytes(current, f"{manifest_name}\n".encode())
        os.utime(current, (cut.taken_at_seconds, cut.taken_at_seconds))

    def _new_file(self, name: str) -> Path:
        """Name a file of this try: whatever an earlier one left of it is removed, never written over."""
        path = self._root.staging / name
        self._small_files.append(path)
        return path

    def _recycle_staging(self, live: Collection[FileKey]) -> None:
        """Keep of the retired checkpoint what is live: the next capture then links only what is new."""
        self._small_files = []
        self._staging.open()
        self._staging.trim(live)


def _live_sizes(version: ManifestVersion) -> dict[FileKey, int]:
    sizes: dict[FileKey, int] = {
        (FileKind.TABLE, number): table.size_bytes for number, table in version.tables.items()
    }
    sizes.update({(FileKind.BLOB, number): blob.size_bytes for number, blob in version.blobs.items()})
    return sizes


def refuse_direct_blobs(options: OptionsCopy | None) -> None:
    """Raise `UnsupportedFormatError` for a database whose logs alone do not hold its newest writes."""
    if options and options.options.writes_blobs_directly:
        raise UnsupportedFormatError(
            "the database has enable_blob_direct_write on: its logs point into blob files that no MANIFEST lists",
            hint="set enable_blob_direct_write = false in the application",
        )


def refuse_foreign_folders(version: ManifestVersion) -> None:
    """Raise `UnsupportedFormatError` for a database in several folders.

    OPTIONS files do not record db_paths; the MANIFEST says of each file which folder it is in.
    """
    for table in version.tables.values():
        if table.path_id:
            raise UnsupportedFormatError(
                "the database spreads its files over several folders (db_paths or cf_paths):"
                f" {table.number:06d}.sst lies in another one",
                hint="this is not supported: give the application a single database folder",
            )
