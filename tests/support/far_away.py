"""A line to a server on which what costs a round trip can be counted, however fast or slow the machine is.

Bytes are held back, both ways, until both sides have said all that they have to say for now: then each of them
waits for the other, and all that was held back is let through at once.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from replicator.destination.sftp_route import SftpSettings

_QUIET_SECONDS = 0.02
_MOST_BYTES = 1 << 20


class FarAwayServer:
    """Listens on `port` and leads to a server on this machine. `round_trips` has a number for each connection."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.round_trips: list[int] = []
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, name="far-away", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def settings(self, direct: SftpSettings, known_hosts: Path) -> SftpSettings:
        """Return how to log in by way of here; the server's key is written to the new file `known_hosts`."""
        assert direct.known_hosts
        known_hosts.write_text(direct.known_hosts.read_text().replace(str(self._server_port), str(self.port)))
        return replace(direct, port=self.port, known_hosts=known_hosts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # the other side has hung up already
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server_port))
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = len(self.round_trips)
            self.round_trips.append(0)
            self._sockets += near, far
            name = f"far-away-{number}"
            thread = threading.Thread(target=self._carry, args=(number, near, far), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, number: int, near: socket.socket, far: socket.socket) -> None:
        held = {near: b"", far: b""}
        other = {near: far, far: near}
        while True:
            ready, _, _ = select.select([near, far], [], [], _QUIET_SECONDS if any(held.values()) else None)
            for sock in ready:
                try:
                    data = sock.recv(_MOST_BYTES)
                except OSError:
                    data = b""
                if not data:
                    for end in other:
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    return
                held[sock] += data
            if not ready:
                self.round_trips[number] += bool(held[far])
                for sock, data in held.items():
                    held[sock] = b""
                    other[sock].sendall(data)
