"""Send files over an SFTP session so that the wire is never idle and no answer goes unread.

Files are created some way ahead of the data; data goes out in the order of the files, one file at a time, so
that a break costs one file; the answers, renames and syncs of the files before are taken care of meanwhile.
The way of a file:

    create NAME.part - (server-side copy of a prefix) - data, attributes, sync, size, close - rename - sync - done
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.local_files import SourceFile
from replicator.destination.sftp_account import LONGEST_COPY_BYTES
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
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import FileAttributes, TransferObserver
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_protocol import Request

_CREATED_AHEAD = 32
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
    skipped: SourceError | None = None


class Uploader:
    """Carries out jobs; made anew for each batch."""

    def __init__(
        self,
        connection: SftpConnection,
        *,
        label: str,
        base: bytes,
        limiter: RateLimiter | None = None,
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
        self._error: ReplicatorError | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        """Carry out all jobs, in order. After an error no further one is begun; those under way are ended."""
        try:
            self._run(jobs)
        except BaseException:
            # Answers that are still to come must not reach the next batch.
            self._connection.close()
            raise
        if self._error is not None:
            raise self._error

    def _run(self, jobs: Sequence[Job]) -> None:
        pending = deque(jobs)
        created: deque[_File] = deque()
        while pending or created:
            while pending and len(created) < _CREATED_AHEAD:
                created.append(self._create(pending.popleft()))
            file = created[0]
            if self._observer is not None and self._observer.stop_requested():
                self._error = self._error or InterruptedTransferError(
                    f"{self._label}: stopped before {file.job.name}"
                )
            while file.unanswered:
                self._connection.receive()
            if self._error is not None:
                break
            created.popleft()
            self._send(file)
        for file in created:
            while file.unanswered:
                self._connection.receive()
            file.failed = True
            self._end_sending(file)
        self._connection.receive_all()
        self._folders.close()

    # --- a file's requests ---------------------------------------------------------------------------

    def _answers_to(self, file: _File, handler: Callable[[Reply], None]) -> Callable[[Reply], None]:
        file.unanswered += 1

        def on_reply(reply: Reply) -> None:
            handler(reply)
            file.unanswered -= 1
            if file.unanswered == 0:
                self._go_on(file)

        return on_reply

    def _post(self, file: _File, request: Request, handler: Callable[[Reply], None]) -> None:
        self._connection.post(request, self._answers_to(file, handler))

    def _checked(self, file: _File, action: str) -> Callable[[Reply], None]:
        def check(reply: Reply) -> None:
            if not succeeded(reply):
                self._refuse(file, reply, action)

        return check

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

    def _send(self, file: _File) -> None:
        file.phase = _Phase.SENDING
        if not file.failed and file.handle is not None:
            try:
                self._copy_prefix(file, file.handle)
                if file.job.source is not None:
                    with SourceFile(file.job.source, file.size_bytes, unsettled=file.job.optional) as source:
                        source.skip(file.prefix_bytes)
                        self._send_data(file, file.handle, source)
                        file.sha256 = source.sha256()
                        if file.job.optional:
                            source.check_unchanged()
            except SourceError as error:
                if file.job.optional:
                    file.failed, file.skipped = True, error
                else:
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

    def _send_data(self, file: _File, handle: bytes, source: SourceFile) -> None:
        check = self._checked(file, "write")
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
            on_reply = self._answers_to(file, self._counted(step, check))
            try:
                self._connection.post_write(handle, source.position_bytes, step, source.read_into, on_reply)
            except SourceError:
                file.unanswered -= 1
                raise
            unsynced_bytes += step
            if unsynced_bytes >= _SYNC_EVERY_BYTES and self._can_sync and file.job.sync:
                self._post(file, protocol.sync(handle), self._checked(file, "sync"))
                unsynced_bytes = 0

    def _counted(self, count_bytes: int, check: Callable[[Reply], None]) -> Callable[[Reply], None]:
        def count(reply: Reply) -> None:
            check(reply)
            if self._observer is not None:
                self._observer.bytes_moved(count_bytes)

        return count

    def _end_sending(self, file: _File) -> None:
        """Post what closes the file; once all is answered, `_go_on` decides."""
        file.phase = _Phase.SENT
        if file.handle is not None:
            if not file.failed and file.job.attributes is not None:
                self._set_attributes(file, file.handle, file.job.attributes)
            if not file.failed and self._can_sync and file.job.sync:
                self._post(file, protocol.sync(file.handle), self._checked(file, "sync"))
            self._post(file, protocol.file_status(file.handle), lambda reply: _measure(file, reply))
            self._post(file, protocol.close(file.handle), self._checked(file, "close"))
        if file.prefix_handle is not None:
            self._post(file, protocol.close(file.prefix_handle), lambda _: None)
        if file.unanswered == 0:
            self._go_on(file)

    def _set_attributes(self, file: _File, handle: bytes, attributes: FileAttributes) -> None:
        """Set the owner first: a change of it takes setuid bits away."""
        if attributes.owner is not None:
            owner = protocol.owner_of(attributes.owner.user_id, attributes.owner.group_id)
            # The account may not, perhaps: that is no failure.
            self._post(file, protocol.set_file_status(handle, owner), lambda _: None)
        rest = protocol.mode_and_time(attributes.mode, attributes.stored_seconds)
        self._post(file, protocol.set_file_status(handle, rest), self._checked(file, "set the attributes of"))

    def _go_on(self, file: _File) -> None:
        """Take the next step of a file all of whose requests are answered."""
        if file.phase is _Phase.SENT:
            if not file.failed and file.stored_bytes != file.size_bytes:
                sizes = f"{file.stored_bytes} of {file.size_bytes} bytes arrived"
                self._fail(file, ProtocolError(f"{self._label}: cannot write {file.job.name}: {sizes}"))
            if not file.failed:
                file.phase = _Phase.RENAMING
                request = protocol.posix_rename(file.job.part, file.job.target)
                self._post(file, request, lambda reply: self._renamed(file, reply))
                return
        if file.phase in {_Phase.SENT, _Phase.RENAMING} and file.failed and file.handle is not None:
            file.phase = _Phase.REMOVING
            self._post(file, protocol.remove(file.job.part), lambda _: None)
        elif file.phase is _Phase.REMOVING and file.skipped is not None and self._observer is not None:
            self._observer.file_skipped(file.job.name, file.skipped)

    def _renamed(self, file: _File, reply: Reply) -> None:
        if is_missing(reply):
            request = protocol.path_status(file.job.folder, follow=True)
            self._post(file, request, lambda found: self._missed(file, reply, found))
        elif not succeeded(reply):
            self._refuse(file, reply, "rename the finished")
        elif file.job.sync:
            self._folders.sync(file.job.folder, lambda: self._done(file))
        else:
            self._done(file)

    def _missed(self, file: _File, renamed: Reply, folder: Reply) -> None:
        if is_missing(folder):
            self._refuse(file, renamed, "rename the finished")
        else:
            # Another session, perhaps one of ours that was given up, has taken it away.
            message = f"{self._label}: {file.job.name} vanished while it was written"
            self._fail(file, TransientDestinationError(message))

    def _done(self, file: _File) -> None:
        if self._observer is not None:
            self._observer.file_done(file.job.name, file.sha256)


def _measure(file: _File, reply: Reply) -> None:
    if isinstance(reply, Attributes):
        file.stored_bytes = reply.size_bytes
