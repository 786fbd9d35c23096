"""A shell at the far end that unpacks tar archives in one folder, one after the other, as they are sent to it."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from replicator.destination.sftp_archive import BLOCK_BYTES, Archive

if TYPE_CHECKING:
    from typing import Self

    from replicator.destination.sftp_archive import Place
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.ssh_command import RemoteCommand

#: No shell takes these for anything but themselves.
_PLAIN_PATH: Final = re.compile(rb"[A-Za-z0-9_./@%+=:,-]+")
# One shell for all archives, for some take long to start. It is told how many blocks each has, so nothing that is
# sent can be taken for a command. To tar an archive that is cut short between two files looks complete: if dd does
# not get through, the shell ends before tar can. The empty line ends what the account's shell may have said.
_SCRIPT: Final = (
    "echo; while read -r count; do"
    f' {{ dd bs={BLOCK_BYTES} count="$count" iflag=fullblock 2>/dev/null || kill $$; }} |'
    " tar -x %s -f - || exit 1;"
    ' echo "unpacked $count"; done'
)
#: How long it may take until it has unpacked an archive in which there is nothing.
_PATIENCE_SECONDS: Final = 5.0
# An archive is as large as takes a moment, and never much: while it is made, the far end is to have something to
# do, and for its end others have to wait.
_FIRST_BYTES: Final = 256 << 10
_LEAST_BYTES: Final = 64 << 10
_MOST_BYTES: Final = 2 << 20
_SHORT_SECONDS: Final = 0.25
_LONG_SECONDS: Final = 1.0


class UnpackingShell:
    """Belongs to the thread of its connection."""

    def __init__(self, command: RemoteCommand, place: Place) -> None:
        self.place = place
        #: How large the next archive is to be.
        self.archive_bytes = _FIRST_BYTES
        self._command = command
        #: What is answered to archives under way, and when they were begun.
        self._expected: deque[tuple[bytes, float]] = deque()

    @classmethod
    def begin(cls, connection: SftpConnection, place: Place) -> Self | None:
        """Return one for that folder; None if the account has no shell, the host no tar, or the like."""
        if _PLAIN_PATH.fullmatch(place.folder) is None:
            return None
        options = "-p" if place.with_owner else "-p -o"
        command = connection.run(f"cd {place.folder.decode()} && exec sh -c '{_SCRIPT % options}'")
        shell = cls(command, place)
        # Better found out now than when much was sent, or by waiting for a shell that waits for a person.
        nothing = Archive(place)
        shell.announce(nothing.close())
        shell.send(b"".join(nothing.pieces))
        return shell if shell.has_unpacked(_PATIENCE_SECONDS) else None

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._command.is_over

    def announce(self, blocks: int) -> None:
        """Begin an archive of so many blocks, which are to be sent next."""
        self._command.send(b"%d\n" % blocks)
        self._expected.append((b"unpacked %d" % blocks, time.monotonic()))

    def send(self, data: bytes) -> None:
        """Send a part of the archive."""
        self._command.send(data)

    def has_unpacked(self, patience_seconds: float | None = None) -> bool:
        """Wait for the oldest archive under way, and say whether all of it is there.

        If not, the shell has ended. With `patience_seconds` it is ended when that takes longer.
        """
        answer, begun_at = self._expected.popleft()
        if not self._command.answers(answer, patience_seconds):
            return False
        seconds = time.monotonic() - begun_at
        if seconds < _SHORT_SECONDS:
            self.archive_bytes = min(2 * self.archive_bytes, _MOST_BYTES)
        elif seconds > _LONG_SECONDS:
            self.archive_bytes = max(self.archive_bytes // 2, _LEAST_BYTES)
        return True

    def close(self) -> None:
        """End it."""
        self._command.close()
