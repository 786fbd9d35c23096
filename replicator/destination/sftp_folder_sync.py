"""Bring the names of finished files to disk: one sync of a folder for all that got their names by then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.sftp_replies import Handle

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_replies import Reply


@dataclass(slots=True)
class _Folder:
    """A folder, and what to call after its next sync."""

    handle: bytes | None = None
    busy: bool = True
    waiting: list[Callable[[], None]] = field(default_factory=list)


class FolderSync:
    """Syncs folders in the background of a transfer.

    Where the server cannot do that, what is to follow a sync follows at once: there is no more to be had. The
    protocol's draft knows no open folders; OpenSSH opens one like a file, and such a handle can be synced.
    """

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._can_sync = protocol.FSYNC in connection.extensions
        self._folders: dict[bytes, _Folder] = {}

    def sync(self, path: bytes, then: Callable[[], None]) -> None:
        """Call `then` after a sync of the folder that began after this call."""
        if not self._can_sync:
            then()
        elif path in self._folders:
            folder = self._folders[path]
            folder.waiting.append(then)
            if not folder.busy:
                self._begin(folder)
        else:
            self._open(path, then)

    def close(self) -> None:
        """Close the folders; nothing may be waiting any more."""
        handles = [folder.handle for folder in self._folders.values() if folder.handle is not None]
        self._folders.clear()
        self._connection.call_all(protocol.close(handle) for handle in handles)

    def _open(self, path: bytes, then: Callable[[], None]) -> None:
        folder = self._folders[path] = _Folder(waiting=[then])

        def opened(reply: Reply) -> None:
            if isinstance(reply, Handle):
                folder.handle = reply.value
            self._begin(folder)

        self._connection.post(protocol.open_reading(path), opened)

    def _begin(self, folder: _Folder) -> None:
        followers, folder.waiting = folder.waiting, []

        def synced(_: Reply | None) -> None:
            for follow in followers:
                follow()
            folder.busy = False
            if folder.waiting:
                self._begin(folder)

        if folder.handle is None:
            synced(None)
        else:
            folder.busy = True
            self._connection.post(protocol.sync(folder.handle), synced)
