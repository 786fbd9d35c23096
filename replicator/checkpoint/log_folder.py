"""Holding on to all logs of a live database from one of them on, in step with the folder that they lie in.

What the logs mean for a replica is decided elsewhere (`log_follower`).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from replicator.checkpoint.wal_files import WalPins
from replicator.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.checkpoint.database_folder import DatabaseFolder
    from replicator.checkpoint.wal_files import WalFile

#: A folder that changed so shortly before it was listed may change once more within the same tick of the clock
#: that its modification time is taken from.
_CLOCK_TICK_SECONDS = 0.1


class LogFolder:
    """The logs that were seen and not let go, by number. A log is *finished* when it will not grow any more."""

    def __init__(self, database: DatabaseFolder) -> None:
        self._database = database
        self._pins = WalPins()
        self._finished: set[WalFile] = set()
        self._listed_at_nanoseconds = 0
        self._trusted_number = 0
        self.path = database.path

    def move(self) -> None:
        """Look again where the logs lie, and let go of those that are not there any more.

        They may be from before an older state of the database was put back, which counts its logs on from there.
        Raises `SourceError` as `DatabaseFolder.wal_folder`.
        """
        options = self._database.newest_options()
        self.path = self._database.wal_folder(options.options if options else None)
        self._pins.keep(self._database.list_wals(self.path))
        self._finished &= set(self.all())
        self._listed_at_nanoseconds = 0

    def pin(self) -> int:
        """Get hold of logs that are new; return the newest number that surely has all its elders held.

        Of two logs that are created while it is made, a listing may hold only the younger. So one is trusted only
        once the folder was looked at again after it was seen.
        """
        modified_at_nanoseconds = self._modified_at_nanoseconds()
        if modified_at_nanoseconds == self._listed_at_nanoseconds:
            return self._trusted_number
        begun_at_seconds = time.time()
        self._pins.pin(self.path, self._database.list_wals(self.path))
        self._trusted_number = self._pins.newest_number()
        self._pins.pin(self.path, self._database.list_wals(self.path))
        if begun_at_seconds - modified_at_nanoseconds / 1e9 > _CLOCK_TICK_SECONDS:
            self._listed_at_nanoseconds = modified_at_nanoseconds
        return self._trusted_number

    def all(self) -> list[WalFile]:
        """Return all logs held, oldest first."""
        return self._pins.between(0, self.newest_number())

    def unfinished(self, newest_number: int) -> list[WalFile]:
        """Return those up to a number that may still grow, oldest first."""
        return [log for log in self._pins.between(0, newest_number) if log not in self._finished]

    def finish(self, logs: Sequence[WalFile]) -> None:
        """Note what `logs`, oldest first and read newest first, show: what came before a write is complete."""
        written = [log for log in logs if log.first_sequence is not None]
        if written:
            self._finished.update(log for log in logs if log.number < written[-1].number)

    def finish_below(self, number: int) -> None:
        """Note that no log below a number is to be read on, whether it is complete or not."""
        self._finished.update(log for log in self.all() if log.number < number)

    @property
    def count(self) -> int:
        """How many logs are held."""
        return len(self._pins)

    def newest_number(self) -> int:
        """Return the highest number held, or 0."""
        return self._pins.newest_number()

    def release(self, below_number: int) -> None:
        """Let go of the finished logs below a number."""
        for log in self.all():
            if log.number >= below_number or log not in self._finished:
                break
            self._let_go(log)

    def release_oldest(self) -> WalFile | None:
        """Let go of the oldest finished log; None if there is none."""
        oldest = next(iter(self.all()), None)
        if oldest is None or oldest not in self._finished:
            return None
        self._let_go(oldest)
        return oldest

    def release_deleted(self) -> int:
        """Let go of all logs that the primary has deleted, and of those before them.

        Return the number of the newest of them that is not known to be read to its end, or 0.
        """
        deleted = [log.number for log in self.all() if log.deleted_bytes()]
        released = self._pins.between(0, deleted[-1]) if deleted else []
        unread = max((log.number for log in released if log not in self._finished), default=0)
        for log in released:
            self._let_go(log)
        return unread

    def deleted_bytes(self) -> int:
        """Return the space that is only in use because logs are held which the primary has deleted."""
        return sum(log.deleted_bytes() for log in self._finished)

    def close(self) -> None:
        """Let go of all logs."""
        self._pins.release()
        self._finished.clear()
        self._listed_at_nanoseconds = 0

    def _let_go(self, log: WalFile) -> None:
        self._finished.discard(log)
        self._pins.release(log.number + 1)

    def _modified_at_nanoseconds(self) -> int:
        try:
            return os.stat(self.path).st_mtime_ns  # noqa: PTH116 - at each tick; a Path costs more than the call
        except OSError as error:
            raise SourceError(f"cannot look at {self.path}: {error.strerror}") from error
