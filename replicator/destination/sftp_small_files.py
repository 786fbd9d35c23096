"""Send many small files over an SFTP session with as little ado for each as the protocol allows.

A file takes three stages, of which each needs the answers to the one before:

    create - data, attributes, close - rename

Files go in rounds. A lane has the last stage of one round, the second of the next and the first of the one after
that in one run of requests; while the server works on one lane's, the next lane's is made, so that both sides
always have something to do. A new folder is created in the first stage and
renamed, with all that is in it, in the last. A file with which anything is not as it should be is left, and its
traces are removed: to find out why, and to tell, is for `sftp_upload`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import BulkObserver, storable_seconds
from replicator.destination.local_files import SmallFileReader
from replicator.destination.rate_limit import acquire_in_steps
from replicator.destination.sftp_folder_job import Answers, Folder
from replicator.destination.sftp_replies import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_folder_job import FolderJob
    from replicator.destination.sftp_packets import PacketRun, PlainAnswer
    from replicator.destination.sftp_protocol import Request

_ROUND_FILES: Final = 64
_LANES: Final = 8
# What is begun and not closed yet, in all lanes: a server may have a thousand files open, and OpenSSH's takes ever
# longer to read what it has not got round to.
_MOST_OPEN_FILES: Final = 512
_MOST_OPEN_BYTES: Final = 1 << 20
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
        self._runs = connection.runs
        self._observer = observer
        self._limiter = limiter
        self._most_open_bytes = _MOST_OPEN_BYTES if limiter is None else min(_MOST_OPEN_BYTES, limiter.chunk_bytes)
        self._open_files = self._open_bytes = 0

    def run(self, jobs: Iterable[FolderJob]) -> None:
        """Carry out all jobs; they are taken from `jobs` shortly before their turn, and none after a stop."""
        with self._connection.closed_if_broken_off():
            self._connection.receive_all()
            self._run(iter(jobs))

    def _run(self, jobs: Iterator[FolderJob]) -> None:
        lanes = deque(_Lane() for _ in range(_LANES))
        while lanes:
            lane = lanes.popleft()
            if lane.run is not None:
                lane.take(self._runs.answers_to(lane.run))
                for folder in lane.closed:
                    self._open_files -= len(folder.job.files)
                    self._open_bytes -= folder.job.size_bytes
                for folder in lane.over:
                    self._observer.folder_done(folder.job.place, folder.left())
            if self._send_next(lane, jobs):
                lanes.append(lane)

    def _send_next(self, lane: _Lane, jobs: Iterator[FolderJob]) -> bool:
        """Take each round of the lane a stage further; False if there is nothing more to do in it."""
        may_take = self._may_take()
        new = self._take(jobs)
        lane.run = run = self._runs.begin()
        sent_bytes = lane.go_on(run, new)
        if not run:
            lane.run = None
            return not may_take  # the others have enough to do for now
        acquire_in_steps(self._limiter, sent_bytes)
        self._runs.send(run)
        if sent_bytes:
            self._observer.bytes_moved(sent_bytes)
        return True

    def _take(self, jobs: Iterator[FolderJob]) -> list[_CreatedFolder]:
        """Return what makes a round."""
        taken: list[_CreatedFolder] = []
        files = 0
        while files < _ROUND_FILES and self._may_take() and not self._observer.stop_requested():
            if (job := next(jobs, None)) is None:
                break
            taken.append(_CreatedFolder(job))
            files += len(job.files)
            self._open_files += len(job.files)
            self._open_bytes += job.size_bytes
        return taken

    def _may_take(self) -> bool:
        """Whether more may be begun."""
        return self._open_files < _MOST_OPEN_FILES and self._open_bytes < self._most_open_bytes


class _Lane:
    """Three rounds, one in each stage."""

    def __init__(self) -> None:
        #: What is on its way to the server.
        self.run: PacketRun | None = None
        #: Folders whose files were closed, and those of which all is done, by the last answers.
        self.closed: list[_CreatedFolder] = []
        self.over: list[_CreatedFolder] = []
        self._created: list[_CreatedFolder] = []
        self._written: list[_CreatedFolder] = []
        self._renamed: list[_CreatedFolder] = []
        self._removals: list[Request] = []

    def go_on(self, run: PacketRun, new: list[_CreatedFolder]) -> int:
        """Put the next stage of each round into `run`; return how many bytes of files that sends."""
        for request in self._removals:
            run.add(request)
        for folder in self._written:
            folder.put_in_place(run)
        sent_bytes = sum(folder.write(run) for folder in self._created)
        for folder in new:
            folder.create(run)
        self._renamed, self._written, self._created = self._written, self._created, new
        return sent_bytes

    def take(self, found: list[PlainAnswer]) -> None:
        """Take the answers."""
        answers = Answers(found)
        answers.next(len(self._removals))  # whatever became of it, it is left
        self._removals = []
        for folder in self._renamed:
            self._removals += folder.take_put_in_place(answers)
        for folder in self._written:
            folder.take_written(answers)
        for folder in self._created:
            folder.take_created(answers)
        self.over, self._renamed = self._renamed, []
        self.closed = self._written


class _CreatedFolder(Folder):
    """A job whose files are created, filled and closed one by one, but all at the same time."""

    def __init__(self, job: FolderJob) -> None:
        super().__init__(job)
        self._handles: list[PlainAnswer] = []
        #: How many requests the second stage has for each file.
        self._asked: list[int] = []

    # --- create --------------------------------------------------------------------------------------

    def create(self, run: PacketRun) -> None:
        """Add the requests of the first stage."""
        if self.job.is_new:
            run.add(protocol.make_folder(self.job.part, _FOLDER_MODE))
        for part in self.parts:
            run.add(protocol.create_file(part, _UNFINISHED_MODE))

    def take_created(self, answers: Answers) -> None:
        """Take the answers to them."""
        if self.job.is_new:
            answers.next(1)  # where it was refused, so is what is to be in it, or else it is all the same
        self._handles = answers.next(len(self.parts))

    # --- data, attributes, close ---------------------------------------------------------------------

    def write(self, run: PacketRun) -> int:
        """Add the requests of the second stage; return how many bytes of files they carry."""
        sent_bytes = 0
        owner = self.job.owner
        with SmallFileReader(self.job.source) as reader:
            for (name, size_bytes, mode, modified_ns, inode), handle in zip(
                self.job.files, self._handles, strict=True
            ):
                if not isinstance(handle, bytes):
                    self._asked.append(0)
                    continue
                data = reader.read(name, size_bytes, modified_ns, inode)
                if data is None:
                    run.add(protocol.close(handle))
                    self._asked.append(_CLOSE_ONLY)
                    continue
                seconds = storable_seconds(modified_ns // _NANOSECONDS)
                run.fill(handle, data, protocol.mode_time_and_owner(mode, seconds, owner))
                self._asked.append(_WHOLE)
                sent_bytes += len(data)
        if self.job.attributes is not None:  # by now nothing is added to the folder any more
            run.add(protocol.set_path_status(self.job.part, protocol.all_attributes(self.job.attributes)))
        return sent_bytes

    def take_written(self, answers: Answers) -> None:
        """Take the answers to them."""
        count = sum(self._asked)
        found = answers.next(count)
        if count == _WHOLE * len(self._asked) and found.count(_OK) == count:
            self.is_done = [True] * len(self._asked)
        else:
            each = Answers(found)
            self.is_done = [each.next(asked).count(_OK) == _WHOLE for asked in self._asked]
        is_set = self.job.attributes is None or answers.next_is_ok()
        if self.job.is_new and not (is_set and all(self.is_done)):
            self.is_done = [False] * len(self.is_done)
