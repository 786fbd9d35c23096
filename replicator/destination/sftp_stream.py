"""The bytes of one SFTP session, both ways, and how much the server may send.

An SSH server sends what a client lets it (RFC 4254, section 5.2), and at once: of thousands of small answers
nearly each comes in a packet of its own, which costs both sides more than all else that is done for it. While
nothing is allowed they gather at the server, and come in few packets as soon as it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from replicator.destination.ssh_library import paramiko
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from typing import Self

    from replicator.destination.sftp_login import SshLine

# What comes in is bounded by what is allowed. It begins with little, which is enough for answers without contents.
_FIRST_WINDOW_BYTES: Final = 64 << 10
_LARGEST_WINDOW_BYTES: Final = 8 << 20
_LARGEST_SSH_PACKET_BYTES: Final = 256 << 10
_RECEIVE_BYTES: Final = 4 << 20
#: A type of message, RFC 4254 section 9.
_WINDOW_ADJUST: Final = bytes([93])


class SftpStream:
    """Belongs to one thread, except `close`. Every error of the connection closes it."""

    def __init__(self, line: SshLine, channel: paramiko.Channel) -> None:
        self._line = line
        self._channel = channel
        #: How much it may send at a time as a rule, and until it is told more.
        self._window_bytes = _FIRST_WINDOW_BYTES
        self._allowed_bytes = _FIRST_WINDOW_BYTES
        channel.in_window_threshold = sys.maxsize  # what is allowed is for `allow` to say

    @classmethod
    def open(cls, line: SshLine, timeout_seconds: float) -> Self:
        """Begin a session on a line that is logged in."""
        with line.translated("open a session"):
            channel = line.transport.open_session(_FIRST_WINDOW_BYTES, _LARGEST_SSH_PACKET_BYTES)
            channel.settimeout(timeout_seconds)
            _ask_for_sftp(line, channel)
        return cls(line, channel)

    @property
    def label(self) -> str:
        """How messages name the server."""
        return self._line.label

    @property
    def has_received(self) -> bool:
        """Whether `receive` would not wait."""
        return bool(self._channel.recv_ready())

    def greet(self, data: bytes) -> bytes:
        """Send the first packet, and return what comes first. Raises `ProtocolError` if there is no SFTP."""
        with self._line.translated("begin SFTP"):
            self._channel.sendall(data)
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
                sent = self._channel.send(view)  # type: ignore[arg-type] # takes any bytes
                if sent == 0:
                    raise EOFError
                self._line.guard.progress()
                view = view[sent:]

    def receive(self) -> bytes:
        """Wait for something, at least a byte. The server may send as much as it can."""
        if self._allowed_bytes <= 0:
            self._window_bytes = min(2 * self._window_bytes, _LARGEST_WINDOW_BYTES)
        if self._allowed_bytes <= self._window_bytes // 2:
            self.allow(self._window_bytes)
        return self._receive()

    def receive_allowed(self, more_bytes: int) -> bytes:
        """Wait for something of what is allowed, or else of so much more."""
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

    def _receive(self) -> bytes:
        with self._line.translated("receive"):
            data = self._channel.recv(_RECEIVE_BYTES)
            if not data:
                raise EOFError
        self._allowed_bytes -= len(data)
        return data

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
