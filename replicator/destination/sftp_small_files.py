"""Send many small files over an SFTP session with as little ado for each as the protocol allows.

A file takes three stages, of which each needs the answers to the one before:

    create - data, attributes, close - rename

Files go in rounds, and one exchange has the last stage of one round, the second of the next and the first of the
one after that, so that both sides always have something to do. A new folder is created in the first stage and
renamed, with all that is in it, in the last. A file with which anything is not as it should be is left, and its
traces are removed: to find out why, and to tell, is for `sftp_upload`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import BulkObserver, FileAttributes, Owner, SmallFile
from replicator.destination.local_files import SmallFileReader
from replicator.destination.sftp_replies import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_protocol import Request
    from replicator.destination.sftp_replies import PlainAnswer

# All files of a round are open at the server at a time.
_ROUND_FILES: Final = 256
_ROUND_BYTES: Final = 1 << 20
_FOLDER_MODE: Final = 0o700
_UNFINISHED_MODE: Final = 0o600
_OK: Final = int(StatusCode.OK)
_NANOSECONDS: Final = 1_000_000_000
#: Requests of the second stage.
_WHOLE: Final = 3
_CLOSE_ONLY: Final = 1


class SmallFilesObserver(BulkObserver, Protocol):
    """Is told what comes of jobs."""

    def folder_done(self, place: int, left: Sequence[str]) -> None:
        """All files of the job of that `place` are in place, but those that are named in `left`."""


class FolderJob(NamedTuple):
    """A `FolderUpload` in the server's paths; `place` is its place among all."""

    place: int
    source: str
    target: bytes
    part: bytes
    files: tuple[SmallFile, ...]
    owner: Owner | None
    is_new: bool

    @property
    def sent_bytes(self) -> int:
        """How much is to be sent."""
        return sum(file.size_bytes for file in self.files)


class SmallFiles:
    """Carries out jobs; made anew for each batch."""

    def __init__(
        self,
        connection: SftpConnection,
        *,
        observer: SmallFilesObserver,
        limiter: Limit | None = None,
    ) -> None:
        self._connection = connection
        self._observer = observer
        self._limiter = limiter
        self._round_bytes = _ROUND_BYTES if limiter is None else min(_ROUND_BYTES, limiter.chunk_bytes)

    def run(self, jobs: Iterable[FolderJob]) -> None:
        """Carry out all jobs; they are taken from `jobs` shortly before their turn, and none after a stop."""
        try:
            self._run(iter(jobs))
        except BaseException:
            # Answers that are still to come must not reach the next batch.
            self._connection.close()
            raise

    def _run(self, jobs: Iterator[FolderJob]) -> None:
        created: list[_Folder] = []
        written: list[_Folder] = []
        removals: list[Request] = []
        while True:
            new = self._take(jobs)
            if not (new or created or written or removals):
                break
            removals = self._exchange(new, created, written, removals)
            for folder in written:
                self._observer.folder_done(folder.job.place, folder.left())
            created, written = new, created

    def _take(self, jobs: Iterator[FolderJob]) -> list[_Folder]:
        """Return what makes a round."""
        taken: list[_Folder] = []
        files = size_bytes = 0
        while files < _ROUND_FILES and size_bytes < self._round_bytes and not self._observer.stop_requested():
            if (job := next(jobs, None)) is None:
                break
            taken.append(_Folder(job))
            files += len(job.files)
            size_bytes += job.sent_bytes
        return taken

    def _exchange(
        self, new: list[_Folder], created: list[_Folder], written: list[_Folder], removals: list[Request]
    ) -> list[Request]:
        """Take each of them a stage further; return what is to be removed next time."""
        requests = removals.copy()
        for folder in written:
            requests += folder.end()
        sent_bytes = 0
        for folder in created:
            requests += folder.write()
            sent_bytes += folder.sent_bytes
        for folder in new:
            requests += folder.create()
        self._wait_for_limit(sent_bytes)
        answers = iter(self._connection.exchange(requests))
        for _ in removals:  # whatever becomes of it, it is left
            next(answers)
        left_over: list[Request] = []
        for folder in written:
            left_over += folder.take_end(answers)
        for folder in created:
            folder.take_written(answers)
        for folder in new:
            folder.take_created(answers)
        if sent_bytes:
            self._observer.bytes_moved(sent_bytes)
        return left_over

    def _wait_for_limit(self, sent_bytes: int) -> None:
        while self._limiter is not None and sent_bytes > 0:
            step = min(self._limiter.chunk_bytes, sent_bytes)
            self._limiter.acquire(step)
            sent_bytes -= step


