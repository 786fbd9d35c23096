"""A command at the far end, beside the SFTP session of the same connection. It takes bytes and answers lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from replicator.destination.ssh_library import paramiko

if TYPE_CHECKING:
    from replicator.destination.sftp_login import SshLine

_RECEIVE_BYTES: Final = 64 << 10
#: A timeout of nothing would be none at all.
_LEAST_SECONDS: Final = 0.001


class RemoteCommand:
    """Belongs to the thread of its connection. That it ends, or cannot begin, is no error of the connection."""

    def __init__(self, line: SshLine, command: str) -> None:
        """Begin it; one that is refused is over at once."""
        self._line = line
        self._channel: paramiko.Channel | None = None
        self._said = b""
        with line.translated("run a command"):
            try:
                self._channel = line.transport.open_session()
                self._channel.settimeout(line.guard.timeout_seconds)
                self._channel.exec_command(command)
            except paramiko.SSHException:
                self._end()

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._channel is None

    def send(self, data: bytes) -> None:
        """Let it read that; in vain if it has ended."""
        view = memoryview(data)
        with self._line.translated("send to a command"):
            while view and self._channel is not None:
                self._drop_errors()
                try:
                    sent = self._channel.send(view)  # type: ignore[arg-type] # takes any bytes
                except OSError:
                    if not self._channel.closed:
                        raise
                    sent = 0
                if not sent:
                    self._end()
                self._line.guard.progress()
                view = view[sent:]

    def answers(self, line: bytes, patience_seconds: float | None = None) -> bool:
        """Wait until it says that line, whatever it says before; False if it ended instead.

        One that has not said it after `patience_seconds`, if that is given, is ended.
        """
        deadline = None if patience_seconds is None else time.monotonic() + patience_seconds
        while not self._has_said(line):
            if not self._receive(deadline):
                return False
        return True

    def close(self) -> None:
        """Do not wait for its end."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _has_said(self, line: bytes) -> bool:
        while b"\n" in self._said:
            said, _, self._said = self._said.partition(b"\n")
            if said == line:
                return True
        return False

    def _receive(self, deadline: float | None) -> bool:
        with self._line.translated("wait for a command"):
            if self._channel is None:
                return False
            self._drop_errors()
            if deadline is not None:
                self._channel.settimeout(max(deadline - time.monotonic(), _LEAST_SECONDS))
            try:
                data = self._channel.recv(_RECEIVE_BYTES)
            except TimeoutError:
                if deadline is None:
                    raise
                data = b""
            finally:
                self._channel.settimeout(self._line.guard.timeout_seconds)
            if not data or (deadline is not None and time.monotonic() > deadline):
                self._end()
                return False
            # Of what is no answer nothing is kept for long.
            self._said = self._said[-_RECEIVE_BYTES:] + data
            return True

    def _drop_errors(self) -> None:
        # They are for people. Unread, they would stop the command in the end.
        while self._channel is not None and self._channel.recv_stderr_ready():
            self._channel.recv_stderr(_RECEIVE_BYTES)

    def _end(self) -> None:
        self.close()
        if not self._line.is_alive:
            raise EOFError
