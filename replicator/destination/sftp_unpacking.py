"""Send small files as tar archives that the far end unpacks, where the account has a shell and the host has tar.

That costs both sides half of what the requests of SFTP cost. Nothing depends on it: an account may be for SFTP
alone. Archives are unpacked aside, in a folder that was made over SFTP and has a random name, so that it is no
other one where the shell sees other folders than SFTP does. Whatever is wrong, be it the shell or the disk, what
came is removed, and all is sent over SFTP, which tells the reason.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final

from replicator.destination.rate_limit import acquire_in_steps
from replicator.destination.sftp_archive import Archive, Place
from replicator.destination.sftp_folder_job import Answers
from replicator.destination.unpacking_shell import UnpackingShell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_folder_job import Folder, FolderJob
    from replicator.destination.sftp_packets import PacketRun
    from replicator.destination.sftp_protocol import Request
    from replicator.destination.sftp_small_files import SmallFilesObserver

#: Requests in one run.
_RUN_REQUESTS: Final = 1_000


class Unpacking:
    """The far end's tar, by way of one connection. Once it failed it is not tried again."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._works = True
        self._shell: UnpackingShell | None = None

    def send(
        self, jobs: Iterable[FolderJob], *, observer: SmallFilesObserver, limiter: Limit | None
    ) -> Iterable[FolderJob]:
        """Carry out jobs; return those that are left for another way, with all that were not begun."""
        waiting = iter(jobs)
        if not self._works or (first := next(waiting, None)) is None:
            return waiting
        waiting = chain([first], waiting)
        with self._connection.closed_if_broken_off():
            self._connection.receive_all()
            shell = self._shell_at(Place.of(first))
            if shell is None:
                return waiting
            left = _Batch(self._connection, shell, observer, limiter).send(waiting)
        self._works = not shell.is_over
        return chain(left, waiting)

    def _shell_at(self, place: Place) -> UnpackingShell | None:
        """Return what unpacks archives there; None if nothing does."""
        if self._shell is None or self._shell.place != place:
            if self._shell is not None:
                self._shell.close()
            self._shell = UnpackingShell.begin(self._connection, place)
            self._works = self._shell is not None
        return self._shell


class _Batch:
    """Archives that follow each other: while one is unpacked, the next one is made."""

    def __init__(
        self,
        connection: SftpConnection,
        shell: UnpackingShell,
        observer: SmallFilesObserver,
        limiter: Limit | None,
    ) -> None:
        self._shell = shell
        self._observer = observer
        self._limiter = limiter
        self._placing = _Placing(connection, observer)
        self._under_way: deque[Archive] = deque()

    def send(self, jobs: Iterator[FolderJob]) -> list[FolderJob]:
        """Carry out jobs until there are no more, or it cannot go on; return those that are left."""
        left: list[FolderJob] = []
        while not self._shell.is_over and not self._observer.stop_requested():
            archive = Archive(self._shell.place)
            left += archive.fill(jobs, self._shell.archive_bytes)
            if not archive.folders:
                break
            self._send(archive)
            if len(self._under_way) > 1:
                left += self._finish()
        while self._under_way:
            left += self._finish()
        self._placing.end()
        return left

    def _send(self, archive: Archive) -> None:
        self._shell.announce(archive.close())
        for piece in archive.pieces:
            acquire_in_steps(self._limiter, len(piece))
            self._shell.send(piece)
        archive.pieces.clear()
        self._observer.bytes_moved(archive.file_bytes)
        self._under_way.append(archive)

    def _finish(self) -> list[FolderJob]:
        """Put what is in the oldest archive in its place; return the jobs of which nothing is there."""
        archive = self._under_way.popleft()
        folders = archive.folders
        is_unpacked = self._shell.has_unpacked()
        for folder in folders:
            if not is_unpacked or (folder.job.is_new and not all(folder.is_done)):
                folder.is_done = [False] * len(folder.is_done)
        self._placing.begin(folders, tells=is_unpacked)
        return [] if is_unpacked else archive.jobs()


class _Placing:
    """Renames what was unpacked, or removes it. Answers are left to gather while something else is done."""

    def __init__(self, connection: SftpConnection, observer: SmallFilesObserver) -> None:
        self._connection = connection
        self._runs = connection.runs
        self._observer = observer
        self._under_way: tuple[PacketRun, Sequence[Folder], bool] | None = None
        self._removals: list[Request] = []

    def begin(self, folders: Iterable[Folder], *, tells: bool) -> None:
        """Let folders get to their place, and with `tells` tell the observer of it."""
        waiting = deque(folders)
        while waiting:
            self._take_answers()
            run, some = self._runs.begin(), []
            while waiting and len(run) < _RUN_REQUESTS:
                some.append(waiting.popleft())
                some[-1].put_in_place(run)
            self._runs.send(run)
            self._under_way = run, some, tells

    def end(self) -> None:
        """Wait until all are."""
        self._take_answers()
        self._connection.call_all(self._removals)

    def _take_answers(self) -> None:
        if self._under_way is None:
            return
        run, folders, tells = self._under_way
        self._under_way = None
        answers = Answers(self._runs.answers_to(run))
        for folder in folders:
            self._removals += folder.take_put_in_place(answers)
            if tells:
                self._observer.folder_done(folder.job.place, folder.left())
