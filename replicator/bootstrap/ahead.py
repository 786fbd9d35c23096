"""Connections of mirrors that are made while the rest of the program is loaded: most of a login is waiting.

Only for a single pass that begins with its mirrors, and only where that would connect first thing anyway.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from replicator.bootstrap.destinations import connect
from replicator.locator import SftpUrl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from replicator.config.model import Config, DestinationConfig
    from replicator.destination.interface import Destination


class ConnectionsAhead:
    """Connections under way, for whoever asks for one first. At the end of the context the others are closed."""

    def __init__(self) -> None:
        self._under_way: dict[str, list[Future[Destination]]] = {}

    @classmethod
    def of_mirrors(cls, config: Config) -> Self:
        """Begin to connect for each mirror whose source is there."""
        ahead = cls()
        if config.databases:  # which come first, and may take long, or not be ours
            return ahead
        for mirror in config.mirrors:
            if _can_be_read(mirror.path):
                for destination in config.destinations_of(mirror):
                    # A limit is shared by connections that are not made here.
                    if isinstance(destination.url, SftpUrl) and not destination.limit_bytes_per_second:
                        ahead._begin(destination)
        return ahead

    def _begin(self, destination: DestinationConfig) -> None:
        # First what it takes to log in, so that the login waits for nothing but the server; then the rest.
        import replicator.destination.sftp_connection

        under_way: Future[Destination] = Future()
        self._under_way.setdefault(destination.name, []).append(under_way)
        threading.Thread(
            target=_fulfil,
            args=(under_way, lambda: connect(destination.url, config=destination)),
            name=f"connecting to {destination.name}",
            daemon=True,  # nobody waits for it if the pass ends before
        ).start()
        import replicator.destination.sftp  # noqa: F401

    def take(self, name: str) -> Destination | None:
        """Wait for a connection to the destination of that name; None if there is none that nobody has.

        Raises what connecting raised.
        """
        under_way = self._under_way.get(name)
        return under_way.pop().result() if under_way else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for under_way in self._under_way.values():
            while under_way:
                under_way.pop().add_done_callback(_close)


def _fulfil(future: Future[Destination], act: Callable[[], Destination]) -> None:
    try:
        found = act()
    except BaseException as error:  # noqa: BLE001 - it is raised where the connection is asked for
        future.set_exception(error)
    else:
        future.set_result(found)


def _close(ended: Future[Destination]) -> None:
    if ended.exception() is None:
        ended.result().close()


def _can_be_read(folder: Path) -> bool:
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
