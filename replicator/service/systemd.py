"""What systemd wants to hear of a service: `sd_notify(3)`, a datagram of `NAME=VALUE` lines to `NOTIFY_SOCKET`.

The whole protocol is these few lines; the libraries for it are either not maintained or need libsystemd.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG_PERIOD: Final = "WATCHDOG_USEC"
_WATCHDOG_PROCESS: Final = "WATCHDOG_PID"
#: A manager that takes nothing for this long is not waited for.
_PATIENCE_SECONDS: Final = 1.0

_log = structlog.get_logger()


class ServiceManager:
    """Tells whoever started this process; if that is no systemd, or it cannot be reached, nothing happens."""

    def __init__(self, address: str = "", *, watchdog_seconds: float | None = None) -> None:
        """`address` is a path, or a name in the abstract namespace after an `@`; empty for nobody.

        After `watchdog_seconds` without `alive` this process is killed.
        """
        # "\0" is how the kernel writes what systemd writes as "@".
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds
        self._has_warned = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """Return who is to be told; programs that we start do not inherit that."""
        address = environment.pop(_SOCKET, "")
        period = environment.pop(_WATCHDOG_PERIOD, "")
        process = environment.pop(_WATCHDOG_PROCESS, "") or str(os.getpid())
        is_watched = period.isdecimal() and int(period) > 0 and process == str(os.getpid())
        return cls(address, watchdog_seconds=int(period) / 1e6 if is_watched else None)

    @property
    def is_there(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the service is up, or that it has reloaded its configuration."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read anew; `ready` ends that."""
        # With the time, systemd knows that this answers its own signal (Type=notify-reload).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Say in one line how the service fares."""
        self._send(f"STATUS={line}")

    def alive(self) -> None:
        """Say that the service does its work."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE_SECONDS)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("systemd.unreachable", error=str(error))
