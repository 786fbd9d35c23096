"""One SFTP session: numbered requests, many of them in flight, each reply handed to whoever asked.

Requests are gathered in one buffer that is reused, and sent when it is full or when an answer is awaited; file
contents are read straight into it. Knows nothing of what the requests are for.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.allocator import keep_freed_memory
from replicator.destination.sftp_login import log_in
from replicator.destination.sftp_replies import (
    LARGEST_PACKET_BYTES,
    ExtendedReply,
    Limits,
    Reply,
    parse_limits,
    parse_reply,
    parse_version,
    take_usual_replies,
)
from replicator.destination.sftp_runs import PacketRuns
from replicator.destination.sftp_stream import SftpStream
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from replicator.destination.sftp_protocol import Request
    from replicator.destination.sftp_route import SftpSettings
    from replicator.destination.ssh_command import RemoteCommand

# With a tenth of a second to the server and back, what is in flight is what moves in that time.
_MOST_IN_FLIGHT = 512
# OpenSSH lets 2 MiB into a session that it has not read yet; more would only delay what is asked next.
_MOST_WRITTEN_BYTES = 4 << 20
# What comes in is bounded by us: here, and by the window that the server is told.
_MOST_READ_BYTES = 8 << 20
# Several pieces are asked for at once: a small packet costs as much as a large one, and a wait for other threads.
_ENOUGH_READ_BYTES = 6 << 20
# Source: process_readdir in sftp-server.c. Both halves of OpenSSH are looked for: its SSH server may start another
# SFTP server.
_OPENSSH_PAGE_NAMES = 100
_FLUSH_AT_BYTES = 256 * 1024
_LAST_NUMBER = 0xFFFFFFFF
_LARGEST_HEAD_BYTES = 1024
# A server that is near may be slow to answer once.
_MOST_TRIES = 4
# What paramiko keeps of a read in part it moves in memory.
_SHOWN_BYTES = 80


class SftpConnection:
    """Belongs to one thread, except `close`. After an error of the connection every call fails.

    Handlers of replies run inside `receive`; they may post further requests but not wait.
    """

    def __init__(self, stream: SftpStream) -> None:
        self._stream = stream
        #: For requests that come by the thousand, while no other is in flight.
        self.runs = PacketRuns(stream)
        self._handlers: dict[int, tuple[Callable[[Reply], None], int]] = {}
        self._bulk_bytes = 0
        self._replies: deque[tuple[int, Reply]] = deque()
        self._inbox = bytearray()
        self._next_number = 0
        self._outbox = memoryview(bytearray(2 * _FLUSH_AT_BYTES))
        self._filled = 0
        self.limits = Limits()
        self.extensions = self._greet()
        if protocol.LIMITS in self.extensions:
            self.limits = self._ask_limits()
            largest = _LARGEST_HEAD_BYTES + self.limits.write_bytes
            self._outbox = memoryview(bytearray(_FLUSH_AT_BYTES + largest))

    @classmethod
    def open(cls, settings: SftpSettings) -> Self:
        """Log in and begin a session."""
        keep_freed_memory()
        line = log_in(settings)
        try:
            return cls(SftpStream.open(line, settings.timeout_seconds))
        except BaseException:
            line.close()
            raise

    # --- sending -------------------------------------------------------------------------------------

    @property
    def full_page_names(self) -> int | None:
        """How many names the server puts into a part of a listing that has more to come; None if nobody knows."""
        is_openssh = "OpenSSH" in self._stream.server_software and protocol.POSIX_RENAME in self.extensions
        return _OPENSSH_PAGE_NAMES if is_openssh else None

    @property
    def in_flight(self) -> int:
        """How many requests have no answer yet."""
        return len(self._handlers)

    @property
    def has_room(self) -> bool:
        """Whether another piece of bulk data should be posted now."""
        return len(self._handlers) < _MOST_IN_FLIGHT and self._bulk_bytes < _MOST_WRITTEN_BYTES

    @property
    def has_room_to_read(self) -> bool:
        """Whether another piece of bulk data should be asked for now."""
        return len(self._handlers) < _MOST_IN_FLIGHT and self._bulk_bytes < _MOST_READ_BYTES

    def wait_to_read(self) -> None:
        """Wait until there is room to ask for several pieces: as many are then asked for in one go."""
        while len(self._handlers) >= _MOST_IN_FLIGHT or self._bulk_bytes > _ENOUGH_READ_BYTES:
            self.receive()

    def post(self, request: Request, on_reply: Callable[[Reply], None], *, bulk_bytes: int = 0) -> None:
        """Send a request, soon; `on_reply` is called with the answer, of which `bulk_bytes` are file contents."""
        number = self._take_number()
        packet = request.packet(number)
        start = self._reserve(len(packet))
        self._outbox[start : start + len(packet)] = packet
        self._commit(len(packet), number, on_reply, bulk_bytes)

    def post_short(self, kind: int, value: bytes, on_reply: Callable[[Reply], None]) -> None:
        """As `post`, for the requests that are no more than a path or a handle: those come by the thousand."""
        number = self._next_number = (self._next_number + 1) & _LAST_NUMBER
        packet = protocol.short_packet(kind, number, value)
        end = self._reserve(len(packet)) + len(packet)
        self._outbox[self._filled : end] = packet
        self._filled = end
        self._handlers[number] = on_reply, 0

    def post_write(
        self,
        handle: bytes,
        offset: int,
        length: int,
        fill: Callable[[memoryview], None],
        on_reply: Callable[[Reply], None],
    ) -> None:
        """Send `length` bytes of a file, which `fill` puts in place; when it raises nothing is sent."""
        number = self._take_number()
        head = protocol.write_head(number, handle, offset, length)
        start = self._reserve(len(head) + length)
        data_start = start + len(head)
        self._outbox[start:data_start] = head
        fill(self._outbox[data_start : data_start + length])
        self._commit(len(head) + length, number, on_reply, length)

    def flush(self) -> None:
        """Send what was posted."""
        if not self._filled:
            return
        self._stream.send(self._outbox[: self._filled])
        self._filled = 0

    def _take_number(self) -> int:
        self._next_number = (self._next_number + 1) & _LAST_NUMBER
        return self._next_number

    def _reserve(self, length: int) -> int:
        if length > len(self._outbox):
            raise ProtocolError(f"a request of {length} bytes is longer than any SFTP server takes")
        if self._filled + length > len(self._outbox):
            self.flush()
        return self._filled

    def _commit(self, length: int, number: int, on_reply: Callable[[Reply], None], bulk_bytes: int) -> None:
        self._filled += length
        self._handlers[number] = on_reply, bulk_bytes
        self._bulk_bytes += bulk_bytes
        if self._filled >= _FLUSH_AT_BYTES:
            self.flush()

    # --- receiving -----------------------------------------------------------------------------------

    def receive(self) -> None:
        """Wait for an answer at least, and hand over all that are there."""
        self.flush()
        while not self._replies:
            self._read()
        self._hand_over()

    def _hand_over(self) -> None:
        while self._replies:
            number, reply = self._replies.popleft()
            if (asked := self._handlers.pop(number, None)) is None:
                self.close()
                raise self._unasked()
            handler, bulk_bytes = asked
            self._bulk_bytes -= bulk_bytes
            handler(reply)

    def _unasked(self) -> ProtocolError:
        return ProtocolError(f"{self._stream.label}: the SFTP server answered a question nobody asked")

    def receive_all(self) -> None:
        """Wait until every request is answered."""
        while self._handlers:
            self.receive()

    def receive_what_is_there(self) -> None:
        """Hand over the answers that have arrived, if any; wait for none."""
        while self._stream.has_received:
            self._read()
        if self._replies:
            self._hand_over()

    def call(self, request: Request) -> Reply:
        """Send one request and wait for its answer."""
        if self._handlers:
            return self.call_all([request])[0]
        began = time.monotonic()
        reply = self.call_all([request])[0]
        self._stream.note_round_trip(time.monotonic() - began)
        return reply

    def call_all(self, requests: Iterable[Request]) -> list[Reply]:
        """Send many requests, several in flight, and return their answers in the same order."""
        found: dict[int, Reply] = {}
        asked = 0

        def keep(place: int) -> Callable[[Reply], None]:
            return lambda reply: found.__setitem__(place, reply)

        for request in requests:
            while not self.has_room:
                self.receive()
            self.post(request, keep(asked))
            asked += 1
        while len(found) < asked:
            self.receive()
        return [found[place] for place in range(asked)]

    def _read(self) -> None:
        self._inbox += self._stream.receive(much=self._bulk_bytes > 0)
        try:
            with memoryview(self._inbox) as view:
                start = take_usual_replies(view, 0, self._replies)
                while (end := self._packet_end(view, start)) is not None:
                    self._replies.append(parse_reply(view[start + protocol.LENGTH.size : end]))
                    start = take_usual_replies(view, end, self._replies)
        except ProtocolError:
            self.close()
            raise
        del self._inbox[:start]

    def _packet_end(self, view: memoryview, start: int) -> int | None:
        """Return where the packet that begins at `start` ends, if all of it is there."""
        body = start + protocol.LENGTH.size
        if len(view) < body:
            return None
        (length,) = protocol.LENGTH.unpack_from(view, start)
        if not 0 < length <= LARGEST_PACKET_BYTES:
            raise ProtocolError(
                f"{self._stream.label}: the server does not speak SFTP: it sent {_shown(view[start:])}",
                hint="does the login of this account print text (.bashrc), or has it no shell? With"
                " `ForceCommand internal-sftp` in sshd_config it needs none",
            )
        end: int = body + length
        return end if len(view) >= end else None

    # --- beginning and end ---------------------------------------------------------------------------

    def _greet(self) -> dict[str, bytes]:
        self._inbox += self._stream.greet(protocol.init())
        while (end := self._first_end()) is None:
            self._inbox += self._stream.receive_greeting()
        packet = bytes(self._inbox[protocol.LENGTH.size : end])
        del self._inbox[:end]
        return parse_version(packet)

    def _first_end(self) -> int | None:
        with memoryview(self._inbox) as view:
            return self._packet_end(view, 0)

    def _ask_limits(self) -> Limits:
        for _ in range(_MOST_TRIES):
            reply = self.call(protocol.limits())
            if self._stream.is_near or self._stream.is_far:
                break
        if isinstance(reply, ExtendedReply):
            return parse_limits(reply)
        return Limits()

    def run(self, command: str) -> RemoteCommand:
        """Begin a command beside the session, which an account for SFTP alone does not let happen."""
        return self._stream.run(command)

    @contextmanager
    def closed_if_broken_off(self) -> Iterator[None]:
        """Close it after an error within: answers that are still to come must not reach what is asked next."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the session; may be called from any thread."""
        self._stream.close()


def _shown(received: memoryview) -> str:
    """Return the beginning of what is no packet; most of the time it is text."""
    return repr(bytes(received[:_SHOWN_BYTES]).decode("utf-8", "replace").strip())
