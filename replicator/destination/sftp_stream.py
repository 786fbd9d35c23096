"""The bytes of one SFTP session, both ways, and how much the server may send.

An SSH server sends what a client lets it (RFC 4254, section 5.2), and at once: of thousands of small answers
nearly each comes in a packet of its own, which costs both sides more than all else that is done for it. While
nothing is allowed they gather at the server, and come in few packets as soon as it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from replicator.destination.ssh_command import RemoteCommand
from replicator.destination.ssh_library import paramiko
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from typing import Self

    from replicator.destination.sftp_login import SshLine

# What comes in is bounded by what is allowed: of contents, and from far away, so much that it never stops; else as
# much as a server puts together by itself.
_LARGE_WINDOW_BYTES: Final = 8 << 20
_SMALL_WINDOW_BYTES: Final = 32 << 10
#: More than the answers to what is sent before any is let in.
_UNANSWERED_BYTES: Final = 128 << 10
#: Farther away than that, it takes longer to allow more than to take more packets.
_NEAR_SECONDS: Final = 0.003
_FAR_SECONDS: Final = 0.03
_LARGEST_SSH_PACKET_BYTES: Final = 256 << 10
_RECEIVE_BYTES: Final = 4 << 20
#: A type of message, RFC 4254 section 9.
_WINDOW_ADJUST: Final = bytes([93])


class SftpStream:
    """Belongs to one thread, except `close`. Every error of the connection closes it."""

    def __init__(self, line: SshLine, channel: paramiko.Channel) -> None:
        self._line = line
        self._channel = channel
        self._allowed_bytes = _SMALL_WINDOW_BYTES
        self._round_trip_seconds: float | None = None
        channel.in_window_threshold = sys.maxsize  # what is allowed is for `allow` to say

    @classmethod
    def open(cls, line: SshLine, timeout_seconds: float) -> Self:
        """Begin a session on a line that is logged in."""
        with line.translated("open a session"):
            channel = line.transport.open_session(_SMALL_WINDOW_BYTES, _LARGEST_SSH_PACKET_BYTES)
            channel.settimeout(timeout_seconds)
            _ask_for_sftp(line, channel)
        return cls(line, channel)

    @property
    def label(self) -> str:
        """How messages name the server."""
        return self._line.label

    @property
    def server_software(self) -> str:
        """What the SSH server says that it is, such as `SSH-2.0-OpenSSH_9.2p1`."""
        return str(self._line.transport.remote_version)

    @property
    def has_received(self) -> bool:
        """Whether `receive` would not wait."""
        return bool(self._channel.recv_ready())

    def greet(self, data: bytes) -> bytes:
        """Send the first packet, and return what comes first. Raises `ProtocolError` if there is no SFTP."""
        with self._line.translated("begin SFTP"):
            try:
                self._channel.sendall(data)
            except OSError:
                if not (self._channel.closed and self._line.is_alive):
                    raise
                # What was started there has ended already; what it said can be read.
        return self.receive_greeting()

    def receive_greeting(self) -> bytes:
        """Return more of what comes first."""
        with self._line.translated("begin SFTP"):
            data = self._channel.recv(_RECEIVE_BYTES)
            if not data and self._line.is_alive:
                raise _no_sftp(self._line.label)
            if not data:
                raise EOFError
        self._allowed_bytes -= len(data)
        return data

    def send(self, view: memoryview) -> None:
        """Send all of it."""
        with self._line.translated("send"):
            while view:
                if self._allowed_bytes < _UNANSWERED_BYTES // 2 and not self._channel.send_ready():
                    # A server that cannot answer may take nothing either, which must not wait for us.
                    self.allow(_UNANSWERED_BYTES)
                sent = self._channel.send(view)  # type: ignore[arg-type] # takes any bytes
                if sent == 0:
                    raise EOFError
                self._line.guard.progress()
                view = view[sent:]

    @property
    def may_send(self) -> bool:
        """Whether the server may send something, or has sent what was not received yet."""
        return self._allowed_bytes > 0

    @property
    def is_near(self) -> bool:
        """Whether the server is so near that it can be allowed a little at a time; it is until more is known."""
        return self._round_trip_seconds is None or self._round_trip_seconds < _NEAR_SECONDS

    @property
    def is_far(self) -> bool:
        """Whether it is so far away that a busy processor cannot be the reason."""
        return self._round_trip_seconds is not None and self._round_trip_seconds > _FAR_SECONDS

    def note_round_trip(self, seconds: float) -> None:
        """Say how long an answer took that needed no work; the shortest time counts."""
        self._round_trip_seconds = min(self._round_trip_seconds or seconds, seconds)

    def receive(self, *, much: bool) -> bytes:
        """Wait for something, at least a byte; `much` if contents of files are to come."""
        window_bytes = _LARGE_WINDOW_BYTES if much or not self.is_near else _SMALL_WINDOW_BYTES
        self._drop_errors()
        if self._allowed_bytes <= window_bytes // 2:
            self.allow(window_bytes)
        return self._receive()

    def receive_allowed(self, more_bytes: int) -> bytes:
        """Wait for something of what is allowed, or else of so much more."""
        self._drop_errors()
        if self._allowed_bytes <= 0:
            self.allow(more_bytes)
        return self._receive()

    def allow(self, count_bytes: int) -> None:
        """Let the server send so much from now on, if it may not send more already."""
        more_bytes = count_bytes - self._allowed_bytes
        if more_bytes <= 0:
            return
        message = paramiko.Message()
        message.add_byte(_WINDOW_ADJUST)
        message.add_int(self._channel.remote_chanid)
        message.add_int(more_bytes)
        with self._line.translated("receive"):
            # As Channel.recv does it.
            self._line.transport._send_user_message(message)  # type: ignore[attr-defined] # noqa: SLF001
        self._allowed_bytes = count_bytes

    def _drop_errors(self) -> None:
        """Take what came on standard error, such as a greeting: it counts as sent. OpenSSH has none of it."""
        while self._channel.recv_stderr_ready():
            self._allowed_bytes -= len(self._channel.recv_stderr(_RECEIVE_BYTES))

    def _receive(self) -> bytes:
        with self._line.translated("receive"):
            data = self._channel.recv(_RECEIVE_BYTES)
            if not data:
                raise EOFError
        self._allowed_bytes -= len(data)
        return data

    def run(self, command: str) -> RemoteCommand:
        """Begin a command on the same line."""
        return RemoteCommand(self._line, command)

    def close(self) -> None:
        """End the session; may be called from any thread."""
        self._line.close()


def _ask_for_sftp(line: SshLine, channel: paramiko.Channel) -> None:
    try:
        channel.invoke_subsystem("sftp")
    except paramiko.SSHException as error:
        if line.is_alive:  # it refused, rather than hung up
            raise _no_sftp(line.label) from error
        raise


def _no_sftp(label: str) -> ProtocolError:
    return ProtocolError(
        f"{label}: the server lets the user in but offers no SFTP",
        hint="the account needs `Subsystem sftp internal-sftp` or `ForceCommand internal-sftp` in sshd_config",
    )
