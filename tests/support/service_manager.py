"""What systemd would hear of a service: a socket of its own to be notified at."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_WAIT_SECONDS = 60.0
_LIMIT_BYTES = 1 << 16


class NotifySocket:
    """A datagram socket at a path; what comes is kept in the order of its coming."""

    def __init__(self, folder: Path) -> None:
        # The path of such a socket has hardly more than 100 bytes: that of a test's folder may have more.
        self.address = f"@replicator-test-{folder.name}-{id(self)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address[1:]}")
        self._came: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen)

    def environment(self, *, watchdog_seconds: float | None = None) -> dict[str, str]:
        """Return what a service manager sets."""
        watchdog = {} if watchdog_seconds is None else {"WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))}
        return {"NOTIFY_SOCKET": self.address, **watchdog}

    def messages(self, name: str) -> list[dict[str, str]]:
        """Return those so far that have a line of that name."""
        with self._changed:
            return [message for message in self._came if name in message]

    def wait_for(self, name: str, *, times: int = 1, containing: str = "") -> dict[str, str]:
        """Wait until that many have such a line with that in its value; return the last of them."""
        deadline = time.monotonic() + _WAIT_SECONDS
        with self._changed:
            while True:
                found = [
                    message for message in self._came if containing in message.get(name, "") and name in message
                ]
                if len(found) >= times:
                    return found[-1]
                left_seconds = deadline - time.monotonic()
                assert left_seconds > 0, f"{len(found)} times {name} {containing}: {self._came}"
                self._changed.wait(left_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while content := self._socket.recv(_LIMIT_BYTES):
            message = dict(line.split("=", 1) for line in content.decode().splitlines())
            with self._changed:
                self._came.append(message)
                self._changed.notify_all()