class _Folder:
    """A job on its way. Each stage returns requests, and takes as many answers."""

    def __init__(self, job: FolderJob) -> None:
        self.job = job
        self.sent_bytes = 0
        self._names = [os.fsencode(file.name) for file in job.files]
        # Where each file is until it is complete.
        self._parts = [
            b"%b/%b" % (job.part, name) if job.is_new else b"%b-%d" % (job.part, index)
            for index, name in enumerate(self._names)
        ]
        self._handles: list[bytes | None] = []
        #: How many requests the second stage has for each file.
        self._asked: list[int] = []
        self._is_done: list[bool] = []

    def left(self) -> list[str]:
        """Return the names of the files that are not in place."""
        return [file.name for file, done in zip(self.job.files, self._is_done, strict=True) if not done]

    # --- create --------------------------------------------------------------------------------------

    def create(self) -> list[Request]:
        """Return the requests of the first stage."""
        requests = [protocol.create_file(part, _UNFINISHED_MODE) for part in self._parts]
        if self.job.is_new:
            requests.insert(0, protocol.make_folder(self.job.part, _FOLDER_MODE))
        return requests

    def take_created(self, answers: Iterator[PlainAnswer]) -> None:
        """Take the answers to them."""
        if self.job.is_new:
            next(answers)  # where it was refused, so is what is to be in it, or else it is all the same
        for _ in self._parts:
            answer = next(answers)
            self._handles.append(answer if isinstance(answer, bytes) else None)

    # --- data, attributes, close ---------------------------------------------------------------------

    def write(self) -> list[Request]:
        """Return the requests of the second stage."""
        requests: list[Request] = []
        with SmallFileReader(self.job.source) as reader:
            for file, handle in zip(self.job.files, self._handles, strict=True):
                data = None if handle is None else reader.read(file)
                if handle is None:
                    self._asked.append(0)
                    continue
                if data is not None:
                    requests.append(protocol.write(handle, 0, data))
                    requests.append(protocol.set_file_status(handle, self._attributes(file)))
                    self.sent_bytes += len(data)
                requests.append(protocol.close(handle))
                self._asked.append(_CLOSE_ONLY if data is None else _WHOLE)
        return requests

    def _attributes(self, file: SmallFile) -> bytes:
        values = FileAttributes(file.mode, file.modified_ns // _NANOSECONDS, self.job.owner)
        return protocol.all_attributes(values)

    def take_written(self, answers: Iterator[PlainAnswer]) -> None:
        """Take the answers to them."""
        for count in self._asked:
            oks = sum(next(answers) == _OK for _ in range(count))
            self._is_done.append(oks == _WHOLE)
        if self.job.is_new and not all(self._is_done):
            self._is_done = [False] * len(self._is_done)

    # --- rename --------------------------------------------------------------------------------------

    def end(self) -> list[Request]:
        """Return the requests of the last stage."""
        if self.job.is_new:
            if all(self._is_done):
                return [protocol.posix_rename(self.job.part, self.job.target)]
            return self._remove_all()
        return [
            protocol.posix_rename(part, b"%b/%b" % (self.job.target, name)) if done else protocol.remove(part)
            for part, name, done in zip(self._parts, self._names, self._is_done, strict=True)
        ]

    def take_end(self, answers: Iterator[PlainAnswer]) -> list[Request]:
        """Take the answers to them; return what is still to be removed."""
        if self.job.is_new:
            if not all(self._is_done):
                for _ in self._remove_all():
                    next(answers)
            elif next(answers) != _OK:
                self._is_done = [False] * len(self._is_done)
                return self._remove_all()
            return []
        refused = [next(answers) != _OK for _ in self._parts]
        left_over = [
            protocol.remove(part)
            for part, done, refusal in zip(self._parts, self._is_done, refused, strict=True)
            if done and refusal
        ]
        self._is_done = [done and not refusal for done, refusal in zip(self._is_done, refused, strict=True)]
        return left_over

    def _remove_all(self) -> list[Request]:
        removals = [protocol.remove(part) for part in self._parts]
        return [*removals, protocol.remove_folder(self.job.part)]
