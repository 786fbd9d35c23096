"""One database on the source host: makes its checkpoints, and notices new ones whoever made them.

What becomes of a checkpoint is not decided here: `on_checkpoint` is told that there is a new one.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from replicator.checkpoint.watcher import CheckpointWatcher
from replicator.config.choices import Producer
from replicator.errors import SourceError
from replicator.liveness import beat
from replicator.rocksdb.filenames import CURRENT_NAME
from replicator.service.space_guard import SpaceGuard
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.checkpoint.capture import Capture, Captured
    from replicator.checkpoint.pinned import CheckpointPin
    from replicator.checkpoint.rotation import CheckpointRoot
    from replicator.config.model import DatabaseConfig
    from replicator.service.board import StatusBoard

_log = structlog.get_logger()

#: Between two checkpoints that are asked for: a primary that calls for one all the time gets no more. After
#: failures it doubles, up to about a minute.
_LEAST_INTERVAL_SECONDS: Final = 1.0
_MOST_DOUBLINGS: Final = 6
#: At `checkpoint_current`: an event may be lost.
_LOOK_EVERY_SECONDS: Final = 1.0


class LogHold(Protocol):
    """Holds on to logs that a checkpoint may lack, until it is shipped to."""

    def hold(self) -> int:
        """Hold on to all that a capture which begins now may lack; return the number of the oldest such log."""

    def expect(self, captured_at_seconds: float, held_log: int) -> None:
        """Say that the capture was made, at that time (since the epoch), and is going to be published."""

    def end_hold(self) -> None:
        """Let go of what nobody expects."""

    def may_hold_deleted(self, *, allowed: bool) -> None:
        """Say whether there is room on the filesystem of the checkpoints for logs that the primary has deleted."""


class DatabaseLoop:
    """Makes checkpoints of one database on its interval and reports each new one, until `stop` is set."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        database: DatabaseConfig,
        root: CheckpointRoot,
        capture: Capture,
        *,
        stop: threading.Event,
        on_checkpoint: Callable[[str], None],
        board: StatusBoard,
        logs: LogHold | None = None,
        pins: Sequence[CheckpointPin] = (),
    ) -> None:
        """`pins` are what transfers hold of checkpoints."""
        self.name = database.name
        self.thread_name = f"database {database.name}"
        self.is_watched = True
        self._database = database
        self._root = root
        self._capture = capture
        self._stop = stop
        self._on_checkpoint = on_checkpoint
        self._board = board
        self._logs = logs
        self._asked = threading.Event()
        self._failures = 0
        self._seen: tuple[int, int] | None = None
        self._watcher = CheckpointWatcher(root.path)
        #: To be watched by somebody else, on a thread of its own.
        self.guard = SpaceGuard(
            database,
            root,
            board,
            give_up_staging=capture.give_up,
            logs=logs,
            pins=pins,
            on_room=self._use_room,
        )

    def make_checkpoint(self) -> None:
        """Make one checkpoint, where that is our task.

        Raises `SourceError` and its subclasses.
        """
        if self._database.producer is Producer.EXTERNAL:
            return
        self.guard.check()
        captured = self._make()
        self._board.checkpoint_made(
            self.name,
            captured_at_seconds=captured.captured_at_seconds,
            duration_seconds=captured.duration_seconds,
        )
        if captured.copied_bytes:
            _log.warning(
                "checkpoint.copied",
                database=self.name,
                copied=format_size(captured.copied_bytes),
                hint=f"{self._root.path} is on another filesystem or mount than {self._database.path}:"
                " new files are copied instead of linked",
            )
        _log.info(
            "checkpoint.made",
            database=self.name,
            live_files=captured.live_files,
            new_files=captured.new_files,
            wal_bytes=captured.wal_bytes,
            last_sequence=captured.last_sequence,
            tries=captured.tries,
            took=format_duration(captured.duration_seconds),
        )

    def run(self) -> None:
        """Work until stopped. A checkpoint that fails is logged and tried again at the next interval."""
        try:
            with self._watcher:
                while not self._stop.is_set():
                    beat()
                    begun = time.monotonic()
                    was_asked = self._asked.is_set()
                    self._asked.clear()
                    self._try_checkpoint()
                    if was_asked and self._failures:
                        self._asked.set()
                    self._look()
                    while not self._stop.is_set() and (left_seconds := self._due(begun) - time.monotonic()) > 0:
                        beat(left_seconds)
                        self._watcher.wait(min(left_seconds, _LOOK_EVERY_SECONDS))
                        beat()
                        self._look()
        finally:
            self._capture.close()

    def ask_for_checkpoint(self, reason: str) -> None:
        """Have a checkpoint made before its time; from any thread."""
        if not self._asked.is_set():
            _log.info("checkpoint.wanted", database=self.name, reason=reason)
        self._asked.set()
        self._watcher.wake()

    def reconfigure(self, database: DatabaseConfig) -> None:
        """Go by these settings from now on, as far as they can change; from any thread."""
        self._database = database
        self.guard.min_free = database.min_free
        self._watcher.wake()

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop; from any thread."""
        self._watcher.wake()

    def _due(self, begun: float) -> float:
        """Say when the checkpoint after the one that was begun then is due (monotonic, as `begun`)."""
        interval_seconds = self._database.interval_seconds
        if self._asked.is_set():
            return begun + min(_LEAST_INTERVAL_SECONDS * 2.0**self._failures, interval_seconds)
        return begun + interval_seconds

    def _make(self) -> Captured:
        """Capture; until those who ship know of it, the logs that it may lack are held."""
        held_log = self._logs.hold() if self._logs else 0
        try:
            captured = self._capture.make(self.guard.need_room)
            if self._logs:
                self._logs.expect(captured.captured_at_seconds, held_log)
        finally:
            if self._logs:
                self._logs.end_hold()
        return captured

    def _try_checkpoint(self) -> None:
        try:
            self.make_checkpoint()
        except SourceError as error:
            self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
            self._board.checkpoint_failed(self.name, error=error)
            _log.error("checkpoint.failed", database=self.name, error=error)
        else:
            self._failures = 0

    def _use_room(self) -> None:
        """Make now what was refused; the waits after failures were for something else."""
        self._failures = 0
        self.ask_for_checkpoint("there is room again")

    def _look(self) -> None:
        """Report the current checkpoint if it is another one than at the last look."""
        try:
            folder = self._root.current.stat()
            current = (self._root.current / CURRENT_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return
        seen = (folder.st_ino, current.st_mtime_ns)
        if seen != self._seen:
            self._seen = seen
            if self._database.producer is Producer.EXTERNAL:
                self._board.checkpoint_made(self.name, captured_at_seconds=current.st_mtime, duration_seconds=None)
            self._on_checkpoint(self.name)
