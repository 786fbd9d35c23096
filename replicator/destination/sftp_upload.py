"""Send files over an SFTP session so that the wire is never idle and no answer goes unread.

Files are created some way ahead of the data; data goes out in the order of the files, one file at a time, so
that a break costs one file; the answers, renames and syncs of the files before are taken care of meanwhile.
The way of a file:

    create NAME.part - (server-side copy of a prefix) - data, sync, close - rename - sync folder - done

A file is created anew and every byte of it is acknowledged, so its size need not be asked for; with a server-side
copy it must be, because the answer to that does not tell how much was copied.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.local_files import SourceFile
from replicator.destination.sftp_account import FILE_MODE, LONGEST_COPY_BYTES
from replicator.destination.sftp_errors import is_missing, is_unexplained, refusal, succeeded
from replicator.destination.sftp_folder_sync import FolderSync
from replicator.destination.sftp_replies import Attributes, ExtendedReply, Handle, Reply, parse_file_system
from replicator.errors import (
    InterruptedTransferError,
    ProtocolError,
    ReplicatorError,
    SourceError,
    TransientDestinationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from replicator.destination.interface import TransferObserver
    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_protocol import Request

# Enough for files of any size: created so far ahead, none waits for its handle, and few are taken from the others
# who work on the same batch.
_CREATED_AHEAD = 128
_CREATED_AHEAD_BYTES = 8 << 20
# So much is left unsynced at a time: no single request may outlast the timeout.
_SYNC_EVERY_BYTES = 256 << 20


class _Phase(Enum):
    OPENING = auto()
    SENDING = auto()
    SENT = auto()
    RENAMING = auto()
    REMOVING = auto()


@dataclass(slots=True)
class _File:
    """How far a job has got. `unanswered` counts the requests that belong to it."""

    job: Job
    phase: _Phase = _Phase.OPENING
    unanswered: int = 0
    handle: bytes | None = None
    prefix_handle: bytes | None = None
    prefix_bytes: int = 0
    size_bytes: int = 0
    stored_bytes: int | None = None
    sha256: str = ""
    failed: bool = False


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
        self._created: deque[_File] = deque()
        self._created_bytes = 0
        self._error: ReplicatorError | None = None

    def run(self, jobs: Iterable[Job]) -> None:
        """Carry out all jobs, in order; they are taken from `jobs` shortly before their turn.

        After an error no further one is begun; those under way are ended.
        """
        try:
            self._run(iter(jobs))
        except BaseException:
            # Answers that are still to come must not reach the next batch.
            self._connection.close()
            raise
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

    def _post(self, file: _File, request: Request, handler: Callable[[Reply], None]) -> None:
        file.unanswered += 1
        self._connection.post(request, partial(self._answered, file, handler))

    def _answered(self, file: _File, handler: Callable[[Reply], None], reply: Reply) -> None:
        handler(reply)
        file.unanswered -= 1
        if file.unanswered == 0:
            self._go_on(file)

    def _check(self, file: _File, action: str, reply: Reply) -> None:
        if not succeeded(reply):
            self._refuse(file, reply, action)

    def _checked(self, file: _File, action: str) -> Callable[[Reply], None]:
        return partial(self._check, file, action)

    def _refuse(self, file: _File, reply: Reply, action: str) -> None:
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

    def _fail(self, file: _File, error: ReplicatorError) -> None:
        file.failed = True
        self._error = self._error or error

    # --- its way -------------------------------------------------------------------------------------

    def _create(self, job: Job) -> _File:
        file = _File(job, prefix_bytes=job.prefix_bytes, size_bytes=job.size_bytes)
        request = protocol.create_file(job.part, FILE_MODE)

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

    def _open_prefix(self, file: _File, prefix: bytes) -> None:
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

    def _send(self, file: _File, jobs: Iterator[Job]) -> None:
        file.phase = _Phase.SENDING
        if not file.failed and file.handle is not None:
            try:
                self._copy_prefix(file, file.handle)
                if file.job.source is not None:
                    with SourceFile(file.job.source, file.size_bytes) as source:
                        source.skip(file.prefix_bytes)
                        self._send_data(file, file.handle, source, jobs)
                        file.sha256 = source.sha256()
            except SourceError as error:
                self._fail(file, error)
        self._end_sending(file)

    def _copy_prefix(self, file: _File, handle: bytes) -> None:
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

    def _send_data(self, file: _File, handle: bytes, source: SourceFile, jobs: Iterator[Job]) -> None:
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
            if unsynced_bytes >= _SYNC_EVERY_BYTES and self._can_sync:
                self._post(file, protocol.sync(handle), self._checked(file, "sync"))
                unsynced_bytes = 0
            self._create_ahead(jobs, source.remaining_bytes)

    def _written(self, file: _File, count_bytes: int, reply: Reply) -> None:
        if not succeeded(reply):
            self._refuse(file, reply, "write")
        if self._observer is not None:
            self._observer.bytes_moved(count_bytes)
        file.unanswered -= 1
        if file.unanswered == 0:
            self._go_on(file)

    def _end_sending(self, file: _File) -> None:
        """Post what closes the file; once all is answered, `_go_on` decides."""
        file.phase = _Phase.SENT
        if file.handle is not None:
            if not file.failed and self._can_sync:
                self._post(file, protocol.sync(file.handle), self._checked(file, "sync"))
            if file.prefix_handle is not None:
                self._post(file, protocol.file_status(file.handle), partial(_measure, file))
            self._post(file, protocol.close(file.handle), self._checked(file, "close"))
        if file.prefix_handle is not None:
            self._post(file, protocol.close(file.prefix_handle), lambda _: None)
        if file.unanswered == 0:
            self._go_on(file)

    def _go_on(self, file: _File) -> None:
        """Take the next step of a file all of whose requests are answered."""
        if file.phase is _Phase.SENT:
            if not file.failed and file.prefix_handle is not None and file.stored_bytes != file.size_bytes:
                sizes = f"{file.stored_bytes} of {file.size_bytes} bytes arrived"
                self._fail(file, ProtocolError(f"{self._label}: cannot write {file.job.name}: {sizes}"))
            if not file.failed:
                file.phase = _Phase.RENAMING
                request = protocol.posix_rename(file.job.part, file.job.target)
                self._post(file, request, partial(self._renamed, file))
                return
        if file.phase in {_Phase.SENT, _Phase.RENAMING} and file.failed and file.handle is not None:
            file.phase = _Phase.REMOVING
            self._post(file, protocol.remove(file.job.part), lambda _: None)

    def _renamed(self, file: _File, reply: Reply) -> None:
        if is_missing(reply):
            # Another session, perhaps one of ours that was given up, has taken it away.
            message = f"{self._label}: {file.job.name} vanished while it was written"
            self._fail(file, TransientDestinationError(message))
        elif not succeeded(reply):
            self._refuse(file, reply, "rename the finished")
        else:
            self._folders.sync(file.job.folder, partial(self._done, file))

    def _done(self, file: _File) -> None:
        if self._observer is not None:
            self._observer.file_done(file.job.name, file.sha256)


def _measure(file: _File, reply: Reply) -> None:
    if isinstance(reply, Attributes):
        file.stored_bytes = reply.size_bytes
