"""A TCP connection that a login does not wait for.

Until a session is open sshd leaves Nagle's algorithm on: a small packet that follows another is held back until
that one was acknowledged. It sends two in a row when it has let somebody in, and Linux, which would rather
acknowledge along with data of its own, waits 40 ms for some: longer than all the rest of a login takes.

Source: tcp(7), TCP_QUICKACK, which does not last and so is set anew each time.
"""

from __future__ import annotations

import socket
from typing import Final

#: More than a login takes. After it acknowledgements are better sent along with data.
PROMPT_BYTES: Final = 64 * 1024


class PromptSocket(socket.socket):
    """Takes over a connection, and acknowledges at once the first `PROMPT_BYTES` that come."""

    def __init__(self, connected: socket.socket) -> None:
        timeout_seconds = connected.gettimeout()
        super().__init__(fileno=connected.detach())
        self.settimeout(timeout_seconds)
        self._prompt_bytes = PROMPT_BYTES

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As that of every socket."""
        data = super().recv(size, flags)
        if self._prompt_bytes > 0:
            self._prompt_bytes -= len(data)
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data
