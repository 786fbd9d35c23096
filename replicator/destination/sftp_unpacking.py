"""Send small files as tar archives that the far end unpacks, where the account has a shell and the host has tar.

That costs both sides a third of what the requests of SFTP cost. Nothing depends on it: an account may be for SFTP
alone. Archives are unpacked aside, in a folder that was made over SFTP and has a random name, so that it is no
other one where the shell sees other folders than SFTP does. Whatever is wrong, be it the shell or the disk, what
came is removed, and all is sent over SFTP, which tells the reason.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final

from replicator.destination.rate_limit import acquire_in_steps
from replicator.destination.sftp_archive import BLOCK_BYTES, LAST_MEMBER, Archive, Place
from replicator.destination.sftp_folder_job import Answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_folder_job import Folder, FolderJob
    from replicator.destination.sftp_packets import PacketRun
    from replicator.destination.sftp_protocol import Request
    from replicator.destination.sftp_small_files import SmallFilesObserver
    from replicator.destination.ssh_command import RemoteCommand

#: No shell takes these for anything but themselves.
_PLAIN_PATH: Final = re.compile(rb"[A-Za-z0-9_./@%+=:,-]+")
# One shell for all archives, for some take long to start. It is told how many blocks each has: nothing that is sent
# can be taken for a command. An archive that is cut short between two members looks complete to tar, so the last
# member must be there.
_SCRIPT: Final = (
    f'while read -r count; do dd bs={BLOCK_BYTES} count="$count" iflag=fullblock 2>/dev/null | tar -x %s -f -'
    f' && rm {LAST_MEMBER.decode()} || exit 1; echo "unpacked $count"; done'
)
#: How long a shell may take until it has unpacked the first archive, in which there is nothing.
_PATIENCE_SECONDS: Final = 5.0
#: The size of archives, and where there is a limit, the tenths of a second they may take.
_ARCHIVE_BYTES: Final = 2 << 20
_ARCHIVE_STEPS: Final = 10
#: Requests in one run.
_RUN_REQUESTS: Final = 1_000


class Unpacking:
    """The far end's tar, by way of one connection. Once it failed it is not tried again."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._works = True
        self._place: Place | None = None
        self._shell: RemoteCommand | None = None

    def send(
        self, jobs: Iterable[FolderJob], *, observer: SmallFilesObserver, limiter: Limit | None
    ) -> Iterable[FolderJob]:
        """Carry out jobs; return those that are left for another way, with all that were not begun."""
        waiting = iter(jobs)
        if not self._works or (first := next(waiting, None)) is None:
            return waiting
        waiting = chain([first], waiting)
        try:
            self._connection.receive_all()
            place = Place.of(first)
            if (shell := self._shell_at(place)) is None:
                return waiting
            batch = _Batch(self._connection, shell, place, observer, limiter)
            left = batch.send(waiting)
        except BaseException:
            # Answers that are still to come must not reach the next batch.
            self._connection.close()
            raise
        self._works = not batch.has_failed
        if shell.is_over:
            self._shell = None
        return chain(left, waiting)

    def _shell_at(self, place: Place) -> RemoteCommand | None:
        """Return what unpacks archives there; None if nothing does."""
        if self._shell is not None:
            if place == self._place:
                return self._shell
            self._shell.close()
        if _PLAIN_PATH.fullmatch(place.folder) is None:
            return None
        options = "-p" if place.with_owner else "-p -o"
        shell = self._connection.run(f"cd {place.folder.decode()} && exec sh -c '{_SCRIPT % options}'")
        # Better found out now than when much was sent, or by waiting for a shell that waits for a person.
        nothing = Archive(place)
        answer = _announce(nothing, shell)
        shell.send(b"".join(nothing.pieces))
        if not shell.answers(answer, _PATIENCE_SECONDS):
            self._works = False
            return None
        self._place, self._shell = place, shell
        return shell


class _Batch:
    """Archives that follow each other: while one is unpacked, the next one is made."""

    def __init__(
        self,
        connection: SftpConnection,
        shell: RemoteCommand,
        place: Place,
        observer: SmallFilesObserver,
        limiter: Limit | None,
    ) -> None:
        self._shell = shell
        self._place = place
        self._observer = observer
        self._limiter = limiter
        self._placing = _Placing(connection, observer)
        self._under_way: deque[tuple[Archive, bytes]] = deque()
        self._has_stopped = False
        #: Whether something that was sent could not be unpacked.
        self.has_failed = False

    def send(self, jobs: Iterator[FolderJob]) -> list[FolderJob]:
        """Carry out jobs until there are no more, or it cannot go on; return those that are left."""
        enough_bytes = _ARCHIVE_BYTES
        if self._limiter is not None:
            enough_bytes = min(enough_bytes, _ARCHIVE_STEPS * self._limiter.chunk_bytes)
        left: list[FolderJob] = []
        while not self._shell.is_over and not self._observer.stop_requested():
            archive = Archive(self._place)
            left += archive.fill(jobs, enough_bytes)
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
        self._under_way.append((archive, _announce(archive, self._shell)))
        share = archive.file_bytes / archive.size_bytes
        for piece in archive.pieces:
            if self._observer.stop_requested():
                self._has_stopped = True
                self._shell.close()
                break
            acquire_in_steps(self._limiter, len(piece))
            self._shell.send(piece)
            self._observer.bytes_moved(round(share * len(piece)))
        archive.pieces.clear()

    def _finish(self) -> list[FolderJob]:
        """Put what is in the oldest archive in its place; return the jobs of which nothing is there."""
        archive, answer = self._under_way.popleft()
        is_unpacked = self._shell.answers(answer)
        for folder in archive.folders:
            if not is_unpacked or (folder.job.is_new and not all(folder.is_done)):
                folder.is_done = [False] * len(folder.is_done)
        self._placing.begin(archive.folders, tells=is_unpacked)
        if is_unpacked:
            return []
        self.has_failed = not self._has_stopped
        return [folder.job for folder in archive.folders]


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


def _announce(archive: Archive, shell: RemoteCommand) -> bytes:
    """Say that this comes next; return what is answered to it."""
    blocks = archive.close()
    shell.send(b"%d\n" % blocks)
    return b"unpacked %d" % blocks
