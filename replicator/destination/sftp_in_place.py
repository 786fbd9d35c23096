"""Files at an SFTP account that are written where they lie: opening them, and copying parts between them.

Appends, which keep files open from call to call, are in `sftp_append`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import EntryKind
from replicator.destination.sftp_account import FILE_MODE, LONGEST_COPY_BYTES
from replicator.destination.sftp_errors import is_missing, refusal
from replicator.destination.sftp_folders import kind_of
from replicator.destination.sftp_replies import Attributes, Handle, Reply
from replicator.errors import DestinationError, PermanentDestinationError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePosixPath

    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection


@dataclass(slots=True)
class OpenFile:
    """A file that is open for writing, and how long it is known to be at least."""

    handle: bytes
    size_bytes: int


class InPlaceFiles:
    """Files of one account. The methods that ask the server raise `DestinationError`."""

    def __init__(self, connection: SftpConnection, account: SftpAccount, label: str) -> None:
        self._connection = connection
        self._account = account
        self._label = label
        self._can_sync = protocol.FSYNC in connection.extensions

    def open(self, target: PurePosixPath, *, offset: int, create: bool) -> OpenFile:
        """Open a file of at least `offset` bytes to write to it, in one round trip.

        With `create` a missing one is created, and what syncs its name is posted. After an error no answer is
        awaited any more.
        """
        path = self._account.path(target)
        created: list[Reply] = []
        if create:
            self._create(target, created)
        # OpenSSH follows links here. To open one does nothing yet, and then it is given up.
        found, opened = self._connection.call_all(
            [protocol.path_status(path, follow=False), protocol.open_writing(path)]
        )
        try:
            return self._fitting(target, created, found, opened, offset)
        except DestinationError:
            if isinstance(opened, Handle):
                self._close(opened.value)
            self._connection.receive_all()
            raise

    def _fitting(
        self, target: PurePosixPath, created: list[Reply], found: Reply, opened: Reply, offset: int
    ) -> OpenFile:
        if is_missing(found) and created:
            raise self._account.refusal(created[0], f"create {target}")
        size_bytes = self.size_of(target, found, least_bytes=offset)
        if not isinstance(opened, Handle):
            raise self._account.refusal(opened, f"open {target}")
        return OpenFile(opened.value, size_bytes)

    def _create(self, target: PurePosixPath, created: list[Reply]) -> None:
        """Post what creates a file unless the name is taken, be it by a link to elsewhere, and syncs its name."""

        def close_again(reply: Reply) -> None:
            created.append(reply)
            if isinstance(reply, Handle):
                self._close(reply.value)

        def sync(reply: Reply) -> None:
            if isinstance(reply, Handle):
                self._connection.post(protocol.sync(reply.value), lambda _: None)
                self._close(reply.value)

        self._connection.post(protocol.create_file(self._account.path(target), FILE_MODE), close_again)
        if self._can_sync:
            self._connection.post(protocol.open_reading(self._account.path(target.parent)), sync)

    def size_of(self, path: PurePosixPath, found: Reply, *, least_bytes: int) -> int:
        """Return the size in the status of a file.

        Raises `ProtocolError` if that is below `least_bytes`, and another `DestinationError` if it is no file.
        """
        if not isinstance(found, Attributes):
            raise refusal(found, label=self._label, action=f"look at {path}")
        if kind_of(found) is not EntryKind.FILE:
            raise PermanentDestinationError(f"{self._label}: {path} is no file")
        size_bytes = found.size_bytes or 0
        if size_bytes < least_bytes:
            raise ProtocolError(f"{self._label}: {path} has {size_bytes} bytes, expected {least_bytes}")
        return size_bytes

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Have the server copy a part of a file to the same place of another."""
        self._account.need(protocol.COPY_DATA)
        opened = self._connection.call(protocol.open_reading(self._account.path(source)))
        if not isinstance(opened, Handle):
            raise self._account.refusal(opened, f"open {source}")
        with self._closing(opened.value):
            self.size_of(source, self._connection.call(protocol.file_status(opened.value)), least_bytes=end)
            file = self.open(target, offset=offset, create=False)
            with self._closing(file.handle):
                self._copy(opened.value, file.handle, target, range(offset, end))
                self.size_of(target, self._connection.call(protocol.file_status(file.handle)), least_bytes=end)

    def _copy(self, source: bytes, target: bytes, name: PurePosixPath, where: range) -> None:
        for start in where[::LONGEST_COPY_BYTES]:
            step = min(LONGEST_COPY_BYTES, where.stop - start)
            reply = self._connection.call(protocol.copy_data(source, start, step, target))
            self._account.check([reply], f"copy data to {name}")
        if self._can_sync:
            self._account.check([self._connection.call(protocol.sync(target))], f"sync {name}")

    @contextmanager
    def _closing(self, handle: bytes) -> Iterator[None]:
        try:
            yield
        finally:
            self._close(handle)

    def _close(self, handle: bytes) -> None:
        self._connection.post(protocol.close(handle), lambda _: None)
