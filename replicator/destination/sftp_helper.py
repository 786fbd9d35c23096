"""A further connection, in a process of its own, and the thread here that attends to it.

The thread gives the process work from a batch, passes on what it tells, and grants it bytes.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from replicator.destination.sftp_helper_messages import (
    Begin,
    Ended,
    FromHelper,
    Grant,
    NeedBytes,
    Progress,
    Ready,
    Start,
    Stop,
    Take,
    Work,
)
from replicator.destination.shared_batch import FolderBatch
from replicator.errors import ConnectionLostError

if TYPE_CHECKING:
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_download import Fetch
    from replicator.destination.sftp_folder_job import FolderJob
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_route import SftpSettings
    from replicator.destination.shared_batch import Direction, TransferBatch

    _Batch = TransferBatch[Job] | TransferBatch[Fetch] | FolderBatch[FolderJob]

# At least so many are given at a time, while there are; and a part of all that wait, for asking takes a while.
_LEAST_ITEMS = 16
_LARGEST_PART = 8
_MOST_BYTES = 1 << 20
_START_AGAIN_SECONDS = 60.0


class Helper:
    """One process, and the thread that attends to it."""

    def __init__(self, settings: SftpSettings, limiter: RateLimiter | None, name: str) -> None:
        self._settings = settings
        self._limiter = limiter
        self._batches: queue.SimpleQueue[tuple[_Batch, Direction] | None] = queue.SimpleQueue()
        self._closed = False
        self._started_at = time.monotonic()
        #: Set once it has logged in, or will never.
        self.settled = threading.Event()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "replicator.destination.sftp_helper_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._pipe = Connection(ours.detach())
        self._thread = threading.Thread(target=self._attend, name=name, daemon=True)
        self._thread.start()

    @property
    def may_be_replaced(self) -> bool:
        """Whether it has ended, and not just now."""
        return not self._thread.is_alive() and time.monotonic() - self._started_at > _START_AGAIN_SECONDS

    def join(self, batch: _Batch, direction: Direction) -> None:
        """Help with a batch as soon as possible."""
        self._batches.put((batch, direction))

    def close(self) -> None:
        """End the process; the thread notices."""
        self._closed = True
        self._process.kill()
        self._batches.put(None)
        self._process.wait()

    # --- on the thread -------------------------------------------------------------------------------

    def _attend(self) -> None:
        try:
            with self._pipe:
                self._attend_until_it_ends()
        except (EOFError, OSError):
            pass  # it ended before it had work; whatever it took, `_serve` has told of
        finally:
            self.settled.set()
            self._process.kill()
            self._process.wait()

    def _attend_until_it_ends(self) -> None:
        self._pipe.send(Start(self._settings, None if self._limiter is None else self._limiter.chunk_bytes))
        if not isinstance(self._pipe.recv(), Ready):
            return
        self.settled.set()
        while (work := self._batches.get()) is not None:
            batch, direction = work
            if not batch.enter():
                continue
            try:
                self._serve(batch, direction)
            except (EOFError, OSError):
                reason = "the connection was closed" if self._closed else "a process of the transfer ended"
                batch.fail(ConnectionLostError(f"{self._settings.label}: {reason}"))
                raise
            except BaseException as error:  # noqa: BLE001 - of the observer; raised by whoever began the batch
                batch.fail(error)
                return
            finally:
                batch.leave()

    def _serve(self, batch: _Batch, direction: Direction) -> None:
        self._pipe.send(Begin(direction))
        told_to_stop = False
        while True:
            message: FromHelper = self._pipe.recv()
            if isinstance(message, Progress):
                _tell(batch, message)
            elif isinstance(message, Take):
                most_items = max(_LEAST_ITEMS, batch.waiting // _LARGEST_PART)
                self._pipe.send(Work(batch.take(most_items=most_items, most_bytes=_MOST_BYTES)))
            elif isinstance(message, NeedBytes) and self._limiter is not None:
                self._limiter.acquire(message.count)
                self._pipe.send(Grant())
            elif isinstance(message, Ended):
                if message.error is not None:
                    batch.fail(message.error)
                return
            if not told_to_stop and batch.stop_requested():
                self._pipe.send(Stop())
                told_to_stop = True


def _tell(batch: _Batch, progress: Progress) -> None:
    if progress.moved_bytes:
        batch.bytes_moved(progress.moved_bytes)
    if isinstance(batch, FolderBatch):
        for place, left in progress.folders:
            batch.folder_done(place, left)
        return
    for target, sha256 in progress.done:
        batch.file_done(target, sha256)
    for target, error in progress.skipped:
        batch.file_skipped(target, error)
