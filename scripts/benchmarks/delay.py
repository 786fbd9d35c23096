"""A TCP proxy that makes a server seem far away: each byte arrives half a round trip after it was sent.

Neither bandwidth nor loss is simulated, and nothing is held back: what is under way is limited by the windows of
those who talk. A process of its own, `python delay.py PORT ROUND_TRIP_SECONDS`, prints the port that it listens on
and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Direction(asyncio.Protocol):
    """Passes on what comes in, later, and in order. None stands for the end."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.other: _Direction | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def data_received(self, data: bytes | None) -> None:
        self._under_way.append((self._loop.time() + self._delay_seconds, data))
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        self.data_received(None)

    def _arm(self) -> None:
        if self._timer is None and self._under_way:
            self._timer = self._loop.call_at(self._under_way[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        assert self.other
        assert self.other.transport
        now = self._loop.time()
        while self._under_way and self._under_way[0][0] <= now:
            _, data = self._under_way.popleft()
            if data is None:
                self.other.transport.close()
            else:
                self.other.transport.write(data)
        self._arm()


async def _serve(port: int, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    async def join(near: _Direction) -> None:
        far = _Direction(delay_seconds)
        near.other, far.other = far, near
        await loop.create_connection(lambda: far, "127.0.0.1", port)
        assert near.transport
        near.transport.resume_reading()

    class _Near(_Direction):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport
            self.transport.pause_reading()
            task = loop.create_task(join(self))
            joining.add(task)
            task.add_done_callback(joining.discard)

    server = await loop.create_server(lambda: _Near(delay_seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def distant_port(port: int, round_trip_seconds: float) -> Iterator[int]:
    """Run a proxy to `port`; give the port of the proxy."""
    command = [sys.executable, str(Path(__file__)), str(port), str(round_trip_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout
        yield int(proxy.stdout.readline())
        # Leaving the context closes its standard input, which ends it.


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 2))
