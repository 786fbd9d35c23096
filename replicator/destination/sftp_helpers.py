"""Further connections for bulk transfers, each in a process of its own: started when needed, and kept.

A server that lets no further session in is left at that: the batch goes over what there is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from replicator.destination.sftp_download import Fetch
from replicator.destination.sftp_folder_job import FolderJob
from replicator.destination.sftp_job import Job
from replicator.destination.shared_batch import Direction, FolderBatch, TransferBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import FolderObserver, FolderUpload, TransferObserver
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_helper import Helper
    from replicator.destination.sftp_route import SftpSettings

_OneBatch = TypeVar("_OneBatch", TransferBatch[Job], TransferBatch[Fetch], FolderBatch[FolderJob])


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
        self._helpers: dict[int, Helper] = {}
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

    def _all(self) -> list[Helper]:
        # Loaded here because most batches are too small for helpers.
        from replicator.destination.sftp_helper import Helper  # noqa: PLC0415

        with self._lock:
            for number in range(1, self._sharing.connections):
                helper = self._helpers.get(number)
                if not self._closed and (helper is None or helper.may_be_replaced):
                    name = f"sftp-helper-{number}"
                    self._helpers[number] = Helper(self._settings, self._limiter, name)
            return list(self._helpers.values())

    def close(self) -> None:
        """End all; what they do breaks off."""
        with self._lock:
            self._closed = True
            helpers = list(self._helpers.values())
        for helper in helpers:
            helper.close()
