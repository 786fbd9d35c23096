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
from replicator.destination.shared_batch import SharedBatch
from replicator.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import TransferObserver
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_route import SftpSettings

_Item = TypeVar("_Item", Job, Fetch)
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
        self, jobs: Sequence[Job], observer: TransferObserver, own: Callable[[SharedBatch[Job]], None]
    ) -> None:
        """Carry out jobs: `own` does what it can get of them, the helpers what they can get."""
        self._share(jobs, [job.sent_bytes for job in jobs], Direction.UPLOAD, observer, own)

    def download(
        self, fetches: Sequence[Fetch], observer: TransferObserver, own: Callable[[SharedBatch[Fetch]], None]
    ) -> None:
        """Fetch files, in the same way."""
        self._share(fetches, [fetch.size_bytes for fetch in fetches], Direction.DOWNLOAD, observer, own)

    def _share(
        self,
        items: Sequence[_Item],
        sizes_bytes: Sequence[int],
        direction: Direction,
        observer: TransferObserver,
        own: Callable[[SharedBatch[_Item]], None],
    ) -> None:
        batch = SharedBatch(items, sizes_bytes, observer, label=self._settings.label)
        sharing = self._sharing
        if len(items) > 1 and (sum(sizes_bytes) >= sharing.from_bytes or len(items) >= sharing.from_files):
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
        self._batches: queue.SimpleQueue[tuple[SharedBatch[Job] | SharedBatch[Fetch], Direction] | None] = (
            queue.SimpleQueue()
        )
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

    def join(self, batch: SharedBatch[Job] | SharedBatch[Fetch], direction: Direction) -> None:
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

    def _serve(self, batch: SharedBatch[Job] | SharedBatch[Fetch], direction: Direction) -> None:
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


def _tell(batch: SharedBatch[Job] | SharedBatch[Fetch], progress: Progress) -> None:
    if progress.moved_bytes:
        batch.bytes_moved(progress.moved_bytes)
    for target, sha256 in progress.done:
        batch.file_done(target, sha256)
    for target, error in progress.skipped:
        batch.file_skipped(target, error)
