"""Bulk transfers of an SFTP account: what the contract asks for becomes jobs with the server's paths.

The jobs are carried out by `sftp_upload` and `sftp_download`, here and, of large batches, by `sftp_helpers` too.
"""

from __future__ import annotations

import secrets
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from replicator.destination import sftp_protocol as protocol
from replicator.destination.paths import part_of
from replicator.destination.sftp_download import Downloader, Fetch
from replicator.destination.sftp_folder_job import FolderJob
from replicator.destination.sftp_helpers import Helpers, Sharing
from replicator.destination.sftp_job import Job
from replicator.destination.sftp_small_files import SmallFiles
from replicator.destination.sftp_unpacking import Unpacking
from replicator.destination.sftp_upload import Uploader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.destination.interface import (
        Download,
        FolderObserver,
        FolderUpload,
        Link,
        TransferObserver,
        Upload,
    )
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_route import SftpSettings
    from replicator.destination.shared_batch import FolderBatch, TransferBatch

#: Of files that are so large on average, sending them is what takes long.
_LARGE_FILE_BYTES: Final = 8 << 10


class SftpBulk:
    """Moves files over a session that others use too, and over those of its helpers."""

    def __init__(
        self,
        connection: SftpConnection,
        account: SftpAccount,
        settings: SftpSettings,
        limiter: RateLimiter | None,
        sharing: Sharing,
    ) -> None:
        self._connection = connection
        self._account = account
        self._label = settings.label
        self._limiter = limiter
        self._helpers = Helpers(settings, limiter, sharing)
        self._unpacking = Unpacking(connection)
        # What an earlier connection had begun the server may still be at, if it has not noticed that it is over.
        self._part_suffix = f"-{secrets.token_hex(4)}".encode()
        self._has_helpers = sharing.connections > 1
        self._unpacks_from_files = sharing.from_files

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files."""
        self._account.need(protocol.POSIX_RENAME)
        if any(item.prefix is not None for item in uploads):
            self._account.need(protocol.COPY_DATA)
        jobs = [self._upload_job(item) for item in uploads]
        self._helpers.upload(jobs, observer, lambda batch: self._uploader(batch).run(batch.items()))

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Store many small files."""
        self._account.need(protocol.POSIX_RENAME)
        jobs = [self._folder_job(place, item) for place, item in enumerate(uploads)]
        files = sum(len(job.files) for job in jobs)
        size_bytes = sum(job.size_bytes for job in jobs)
        # With a helper there this process has enough to do with finding out what else is to be sent.
        takes_part = not self._has_helpers or size_bytes >= files * _LARGE_FILE_BYTES
        unpacks = takes_part and files >= self._unpacks_from_files
        self._helpers.upload_folders(
            jobs,
            uploads,
            observer,
            lambda batch: self._send_folders(batch, takes_part=takes_part, unpacks=unpacks),
        )

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies: the server does the work, so one session is enough."""
        self._account.need(protocol.COPY_DATA, protocol.POSIX_RENAME)
        self._uploader(None).run([self._copy_job(item) for item in links])

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Fetch files."""
        fetches = [Fetch(item, self._account.path(item.source)) for item in downloads]
        self._helpers.download(fetches, observer, self._fetch)

    def warm_up(self) -> None:
        """Start the helpers, and wait until they have logged in."""
        self._helpers.warm_up()

    def close(self) -> None:
        """End the helpers; may be called from any thread."""
        self._helpers.close()

    def _fetch(self, batch: TransferBatch[Fetch]) -> None:
        Downloader(self._connection, label=self._label, observer=batch, limiter=self._limiter).run(batch.items())

    def _send_folders(self, batch: FolderBatch[FolderJob], *, takes_part: bool, unpacks: bool) -> None:
        jobs: Iterable[FolderJob] = batch.items() if takes_part else batch.items_while_alone()
        if unpacks:
            jobs = self._unpacking.send(jobs, observer=batch, limiter=self._limiter)
        SmallFiles(self._connection, observer=batch, limiter=self._limiter).run(jobs)

    def _uploader(self, observer: TransferObserver | None) -> Uploader:
        return Uploader(
            self._connection,
            label=self._label,
            base=self._account.path(PurePosixPath()),
            limiter=self._limiter,
            observer=observer,
        )

    def _upload_job(self, item: Upload) -> Job:
        prefix = item.prefix
        target = self._account.path(item.target)
        return Job(
            name=item.target,
            target=target,
            part=self._account.path(item.part or part_of(item.target)),
            folder=target.rpartition(b"/")[0] or self._account.path(item.target.parent),
            source=item.source,
            size_bytes=item.size_bytes,
            prefix=None if prefix is None else self._account.path(prefix.path),
            prefix_bytes=0 if prefix is None else prefix.size_bytes,
            attributes=item.attributes,
            sync=item.sync,
            optional=item.optional,
        )

    def _folder_job(self, place: int, item: FolderUpload) -> FolderJob:
        return FolderJob(
            place=place,
            source=item.source,
            target=self._account.path(item.target),
            part=self._account.path(item.part) + self._part_suffix,
            files=tuple([(*file,) for file in item.files]),
            size_bytes=sum([file[1] for file in item.files]),
            owner=item.owner,
            is_new=item.is_new,
            attributes=item.attributes,
        )

    def _copy_job(self, item: Link) -> Job:
        return Job(
            name=item.target,
            target=self._account.path(item.target),
            part=self._account.path(part_of(item.target)),
            folder=self._account.path(item.target.parent),
            prefix=self._account.path(item.source),
        )
