"""One database's write-ahead logs on the source host: read at each tick, pinned as soon as they appear.

What was read is sent by others: they are told of each reading, and of each event that calls for a checkpoint.
"""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from replicator.checkpoint.watcher import LogWatcher
from replicator.errors import CheckpointError, SourceChangedError, SourceError
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.checkpoint.log_follower import LogFollower
    from replicator.config.model import DatabaseConfig
    from replicator.service.board import StatusBoard

_log = structlog.get_logger()


class LogLoop:
    """Takes a reading every `tick_seconds` until `stop` is set."""

    def __init__(  # noqa: PLR0913 - each is a part of its own
        self,
        database: DatabaseConfig,
        follower: LogFollower,
        board: StatusBoard,
        *,
        tick_seconds: float,
        stop: threading.Event,
        on_reading: Callable[[], None],
        on_seal: Callable[[str], None],
    ) -> None:
        self.name = database.name
        self.thread_name = f"logs {database.name}"
        self.is_watched = True
        self._database = database
        self._follower = follower
        self._board = board
        self._tick_seconds = tick_seconds
        self._stop = stop
        self._on_reading = on_reading
        self._on_seal = on_seal
        self._woken = threading.Event()
        self._may_hold_deleted = True
        self._trouble = ""
        self._is_watched = True
        self._due = 0.0

    def run(self) -> None:
        """Work until stopped. What cannot be read is logged once, and tried again at each tick."""
        try:
            while not self._stop.is_set():
                self._read()
                self._follow()
        finally:
            self._follower.close()

    def reconfigure(self, database: DatabaseConfig) -> None:
        """Go by these settings from now on, as far as they can change; from any thread."""
        self._database = database
        self._tick_seconds = database.tick_seconds or self._tick_seconds
        self._follower.budget_bytes = database.pin_budget_bytes
        # The wait for what was the next tick may be long.
        self._due = 0.0
        self._woken.set()

    def may_hold_deleted(self, *, allowed: bool) -> None:
        """Say whether the filesystem of the checkpoints has room for logs that the primary has deleted.

        From any thread, and with effect at once.
        """
        self._may_hold_deleted = allowed
        if not allowed:
            self._follower.may_hold_deleted(allowed=False)

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop; from any thread."""
        self._woken.set()

    def _follow(self) -> None:
        """Take readings for as long as the logs lie in the same folder."""
        folder, identity = self._follower.folder, self._identity()
        try:
            with LogWatcher(folder, self._woken):
                self._is_watched = True
                while not self._stop.is_set() and (self._follower.folder, self._identity()) == (folder, identity):
                    self._tick()
        except CheckpointError as error:
            # The listing at each tick still finds all logs that live longer than that.
            if self._is_watched:
                self._is_watched = False
                _log.warning("logs.unwatched", database=self.name, error=error)
            self._tick()

    def _tick(self) -> None:
        # By the clock, not by the last reading: what a reading takes would add to the lag.
        self._due = max(self._due + self._tick_seconds, time.monotonic())
        while not self._stop.is_set() and (left_seconds := self._due - time.monotonic()) > 0:
            beat(left_seconds)
            if self._woken.wait(left_seconds):
                self._woken.clear()
                with suppress(SourceError):  # the reading says what is wrong
                    self._follower.pin()
        if not self._stop.is_set():
            self._read()

    def _read(self) -> None:
        beat()
        self._follower.may_hold_deleted(allowed=self._has_room())
        try:
            self._follower.read()
        except SourceChangedError:
            pass  # the next reading finds out what is new
        except SourceError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                _log.error("logs.unreadable", database=self.name, error=error)
        else:
            if self._trouble:
                self._trouble = ""
                _log.info("logs.readable", database=self.name)
        self._board.pinned(self.name, count_bytes=self._follower.pinned_bytes)
        for reason in self._follower.take_seals():
            self._on_seal(reason)
        self._on_reading()

    def _identity(self) -> int:
        """Return what tells a folder from one that took its place, of which a watch sees nothing; 0 for none."""
        try:
            return self._follower.folder.stat().st_ino
        except OSError:
            return 0

    def _has_room(self) -> bool:
        """Whether logs that the primary has deleted may be held on to."""
        if not self._may_hold_deleted:
            return False
        folder = self._follower.folder
        try:
            if folder.stat().st_dev == self._database.checkpoint_root.stat().st_dev:
                return True  # whoever makes checkpoints there watches that filesystem
            usage = shutil.disk_usage(folder)
        except OSError:
            return True  # the reading says what is wrong
        return usage.free >= self._database.min_free.bytes_of(usage.total)
