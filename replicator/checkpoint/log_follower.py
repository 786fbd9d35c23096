"""Following the write-ahead logs of a live database: how far they have come, time after time.

Each *reading* says how long every log was, in whole records, at one instant. Readings of one *epoch* follow each
other without anything between them that the logs do not carry: a generation that was captured in an epoch can be
brought up to date with the bytes of the epoch's later readings, and with no others. Who does that, and when a
reading is taken, is decided elsewhere (`service`). The database is listed and read, never opened, never written.

The order of the steps and its reasons are those of a capture: see `cut`.
"""

from __future__ import annotations

import resource
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.checkpoint.checkpoint_logs import newest_written_log
from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.log_folder import LogFolder
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.readings import NEVER, Grown, ReadingHistory
from replicator.checkpoint.sequence_chain import SequenceChain
from replicator.errors import ReplicatorError, SourceError
from replicator.rocksdb.filenames import wal_name

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.checkpoint.inspection import Checkpoint
    from replicator.checkpoint.readings import LogUser, Reading
    from replicator.checkpoint.wal_files import WalFile


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a checkpoint lacks: all of `logs`, oldest first, that goes beyond its own, up to `reading`.

    Logs that are not among them are complete in the checkpoint.
    """

    reading: Reading
    logs: tuple[Grown, ...]


@dataclass(frozen=True, slots=True)
class _Flushed:
    """The last write that tables hold, and the number of the log from which on logs are still needed."""

    sequence: int
    gone_below: int


class LogFollower:
    """Reads the logs of one database, and holds on to them for their users. For any thread."""

    def __init__(self, database: Path, *, budget_bytes: int) -> None:
        """`budget_bytes` is how much of logs that the primary has deleted is held at the most; it may change."""
        self._database = DatabaseFolder(database)
        self.budget_bytes = budget_bytes
        # The other open files of this process must not run short.
        self._most_logs = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
        self._lock = threading.Lock()
        self._logs = LogFolder(self._database)
        self._chain = SequenceChain()
        self._manifest: ManifestFile | None = None
        self._discontinuities = 0
        self._epoch = 0
        self._last_end = ""
        self._history = ReadingHistory()
        self._lengths: dict[WalFile, int] = {}
        self._whole_from = 0
        self._held_log = NEVER
        self._users: list[LogUser] = []
        self._seals: list[str] = []
        self.pinned_bytes = 0
        self._may_hold_deleted = True

    @property
    def folder(self) -> Path:
        """Where the logs lie."""
        return self._logs.path

    def add_user(self, user: LogUser) -> None:
        """Hold on to what `user` needs from now on, as far as the budget allows."""
        self._users.append(user)

    def hold(self) -> int:
        """Hold on to what a capture that begins now may end with; return the number of the oldest such log."""
        with self._lock:
            written = [log.number for log in self._logs.all() if log.first_sequence is not None]
            self._held_log = max(written, default=0)
            return self._held_log

    def end_hold(self) -> None:
        """End what `hold` began: users have said by now what they need."""
        self._held_log = NEVER

    def pin(self) -> None:
        """Get hold of logs that are new, and let go of what may not be held. Raises as `read`."""
        with self._lock:
            self._logs.pin()
            if not self._may_hold_deleted:
                self._release_deleted()

    def may_hold_deleted(self, *, allowed: bool) -> None:
        """Say whether there is room for logs that the primary has deleted; if not, they are let go of.

        At once, or at the end of the reading that is under way: nobody waits here.
        """
        self._may_hold_deleted = allowed
        if not allowed and self._lock.acquire(blocking=False):
            try:
                self._release_deleted()
                self._note_held()
            finally:
                self._lock.release()

    def read(self) -> None:
        """Take a reading, unless something happened that ends the epoch: see `take_seals`.

        Raises `SourceError` and its subclasses, as the database is found; that ends the epoch too.
        """
        with self._lock:
            self._read()

    def take_seals(self) -> list[str]:
        """Return what has happened since the last call that calls for a new checkpoint."""
        with self._lock:
            seals, self._seals = self._seals, []
        return seals

    def readings_since(self, serial: int, epoch: int) -> tuple[list[Reading], str]:
        """Return the readings of an epoch from a serial number on, and why it ended; empty if it goes on.

        Raises `SourceChangedError` if the logs that they tell of were let go of.
        """
        with self._lock:
            return self._history.since(serial, epoch), "" if epoch == self._epoch else self._last_end

    def backlog_bytes(self, serial: int, epoch: int) -> int:
        """Return by how much the logs have grown in the readings of an epoch from a serial number on.

        Raises as `readings_since`.
        """
        with self._lock:
            return sum(reading.grown_bytes for reading in self._history.since(serial, epoch))

    def continuation(self, checkpoint: Checkpoint) -> Continuation | None:
        """Say what a checkpoint lacks; None if it is of another epoch, or what it lacks is not all held.

        Raises as `read`.
        """
        from_log = newest_written_log(checkpoint)
        with self._lock:
            # The second makes the first reading of an epoch that the first one may have begun.
            self._read()
            self._read()
            manifest, reading = self._manifest, self._history.newest
            if manifest is None or reading is None or reading.epoch != self._epoch:
                return None
            if (
                not self._has_whole(from_log)
                or checkpoint.discontinuities != self._discontinuities
                or manifest.path.name != checkpoint.inventory.manifest_name
                or not manifest.begins_with(checkpoint.folder / checkpoint.inventory.manifest_name)
            ):
                return None
            logs = tuple(
                Grown(log, self._lengths.get(log, 0)) for log in self._logs.all() if log.number >= from_log
            )
            return Continuation(reading, logs)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._begin_epoch(None, "the service stops")
            self._logs.close()
            self._history.clear()
            self._lengths = {}

    # --- parts ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._look()
        except ReplicatorError as error:
            self._begin_epoch(None, str(error))
            raise
        except OSError as error:
            self._begin_epoch(None, str(error))
            raise SourceError(f"cannot read {self._database.path}: {error.strerror}") from error

    def _look(self) -> None:
        manifest = self._manifest
        if manifest is None or not self._is_current(manifest):
            self._follow_new_manifest()
            return
        # What tables hold by now was in logs that are gone, or is in those that are read from now on.
        manifest.read_on()
        flushed = _Flushed(manifest.state.flushed_sequence, manifest.state.wals_deletable_below)
        # Sooner than the logs are listed: a write into one that is created after that is of a later time.
        taken_at_seconds = time.time()
        logs = self._logs.unfinished(self._logs.pin())
        # Newest first: RocksDB creates the next log before it writes out the last buffer of the one before.
        lengths = {log: log.whole_records_bytes() for log in reversed(logs)}
        done_at_seconds = time.time()
        manifest.read_on()
        if not self._is_current(manifest):
            self._follow_new_manifest()
            return
        grown = self._take_lengths(logs, lengths)
        reason = self._unread(logs, manifest.state.wals_deletable_below) or self._unseen(flushed)
        self._logs.finish(logs)
        if manifest.state.discontinuities != self._discontinuities:
            reason = "a column family was created or dropped, or files were ingested"
        if reason:
            self._logs.finish_below(self._whole_from)
            self._seals.append(reason)
            self._begin_epoch(manifest, reason)
        else:
            self._history.add(
                self._epoch,
                taken_at_seconds,
                done_at_seconds=done_at_seconds,
                oldest_log=logs[0].number if logs else NEVER,
                grown=grown,
            )
            self._release()

    def _is_current(self, manifest: ManifestFile) -> bool:
        return self._database.manifest_name() == manifest.path.name and manifest.is_same_file()

    def _follow_new_manifest(self) -> None:
        manifest = ManifestFile(self._database.path / self._database.manifest_name())
        try:
            manifest.read_on()
            self._logs.move()
            self._logs.pin()
        except BaseException:
            manifest.close()
            raise
        reason = (
            "the primary began a new MANIFEST"
            if self._manifest
            else f"the database can be read again, after: {self._last_end}"
        )
        self._chain = SequenceChain()
        self._begin_epoch(manifest, reason)
        if self._history.newest is not None:
            self._seals.append(reason)
        self._note_oldest()

    def _begin_epoch(self, manifest: ManifestFile | None, reason: str) -> None:
        if self._manifest is not None and self._manifest is not manifest:
            self._manifest.close()
        self._manifest = manifest
        self._discontinuities = manifest.state.discontinuities if manifest else 0
        self._epoch += 1
        self._last_end = reason

    def _unread(self, logs: list[WalFile], deletable_below: int) -> str:
        """Say which of what was written up to the newest write is not in hand; empty if all is."""
        missing = ""
        for log in logs:
            if log.was_recycled():
                missing = f"{log.name} was recycled before all of it was read"
                self._whole_from = max(self._whole_from, log.number + 1)
            first, last = log.first_sequence, log.last_sequence
            if first is None or last is None:
                continue
            if not self._chain.follow(log.number, first, last, deletable_below=deletable_below):
                missing = f"a write-ahead log before {log.name} may have come and gone unseen"
                self._whole_from = max(self._whole_from, log.number)
        return missing

    def _unseen(self, flushed: _Flushed) -> str:
        """Say which log that is in tables was never seen; empty if there is none. No write need follow it."""
        if self._chain.reaches(flushed.sequence, deletable_below=flushed.gone_below):
            return ""
        self._whole_from = max(self._whole_from, flushed.gone_below)
        self._chain = SequenceChain(flushed.gone_below - 1, flushed.sequence)
        return f"a write-ahead log before {wal_name(flushed.gone_below)} may have come and gone unseen"

    def _take_lengths(self, logs: list[WalFile], lengths: dict[WalFile, int]) -> dict[WalFile, tuple[int, int]]:
        """Note how long the logs are; return length and growth of those that have grown, oldest first."""
        # A log without a write may have a head already, while the one before it is still being completed.
        written = [log for log in logs if log.first_sequence is not None]
        grown = {
            log: (lengths[log], lengths[log] - self._lengths.get(log, 0))
            for log in written
            if lengths[log] > self._lengths.get(log, 0)
        }
        self._lengths.update((log, lengths[log]) for log in written)
        return grown

    def _release(self) -> None:
        """Let go of what nobody needs, and of the oldest logs once they are more than may be held."""
        self._history.forget(self._users, whole_from=self._whole_from)
        pending_log = min([self._held_log, *(user.pending_log for user in self._users)])
        self._logs.release(min(pending_log, self._history.oldest_log))
        # Whoever needed them begins again with the next checkpoint.
        if not self._may_hold_deleted:
            self._release_deleted()
        while self._holds_too_much() and self._logs.release_oldest():
            pass
        self._note_held()

    def _release_deleted(self) -> None:
        unread = self._logs.release_deleted()
        if unread:
            # Of a log that is held it is taken for granted that it gets read to its end.
            reason = f"{wal_name(unread)} was let go of before it was read to its end: too little is free"
            self._whole_from = max(self._whole_from, unread + 1)
            self._seals.append(reason)
            self._begin_epoch(self._manifest, reason)

    def _holds_too_much(self) -> bool:
        return self._logs.deleted_bytes() > self.budget_bytes or self._logs.count > self._most_logs

    def _has_whole(self, log_number: int) -> bool:
        """Whether all logs from this number on are held, with none missing between them."""
        return log_number >= self._whole_from

    def _note_held(self) -> None:
        self.pinned_bytes = self._logs.deleted_bytes()
        self._note_oldest()

    def _note_oldest(self) -> None:
        held = self._logs.all()
        if held:
            self._whole_from = max(self._whole_from, held[0].number)
        kept = set(held)
        self._lengths = {log: length for log, length in self._lengths.items() if log in kept}
