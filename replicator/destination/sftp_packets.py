"""Many requests made to be sent in one go, and the answers to them read in one go. No I/O.

Small files take hundreds of thousands of requests: a `Request` for each, and a reply for each answer, would
cost more than all the rest.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.sftp_protocol import RequestType
from replicator.destination.sftp_replies import LARGEST_PACKET_BYTES, ReplyType
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from replicator.destination.sftp_protocol import Request

#: The code of a status, a handle, or None for any other reply.
PlainAnswer = int | bytes | None

# Plain numbers: members of an enumeration cost as much as the rest of a packet.
_CLOSE, _WRITE, _SET_FILE_STATUS = int(RequestType.CLOSE), int(RequestType.WRITE), int(RequestType.FSETSTAT)
_STATUS, _HANDLE = int(ReplyType.STATUS), int(ReplyType.HANDLE)

_HEADER = struct.Struct(">IBI")
#: The header of a WRITE and the length of its handle; and what is between the handle and the data.
_WITH_HANDLE = struct.Struct(">IBII")
_PLACE = struct.Struct(">QI")
_KIND = 4
_NUMBER_START, _NUMBER_END = 5, 9
# Answers that are the same but for their numbers are compared at once: so many at most, and not worth it for less.
_MOST_ALIKE = 512
_LEAST_ALIKE = 8


class PacketRun:
    """Requests with consecutive numbers, from `first` on."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._next = first
        self._packets: list[bytes] = []

    def __len__(self) -> int:
        return self._next - self.first

    def data(self) -> bytes:
        """Return all packets."""
        return b"".join(self._packets)

    def add(self, request: Request) -> None:
        """Add one request."""
        self._packets.append(request.packet(self._next))
        self._next += 1

    def fill(self, handle: bytes, data: bytes, attributes: bytes) -> None:
        """Add three requests, which write all of an open file, set attributes and close it."""
        number, handle_bytes, size_bytes = self._next, len(handle), len(data)
        self._packets += (
            _WITH_HANDLE.pack(21 + handle_bytes + size_bytes, _WRITE, number, handle_bytes),
            handle,
            _PLACE.pack(0, size_bytes),
            data,
            _WITH_HANDLE.pack(9 + handle_bytes + len(attributes), _SET_FILE_STATUS, number + 1, handle_bytes),
            handle,
            attributes,
            _WITH_HANDLE.pack(9 + handle_bytes, _CLOSE, number + 2, handle_bytes),
            handle,
        )
        self._next = number + 3


def take_plain_answers(data: bytes | bytearray, answers: dict[int, PlainAnswer]) -> int:
    """Read the packets that `data` begins with and holds whole, with their lengths, into `answers` by number.

    Returns how many bytes that were. Raises `ProtocolError` for what can be no reply.
    """
    start, end = 0, len(data)
    while end - start >= _WITH_HANDLE.size:
        length, kind, number, first = _WITH_HANDLE.unpack_from(data, start)
        if not _HEADER.size <= length <= LARGEST_PACKET_BYTES:
            raise ProtocolError(f"the SFTP server sent a packet of {length} bytes")
        size = protocol.LENGTH.size + length
        after = start + size
        if after > end:
            break
        if kind == _STATUS:
            answers[number] = first
            after += size * _take_alike(data, start, size, answers, first)
        elif kind == _HANDLE and start + _WITH_HANDLE.size + first <= after:
            answers[number] = bytes(data[start + _WITH_HANDLE.size : start + _WITH_HANDLE.size + first])
        else:
            answers[number] = None
        start = after
    return start


def _take_alike(
    data: bytes | bytearray, start: int, size: int, answers: dict[int, PlainAnswer], answer: int
) -> int:
    """Read the packets behind the one at `start` that differ from it in their numbers only; return how many."""
    after = start + size
    kinds = data[after + _KIND : after + _MOST_ALIKE * size : size]
    count = min(
        len(kinds) - len(kinds.lstrip(data[start + _KIND : start + _KIND + 1])), (len(data) - after) // size
    )
    while count >= _LEAST_ALIKE:
        found = data[after : after + count * size]
        expected = bytearray(data[start:after] * count)
        for place in range(_NUMBER_START, _NUMBER_END):
            expected[place::size] = found[place::size]
        if expected == found:
            numbers = bytearray(4 * count)
            for place in range(_NUMBER_START, _NUMBER_END):
                numbers[place - _NUMBER_START :: 4] = found[place::size]
            answers.update(zip(struct.unpack(f">{count}I", numbers), repeat(answer), strict=False))
            return count
        count //= 2
    return 0
