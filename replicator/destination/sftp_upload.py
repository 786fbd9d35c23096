"""Send files over an SFTP session so that the wire is never idle and no answer goes unread.

Files are created some way ahead of the data; data goes out in the order of the files, one file at a time, so
that a break costs one file; the answers, renames and syncs of the files before are taken care of meanwhile.
The way of a file:

    create NAME.part - (server-side copy of a prefix) - data, attributes, sync, close - rename - sync - done

A file is created anew and every byte of it is acknowledged, so its size need not be asked for; with a server-side
copy it must be, because the answer to that does not tell how much was copied.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import EntryKind
from replicator.destination.local_files import SourceFile
from replicator.destination.sftp_account import LONGEST_COPY_BYTES
from replicator.destination.sftp_errors import is_missing, is_unexplained, refusal, succeeded
from replicator.destination.sftp_folder_sync import FolderSync
from replicator.destination.sftp_folders import kind_of
from replicator.destination.sftp_replies import Attributes, ExtendedReply, Handle, Reply, parse_file_system
from replicator.destination.sftp_upload_file import Phase, UploadFile
from replicator.errors import (
    InterruptedTransferError,
    ProtocolError,
    ReplicatorError,
    SourceError,
    TransientDestinationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from replicator.destination.interface import FileAttributes, TransferObserver
    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_protocol import Request

# Enough for files of any size: created so far ahead, none waits for its handle, and few are taken from the others
# who work on the same batch.
_CREATED_AHEAD = 128
_CREATED_AHEAD_BYTES = 4 << 20
# So much is left unsynced at a time: no single request may outlast the timeout.
_SYNC_EVERY_BYTES = 256 << 20


class Uploader:
    """Carries out jobs; made anew for each batch."""

    def __init__(
        self,
        connection: SftpConnection,
        *,
        label: str,
        base: bytes,
        limiter: Limit | None = None,
        observer: TransferObserver | None = None,
    ) -> None:
        self._connection = connection
        self._label = label
        self._base = base
        self._limiter = limiter
        self._observer = observer
        self._chunk_bytes = connection.limits.write_bytes
        if limiter is not None:
            self._chunk_bytes = min(self._chunk_bytes, limiter.chunk_bytes)
        self._can_sync = protocol.FSYNC in connection.extensions
        self._folders = FolderSync(connection)
        self._created: deque[UploadFile] = deque()
        self._created_bytes = 0
        self._error: ReplicatorError | None = None

    def run(self, jobs: Iterable[Job]) -> None:
        """Carry out all jobs, in order; they are taken from `jobs` shortly before their turn.

        After an error no further one is begun; those under way are ended.
        """
        with self._connection.closed_if_broken_off():
            self._run(iter(jobs))
        if self._error is not None:
            raise self._error

    def _run(self, jobs: Iterator[Job]) -> None:
        while True:
            self._create_ahead(jobs, remaining_bytes=0)
            if not self._created:
                break
            file = self._created[0]
            if self._observer is not None and self._observer.stop_requested():
                self._error = self._error or InterruptedTransferError(
                    f"{self._label}: stopped before {file.job.name}"
                )
            while file.unanswered:
                self._connection.receive()
            if self._error is not None:
                break
            self._created.popleft()
            self._created_bytes -= file.job.sent_bytes
            self._send(file, jobs)
        for file in self._created:
            while file.unanswered:
                self._connection.receive()
            file.failed = True
            self._end_sending(file)
        self._connection.receive_all()
        self._folders.close()

    def _create_ahead(self, jobs: Iterator[Job], remaining_bytes: int) -> None:
        """Create the next files while not much is left to be sent of those that are there."""
        while (
            self._error is None
            and len(self._created) < _CREATED_AHEAD
            and self._created_bytes + remaining_bytes < _CREATED_AHEAD_BYTES
            and (job := next(jobs, None)) is not None
        ):
            self._created.append(self._create(job))
            self._created_bytes += job.sent_bytes

    # --- a file's requests ---------------------------------------------------------------------------

    def _post(self, file: UploadFile, request: Request, handler: Callable[[Reply], None]) -> None:
        file.unanswered += 1
        self._connection.post(request, partial(self._answered, file, handler))

    def _answered(self, file: UploadFile, handler: Callable[[Reply], None], reply: Reply) -> None:
        handler(reply)
        file.unanswered -= 1
        if file.unanswered == 0:
            self._go_on(file)

    def _check(self, file: UploadFile, action: str, reply: Reply) -> None:
        if not succeeded(reply):
            self._refuse(file, reply, action)

    def _checked(self, file: UploadFile, action: str) -> Callable[[Reply], None]:
        return partial(self._check, file, action)

    def _refuse(self, file: UploadFile, reply: Reply, action: str) -> None:
        action = f"{action} {file.job.name}"
        first = self._error is None
        self._fail(file, refusal(reply, label=self._label, action=action))
        if not (first and is_unexplained(reply) and protocol.STATVFS in self._connection.extensions):
            return

        # Asked at once: what is removed next makes room.
        def explain(figures: Reply) -> None:
            if isinstance(figures, ExtendedReply):
                found = parse_file_system(figures)
                self._error = refusal(reply, label=self._label, action=action, file_system=found)

        self._post(file, protocol.file_system(self._base), explain)

    def _fail(self, file: UploadFile, error: ReplicatorError) -> None:
        file.failed = True
        self._error = self._error or error

    # --- its way -------------------------------------------------------------------------------------

    def _create(self, job: Job) -> UploadFile:
        file = UploadFile(job, prefix_bytes=job.prefix_bytes, size_bytes=job.size_bytes)
        request = protocol.create_file(job.part, job.first_mode)

        def opened(reply: Reply) -> None:
            if isinstance(reply, Handle):
                file.handle = reply.value
            else:
                self._refuse(file, reply, "create")

        def opened_first(reply: Reply) -> None:
            if is_unexplained(reply):
                # Left over from a try that broke off. It gets removed, not reused: what an old session of the
                # server still has to write goes into the old file then.
                self._post(file, protocol.remove(job.part), lambda _: None)
                self._post(file, request, opened)
            else:
                opened(reply)

        self._post(file, request, opened_first)
        if job.prefix is not None:
            self._open_prefix(file, job.prefix)
        return file

    def _open_prefix(self, file: UploadFile, prefix: bytes) -> None:
        def opened(reply: Reply) -> None:
            if isinstance(reply, Handle):
                file.prefix_handle = reply.value
                self._post(file, protocol.file_status(reply.value), measured)
            else:
                self._refuse(file, reply, "open the file to be copied for")

        def measured(reply: Reply) -> None:
            if not isinstance(reply, Attributes) or reply.size_bytes is None:
                self._refuse(file, reply, "ask the size of the file to be copied for")
            elif file.job.source is None:
                file.prefix_bytes = file.size_bytes = reply.size_bytes
            elif reply.size_bytes < file.prefix_bytes:
                reason = f"the file to begin with has {reply.size_bytes} bytes, not {file.prefix_bytes}"
                self._fail(file, ProtocolError(f"{self._label}: cannot write {file.job.name}: {reason}"))

        self._post(file, protocol.open_reading(prefix), opened)

    def _send(self, file: UploadFile, jobs: Iterator[Job]) -> None:
        file.phase = Phase.SENDING
        if not file.failed and file.handle is not None:
            try:
                self._copy_prefix(file, file.handle)
                if file.job.source is not None:
                    with SourceFile(file.job.source, file.size_bytes, unsettled=file.job.optional) as source:
                        source.skip(file.prefix_bytes)
                        self._send_data(file, file.handle, source, jobs)
                        file.sha256 = source.sha256()
                        if file.job.optional:
                            source.check_unchanged()
            except SourceError as error:
                if file.job.optional:
                    file.failed, file.skipped = True, error
                else:
                    self._fail(file, error)
        self._end_sending(file)

    def _copy_prefix(self, file: UploadFile, handle: bytes) -> None:
        if file.prefix_handle is None:
            return
        for offset in range(0, file.prefix_bytes, LONGEST_COPY_BYTES):
            step = min(LONGEST_COPY_BYTES, file.prefix_bytes - offset)
            # One at a time: the guard measures the time between answers.
            while file.unanswered:
                self._connection.receive()
            if file.failed:
                return
            request = protocol.copy_data(file.prefix_handle, offset, step, handle)
            self._post(file, request, self._checked(file, "copy data to"))

    def _send_data(self, file: UploadFile, handle: bytes, source: SourceFile, jobs: Iterator[Job]) -> None:
        unsynced_bytes = file.prefix_bytes
        while source.remaining_bytes and not file.failed:
            step = min(self._chunk_bytes, source.remaining_bytes)
            if self._limiter is not None:
                self._connection.flush()
                self._limiter.acquire(step)
            # Not only when there is no more room, which with small files or a low limit comes late: what is
            # finished and not known to be is sent again after a break.
            self._connection.receive_what_is_there()
            while not self._connection.has_room:
                self._connection.receive()
            on_reply = partial(self._written, file, step)
            self._connection.post_write(handle, source.position_bytes, step, source.read_into, on_reply)
            file.unanswered += 1
            unsynced_bytes += step
            if unsynced_bytes >= _SYNC_EVERY_BYTES and self._can_sync and file.job.sync:
                self._post(file, protocol.sync(handle), self._checked(file, "sync"))
                unsynced_bytes = 0
            self._create_ahead(jobs, source.remaining_bytes)

    def _written(self, file: UploadFile, count_bytes: int, reply: Reply) -> None:
        if not succeeded(reply):
            self._refuse(file, reply, "write")
        if self._observer is not None:
            self._observer.bytes_moved(count_bytes)
        file.unanswered -= 1
        if file.unanswered == 0:
            self._go_on(file)

    def _end_sending(self, file: UploadFile) -> None:
        """Post what closes the file; once all is answered, `_go_on` decides."""
        file.phase = Phase.SENT
        if file.handle is not None:
            if not file.failed and file.job.attributes is not None:
                self._set_attributes(file, file.handle, file.job.attributes)
            if not file.failed and self._can_sync and file.job.sync:
                self._post(file, protocol.sync(file.handle), self._checked(file, "sync"))
            if file.prefix_handle is not None:
                self._post(file, protocol.file_status(file.handle), file.measure)
            self._post(file, protocol.close(file.handle), self._checked(file, "close"))
        if file.prefix_handle is not None:
            self._post(file, protocol.close(file.prefix_handle), lambda _: None)
        if file.unanswered == 0:
            self._go_on(file)

    def _set_attributes(self, file: UploadFile, handle: bytes, attributes: FileAttributes) -> None:
        """Set the owner first: a change of it takes setuid bits away."""
        if attributes.owner is not None:
            owner = protocol.owner_of(attributes.owner.user_id, attributes.owner.group_id)
            # The account may not, perhaps: that is no failure.
            self._post(file, protocol.set_file_status(handle, owner), lambda _: None)
        rest = protocol.mode_and_time(attributes.mode, attributes.stored_seconds)
        self._post(file, protocol.set_file_status(handle, rest), self._checked(file, "set the attributes of"))

    def _go_on(self, file: UploadFile) -> None:
        """Take the next step of a file all of whose requests are answered."""
        if file.phase is Phase.SENT:
            if not file.failed and file.has_wrong_size:
                sizes = f"{file.stored_bytes} of {file.size_bytes} bytes arrived"
                self._fail(file, ProtocolError(f"{self._label}: cannot write {file.job.name}: {sizes}"))
            if not file.failed:
                file.phase = Phase.RENAMING
                request = protocol.posix_rename(file.job.part, file.job.target)
                self._post(file, request, partial(self._renamed, file))
                return
        if file.phase in {Phase.SENT, Phase.RENAMING} and file.failed and file.handle is not None:
            file.phase = Phase.REMOVING
            self._post(file, protocol.remove(file.job.part), lambda _: None)
        elif file.phase is Phase.REMOVING and file.skipped is not None and self._observer is not None:
            self._observer.file_skipped(file.job.name, file.skipped)

    def _renamed(self, file: UploadFile, reply: Reply) -> None:
        if is_missing(reply):
            request = protocol.path_status(file.job.folder, follow=True)
            self._post(file, request, lambda found: self._missed(file, reply, found))
        elif not succeeded(reply):
            self._refuse(file, reply, "rename the finished")
        elif file.job.sync:
            self._folders.sync(file.job.folder, lambda: self._done(file))
        else:
            self._done(file)

    def _missed(self, file: UploadFile, renamed: Reply, folder: Reply) -> None:
        # Servers say the same of a folder that is missing and of one that is a file.
        is_other = isinstance(folder, Attributes) and kind_of(folder) is not EntryKind.FOLDER
        if is_other or is_missing(folder):
            self._refuse(file, renamed, "rename the finished")
        else:
            # Another session, perhaps one of ours that was given up, has taken it away.
            message = f"{self._label}: {file.job.name} vanished while it was written"
            self._fail(file, TransientDestinationError(message))

    def _done(self, file: UploadFile) -> None:
        if self._observer is not None:
            self._observer.file_done(file.job.name, file.sha256)
