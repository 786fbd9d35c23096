"""Fetch files over an SFTP session with many reads in flight; contents are hashed and written in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.local_files import TargetFile
from replicator.destination.sftp_errors import refusal
from replicator.destination.sftp_replies import Data, Handle, Reply
from replicator.errors import InterruptedTransferError, ProtocolError, ReplicatorError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicator.destination.interface import Download, TransferObserver
    from replicator.destination.rate_limit import Limit
    from replicator.destination.sftp_connection import SftpConnection

# Enough for files of any size: opened so far ahead, none waits for its handle, and few are taken from the others
# who work on the same batch.
_OPENED_AHEAD = 128
_OPENED_AHEAD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Fetch:
    """A download with the path that the server knows."""

    item: Download
    source: bytes

    @property
    def size_bytes(self) -> int:
        """How much is to be fetched."""
        return max(0, self.item.size_bytes - self.item.offset)


@dataclass(slots=True, eq=False)
class _File:
    """How far a download has got. `early` holds what came before its turn, by position."""

    fetch: Fetch
    opening: bool = True
    handle: bytes | None = None
    target: TargetFile | None = None
    early: dict[int, bytes] = field(default_factory=dict)


class Downloader:
    """Carries out downloads; made anew for each batch."""

    def __init__(
        self,
        connection: SftpConnection,
        *,
        label: str,
        observer: TransferObserver,
        limiter: Limit | None = None,
    ) -> None:
        self._connection = connection
        self._label = label
        self._limiter = limiter
        self._observer = observer
        self._chunk_bytes = connection.limits.read_bytes
        if limiter is not None:
            self._chunk_bytes = min(self._chunk_bytes, limiter.chunk_bytes)
        self._opened: deque[_File] = deque()
        self._opened_bytes = 0
        self._unfinished: set[_File] = set()
        self._error: ReplicatorError | None = None

    def run(self, fetches: Iterable[Fetch]) -> None:
        """Fetch all, in order; they are taken from `fetches` shortly before their turn.

        After an error no further one is begun; it is raised in the end.
        """
        try:
            with self._connection.closed_if_broken_off():
                self._run(iter(fetches))
        finally:
            for file in self._unfinished:
                if file.target is not None:
                    file.target.close()
        if self._error is not None:
            raise self._error

    def _run(self, fetches: Iterator[Fetch]) -> None:
        while self._error is None:
            self._open_ahead(fetches, remaining_bytes=0)
            if not self._opened:
                break
            file = self._opened[0]
            if self._observer.stop_requested():
                self._error = InterruptedTransferError(f"{self._label}: stopped before {file.fetch.item.source}")
                break
            while file.opening:
                self._connection.receive()
            self._opened.popleft()
            self._opened_bytes -= file.fetch.size_bytes
            if self._error is None:
                self._request(file, fetches)
        self._connection.receive_all()
        handles = [file.handle for file in self._unfinished if file.handle is not None]
        self._connection.call_all(protocol.close(handle) for handle in handles)

    def _open_ahead(self, fetches: Iterator[Fetch], remaining_bytes: int) -> None:
        """Open the next files while not much is left to be asked for of those that are open."""
        while (
            self._error is None
            and len(self._opened) < _OPENED_AHEAD
            and self._opened_bytes + remaining_bytes < _OPENED_AHEAD_BYTES
            and (fetch := next(fetches, None)) is not None
        ):
            self._opened.append(self._open(fetch))
            self._opened_bytes += fetch.size_bytes

    def _open(self, fetch: Fetch) -> _File:
        file = _File(fetch)
        self._unfinished.add(file)

        def opened(reply: Reply) -> None:
            file.opening = False
            if isinstance(reply, Handle):
                file.handle = reply.value
            else:
                self._refuse(file, reply, "open")

        self._connection.post(protocol.open_reading(fetch.source), opened)
        return file

    def _request(self, file: _File, fetches: Iterator[Fetch]) -> None:
        item = file.fetch.item
        try:
            file.target = TargetFile(item.target, item.offset)
        except TargetError as error:
            self._error = error
            return
        position = item.offset
        while position < item.size_bytes and self._error is None:
            step = min(self._chunk_bytes, item.size_bytes - position)
            if self._limiter is not None:
                self._connection.flush()
                self._limiter.acquire(step)
            if not self._connection.has_room_to_read:
                self._connection.wait_to_read()
            self._read(file, position, step)
            position += step
            self._open_ahead(fetches, item.size_bytes - position)
        if item.offset >= item.size_bytes:
            self._finish(file)

    def _read(self, file: _File, position: int, length: int) -> None:
        if file.handle is None or self._error is not None:
            return

        def arrived(reply: Reply) -> None:
            if self._error is not None:
                return
            if not isinstance(reply, Data):
                self._refuse(file, reply, "read")
                return
            data = reply.value
            if not 0 < len(data) <= length:
                message = f"{len(data)} bytes of {file.fetch.item.source} came, {length} were asked for"
                self._error = ProtocolError(f"{self._label}: {message}")
                return
            if len(data) < length:
                self._read(file, position + len(data), length - len(data))
            file.early[position] = data
            self._write(file)

        self._connection.post(protocol.read(file.handle, position, length), arrived, bulk_bytes=length)

    def _write(self, file: _File) -> None:
        target = file.target
        if target is None:
            return
        try:
            while (data := file.early.pop(target.position_bytes, None)) is not None:
                target.write(data)
                self._observer.bytes_moved(len(data))
        except TargetError as error:
            self._error = error
            return
        if target.position_bytes == file.fetch.item.size_bytes:
            self._finish(file)

    def _finish(self, file: _File) -> None:
        item = file.fetch.item
        if file.target is None:
            return
        self._unfinished.discard(file)
        if file.handle is not None:
            self._connection.post(protocol.close(file.handle), lambda _: None)
            file.handle = None
        try:
            digest = file.target.finish()
        except TargetError as error:
            self._error = error
            return
        self._observer.file_done(item.target or item.source, digest)

    def _refuse(self, file: _File, reply: Reply, action: str) -> None:
        error = refusal(reply, label=self._label, action=f"{action} {file.fetch.item.source}")
        self._error = self._error or error
