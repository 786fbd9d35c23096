"""Further connections for bulk transfers, each in a process of its own: started when needed, and kept.

Each process is attended to by a thread here, which gives it work from the batch, passes on what it tells, and
grants it bytes. A server that lets no further session in is left at that: the batch goes over what there is.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, TypeVar

from replicator.destination.sftp_download import Fetch
from replicator.destination.sftp_folder_job import FolderJob
from replicator.destination.sftp_helper_messages import (
    Begin,
    Direction,
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
from replicator.destination.sftp_job import Job
from replicator.destination.shared_batch import FolderBatch, TransferBatch
from replicator.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import FolderObserver, FolderUpload, TransferObserver
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_route import SftpSettings

_Batch = TransferBatch[Job] | TransferBatch[Fetch] | FolderBatch[FolderJob]
_OneBatch = TypeVar("_OneBatch", TransferBatch[Job], TransferBatch[Fetch], FolderBatch[FolderJob])
# At least so many are given at a time, while there are; and a part of all that wait, for asking takes a while.
_LEAST_ITEMS = 16
_LARGEST_PART = 8
_MOST_BYTES = 1 << 20
_START_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many connections bulk transfers use, and from how many bytes or files on that is worth it."""

    connections: int = 1
    from_bytes: int = 16 << 20
    from_files: int = 64


#: One connection does it all.
NO_SHARING = Sharing()


class Helpers:
    """The helpers of one destination. `close` may be called from any thread."""

    def __init__(self, settings: SftpSettings, limiter: RateLimiter | None, sharing: Sharing) -> None:
        self._settings = settings
        self._limiter = limiter
        self._sharing = sharing
        self._lock = threading.Lock()
        self._helpers: dict[int, _Helper] = {}
        self._closed = False

    def upload(
        self, jobs: Sequence[Job], observer: TransferObserver, own: Callable[[TransferBatch[Job]], None]
    ) -> None:
        """Carry out jobs: `own` does what it can get of them, the helpers what they can get."""
        sizes = [job.sent_bytes for job in jobs]
        batch = TransferBatch(jobs, sizes, observer, label=self._settings.label)
        self._share(batch, len(jobs), sum(sizes), Direction.UPLOAD, own)

    def upload_folders(
        self,
        jobs: Sequence[FolderJob],
        uploads: Sequence[FolderUpload],
        observer: FolderObserver,
        own: Callable[[FolderBatch[FolderJob]], None],
    ) -> None:
        """Carry out jobs, which are those of `uploads`, in the same way."""
        sizes = [job.size_bytes for job in jobs]
        batch = FolderBatch(jobs, sizes, observer, label=self._settings.label, uploads=uploads)
        self._share(batch, sum(len(job.files) for job in jobs), sum(sizes), Direction.UPLOAD_FOLDERS, own)

    def download(
        self, fetches: Sequence[Fetch], observer: TransferObserver, own: Callable[[TransferBatch[Fetch]], None]
    ) -> None:
        """Fetch files, in the same way."""
        sizes = [fetch.size_bytes for fetch in fetches]
        batch = TransferBatch(fetches, sizes, observer, label=self._settings.label)
        self._share(batch, len(fetches), sum(sizes), Direction.DOWNLOAD, own)

    def _share(
        self,
        batch: _OneBatch,
        files: int,
        size_bytes: int,
        direction: Direction,
        own: Callable[[_OneBatch], None],
    ) -> None:
        sharing = self._sharing
        if batch.waiting > 1 and (size_bytes >= sharing.from_bytes or files >= sharing.from_files):
            # Those that are still on their way to the server join when they are there, if it is not over by then.
            for helper in self._all():
                helper.join(batch, direction)
        try:
            own(batch)
        except BaseException as error:  # noqa: BLE001 - `end` raises it, once nobody works on the batch any more
            batch.fail(error)
        if batch.broke_off:
            self.close()
        batch.end()

    def warm_up(self) -> None:
        """Start all, and wait until each has logged in or has been refused."""
        for helper in self._all():
            helper.settled.wait()

    def _all(self) -> list[_Helper]:
        with self._lock:
            for number in range(1, self._sharing.connections):
                helper = self._helpers.get(number)
                if not self._closed and (helper is None or helper.may_be_replaced):
                    name = f"sftp-helper-{number}"
                    self._helpers[number] = _Helper(self._settings, self._limiter, name)
            return list(self._helpers.values())

    def close(self) -> None:
        """End all; what they do breaks off."""
        with self._lock:
            self._closed = True
            helpers = list(self._helpers.values())
        for helper in helpers:
            helper.close()


class _Helper:
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
