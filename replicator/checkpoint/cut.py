"""Finding one consistent state of a live database, with every file that it needs pinned.

What becomes of it, and how often it is tried, is decided elsewhere (`capture`); so is how SST and blob files are
pinned (`staging`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.wal_files import WalFile, WalPins
from replicator.errors import SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from replicator.checkpoint.database_folder import DatabaseFolder, ListedFile
    from replicator.rocksdb.manifest import ManifestVersion


@dataclass(frozen=True, slots=True)
class Cut:
    """One consistent state: the files of `version`, and each log with its length in bytes, oldest first.

    `manifest` has been read further than `version`: up to a time after everything was pinned.
    """

    manifest: ManifestFile
    version: ManifestVersion
    wals: tuple[tuple[WalFile, int], ...]
    taken_at_seconds: float


class CutFinder:
    """Follows the MANIFEST and the write-ahead logs of one database, and reads of them only what is new."""

    def __init__(self, database: DatabaseFolder) -> None:
        self._database = database
        self._manifest: ManifestFile | None = None
        self._wals = WalPins()

    def is_following(self) -> bool:
        """Whether the database is the one that was last looked at, and goes on with the same MANIFEST."""
        return self._manifest is not None and self._manifest.is_same_file()

    def find(self, wal_folder: Path, pin_tables: Callable[[Iterable[ListedFile]], None]) -> Cut:
        """Find one consistent state; `pin_tables` gets to hold on to the SST and blob files that are there.

        Raises `SourceChangedError` to be tried again: what is pinned stays pinned. Other errors leave readers
        behind that are of no use: `forget` them.
        """
        manifest = self._follow_manifest(wal_folder)
        # What was of no use then is not missed; any other log that nobody sees has a higher number than both.
        unseen_from = max(manifest.state.wals_deletable_below, self._pin_wals(wal_folder) + 1)
        self._pin(wal_folder, pin_tables)
        # What is read already need not be read between the cut and the check, where the primary may spoil it.
        _read_wals(self._wals.between(manifest.state.lowest_needed_wal, self._wals.newest_number()))
        manifest.read_on()
        version = manifest.state.snapshot()
        # Sooner than the logs are listed: a write into one that is created after that is of a later time.
        taken_at_seconds = time.time()
        newest_wal = self._pin(wal_folder, pin_tables)
        self._pin_wals(wal_folder)
        wals = self._wals.between(version.lowest_needed_wal, newest_wal)
        lengths = _read_wals(wals)
        manifest.read_on()
        self._check_nothing_slipped_through(manifest, version, unseen_from)
        missing = [
            number for number in version.wals if number >= version.lowest_needed_wal and number not in lengths
        ]
        if missing:
            raise SourceChangedError(f"write-ahead log {missing[0]:06d}.log went away before it could be pinned")
        return Cut(manifest, version, tuple((wal, lengths[wal.number]) for wal in wals), taken_at_seconds)

    def release_wals(self, below_number: int) -> None:
        """Let go of the logs below a number."""
        self._wals.release(below_number)

    def forget(self) -> None:
        """Let go of all files of the database, and begin the next time from nothing."""
        self._wals.release()
        if self._manifest:
            self._manifest.close()
            self._manifest = None

    def _follow_manifest(self, wal_folder: Path) -> ManifestFile:
        path = self._database.path / self._database.manifest_name()
        if self._manifest is None or self._manifest.path != path or not self._manifest.is_same_file():
            if self._manifest:
                self._manifest.close()
                self._manifest = None
            self._manifest = ManifestFile(path)
            # All that a new MANIFEST needs is there. What is not may be from before an older state of the
            # database was put back, which counts its logs on from there.
            self._wals.keep(self._database.list_wals(wal_folder))
        self._manifest.read_on()
        return self._manifest

    def _pin(self, wal_folder: Path, pin_tables: Callable[[Iterable[ListedFile]], None]) -> int:
        """Pin everything; return the number of the newest log."""
        listed = tuple(self._database.list_files(self._database.path))
        pin_tables(listed)
        if wal_folder != self._database.path:
            return self._pin_wals(wal_folder)
        self._wals.pin(wal_folder, listed)
        return self._wals.newest_number()

    def _pin_wals(self, wal_folder: Path) -> int:
        """Pin the logs alone; return the number of the newest one.

        A listing is sure to hold what was there all the time, but of two files that are created meanwhile it may
        hold only the younger one. So no log is trusted to have all its elders pinned, unless they were looked
        for once more after it was seen.
        """
        self._wals.pin(wal_folder, self._database.list_wals(wal_folder))
        return self._wals.newest_number()

    def _check_nothing_slipped_through(
        self, manifest: ManifestFile, version: ManifestVersion, unseen_from: int
    ) -> None:
        """Compare the cut with what the MANIFEST says now that the logs are read."""
        if self._database.manifest_name() != manifest.path.name or not manifest.is_same_file():
            raise SourceChangedError("the primary began a new MANIFEST")
        # Nobody saw a log that was created after the first pinning began and deleted before the last.
        state = manifest.state
        if state.wals_deletable_below > unseen_from:
            raise SourceChangedError("a write-ahead log may have come and gone unseen")
        # The logs hold writes that came after such an event, but not the event itself.
        if state.discontinuities != version.discontinuities:
            raise SourceChangedError("a column family was created or dropped, or files were ingested")


def _read_wals(wals: Sequence[WalFile]) -> dict[int, int]:
    """Read the logs up to now; return the length in whole records of each, by number.

    Newest first: RocksDB creates the next log before it writes out the last buffer of the one before. If the
    newer one had records when it was read, the older one was complete by then. Sizes would not do: a log in a
    recycled file has the size of the older one.
    """
    return {wal.number: wal.whole_records_bytes() for wal in reversed(wals)}
