"""A process of its own that moves files over an SFTP session of its own, for the process that started it.

Python runs one thread at a time, and encrypting holds it; a second process makes use of a second core. It ends
when its starter does: the pipe between them breaks then. What it is told is in `sftp_helper_messages`.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, cast

from replicator.destination.sftp_connection import SftpConnection
from replicator.destination.sftp_download import Downloader
from replicator.destination.sftp_helper_messages import (
    Begin,
    Ended,
    FromHelper,
    Grant,
    NeedBytes,
    Progress,
    Ready,
    Refused,
    Start,
    Stop,
    Take,
    ToHelper,
    Work,
)
from replicator.destination.sftp_small_files import SmallFiles
from replicator.destination.sftp_unpacking import Unpacking
from replicator.destination.sftp_upload import Uploader
from replicator.destination.shared_batch import Direction
from replicator.errors import ReplicatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from replicator.destination.sftp_download import Fetch
    from replicator.destination.sftp_folder_job import FolderJob
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_route import SftpSettings
    from replicator.errors import SourceError

# Each message costs both processes some 50 microseconds.
_TELL_EVERY_SECONDS = 0.02


class _Starter:
    """The process that started this one: gives out work, grants bytes, is told how things go."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._stopped = False
        #: What was asked for and has come.
        self._come: list[ToHelper] = []
        self._moved_bytes = 0
        self._done: list[tuple[PurePosixPath | Path, str]] = []
        self._skipped: list[tuple[PurePosixPath, SourceError]] = []
        self._folders: list[tuple[int, Sequence[str]]] = []
        self._told_at = 0.0

    def wait_for_batch(self) -> Direction:
        """Return which way the next batch goes. Raises `EOFError` when there is none to come."""
        while not isinstance(message := self._pipe.recv(), Begin):
            pass  # a stop that came too late, or work that nobody waited for
        self._stopped = False
        self._come.clear()
        return message.direction

    def items(self) -> Iterator[Job | Fetch | FolderJob]:
        """Ask for work until there is none."""
        while work := cast("Work", self._ask(Take(), Work)).items:
            yield from work

    def items_ahead(self) -> Iterator[Job | Fetch | FolderJob]:
        """Ask for more whenever there is something to do: for what is done so fast that asking takes longer."""
        work = cast("Work", self._ask(Take(), Work)).items
        while work:
            self._send(Take())
            yield from work
            work = cast("Work", self._wait_for(Work)).items

    def end(self, error: ReplicatorError | None) -> None:
        """Tell that the batch is over."""
        self._tell()
        self._send(Ended(error))

    # --- as an observer and a limiter ----------------------------------------------------------------

    def bytes_moved(self, count: int) -> None:
        """Tell it, soon."""
        self._moved_bytes += count
        self._tell_soon()

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """Tell it, soon."""
        self._done.append((target, sha256))
        self._tell_soon()

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """Tell it, soon."""
        self._skipped.append((target, error))
        self._tell_soon()

    def folder_done(self, place: int, left: Sequence[str]) -> None:
        """Tell it, soon."""
        self._folders.append((place, left))
        self._tell_soon()

    def stop_requested(self) -> bool:
        """Whether a stop has come."""
        while not self._stopped and self._pipe.poll():
            self._receive()
        return self._stopped

    def acquire(self, count_bytes: int) -> None:
        """Wait until so many bytes may be moved."""
        self._ask(NeedBytes(count_bytes), Grant)

    # --- parts ---------------------------------------------------------------------------------------

    def _ask(self, question: FromHelper, kind: type[ToHelper]) -> ToHelper:
        self._tell()
        self._send(question)
        return self._wait_for(kind)

    def _wait_for(self, kind: type[ToHelper]) -> ToHelper:
        while True:
            for message in self._come:
                if isinstance(message, kind):
                    self._come.remove(message)
                    return message
            self._receive()

    def _receive(self) -> None:
        message: ToHelper = self._pipe.recv()
        if isinstance(message, Stop):
            self._stopped = True
        else:
            self._come.append(message)

    def _tell_soon(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_SECONDS:
            self._told_at = now
            self._tell()

    def _tell(self) -> None:
        if self._moved_bytes or self._done or self._skipped or self._folders:
            done, skipped, folders = tuple(self._done), tuple(self._skipped), tuple(self._folders)
            self._send(Progress(self._moved_bytes, done, skipped, folders))
            self._moved_bytes = 0
            self._done.clear()
            self._skipped.clear()
            self._folders.clear()

    def _send(self, message: FromHelper) -> None:
        self._pipe.send(message)


class _GrantedBytes:
    """Implements `Limit`: asks the starter, who has the one limiter of all connections."""

    def __init__(self, starter: _Starter, chunk_bytes: int) -> None:
        self._starter = starter
        self.chunk_bytes = chunk_bytes

    def acquire(self, count_bytes: int) -> None:
        """Wait until so many bytes may be moved."""
        self._starter.acquire(count_bytes)


def help_with_transfers(pipe: Connection) -> None:
    """Log in and carry out batches until the pipe breaks."""
    start: Start = pipe.recv()
    try:
        connection = SftpConnection.open(start.settings)
    except ReplicatorError as error:
        pipe.send(Refused(error))
        return
    pipe.send(Ready())
    starter = _Starter(pipe)
    limiter = None if start.grant_bytes is None else _GrantedBytes(starter, start.grant_bytes)
    batches = _Batches(connection, start.settings, starter, limiter)
    while True:
        direction = starter.wait_for_batch()
        try:
            batches.carry_out(direction)
        except ReplicatorError as error:
            starter.end(error)
        else:
            starter.end(None)


class _Batches:
    """Does what can be got of one batch after the other."""

    def __init__(
        self,
        connection: SftpConnection,
        settings: SftpSettings,
        starter: _Starter,
        limiter: _GrantedBytes | None,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._starter = starter
        self._limiter = limiter
        self._unpacking = Unpacking(connection)

    def carry_out(self, direction: Direction) -> None:
        """Do one."""
        if direction is Direction.UPLOAD:
            self._upload()
        elif direction is Direction.UPLOAD_FOLDERS:
            self._upload_folders()
        else:
            self._download()

    def _upload(self) -> None:
        label, base = self._settings.label, str(self._settings.base).encode("utf-8", "surrogateescape")
        starter, limiter = self._starter, self._limiter
        uploader = Uploader(self._connection, label=label, base=base, limiter=limiter, observer=starter)
        uploader.run(cast("Iterator[Job]", starter.items()))

    def _upload_folders(self) -> None:
        starter, limiter = self._starter, self._limiter
        jobs = cast("Iterator[FolderJob]", starter.items_ahead())
        rest = self._unpacking.send(jobs, observer=starter, limiter=limiter)
        SmallFiles(self._connection, limiter=limiter, observer=starter).run(rest)

    def _download(self) -> None:
        starter, label = self._starter, self._settings.label
        downloader = Downloader(self._connection, label=label, limiter=self._limiter, observer=starter)
        downloader.run(cast("Iterator[Fetch]", starter.items()))


def main(descriptor: int) -> None:
    """Help over the socket `descriptor`. Signals to a whole group of processes are for the starter."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with Connection(descriptor) as pipe, suppress(EOFError, ConnectionError):
        help_with_transfers(pipe)


if __name__ == "__main__":
    main(int(sys.argv[1]))
