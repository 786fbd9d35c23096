"""What a server says in the SFTP protocol, version 3, and in OpenSSH's extensions to it. No I/O.

Packets come in without their length; nothing in them is trusted. Sources: see `sftp_protocol`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from replicator.destination.interface import Entry, Owner
from replicator.destination.sftp_name_list import kind_of_mode, usual_names
from replicator.destination.sftp_protocol import VERSION
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

#: What a server must take without having told its limits (draft section 3).
DEFAULT_CHUNK_BYTES = 32 * 1024
#: Longer packets are refused; OpenSSH sends at most 256 KiB.
LARGEST_PACKET_BYTES = 4 << 20

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_TWO = struct.Struct(">II")
#: Type, request number, and the first field of most replies: a status, or the length of a string.
_HEAD = struct.Struct(">BII")
#: The same behind the length of the packet.
_LONG_HEAD = struct.Struct(">IBII")


class ReplyType(IntEnum):
    """What a server sends."""

    VERSION = 2
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED_REPLY = 201


# Plain numbers: looking up a member of an enumeration costs as much as the rest of a reply.
_STATUS, _HANDLE, _DATA = int(ReplyType.STATUS), int(ReplyType.HANDLE), int(ReplyType.DATA)
_NAME = int(ReplyType.NAME)


class StatusCode(IntEnum):
    """Why a request failed, or that it did not."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8


class _Attribute(IntEnum):
    SIZE = 0x01
    OWNER = 0x02
    PERMISSIONS = 0x04
    TIMES = 0x08
    EXTENDED = 0x80000000


class Attributes(NamedTuple):
    """Of a file; None for what the server did not tell. `permissions` holds the type of file too.

    A tuple, for there may be a hundred thousand of them.
    """

    size_bytes: int | None = None
    permissions: int | None = None
    modified_seconds: int | None = None
    owner: Owner | None = None

    def of(self, name: str) -> Entry:
        """Return the entry of a name that has these."""
        mode, kind = (self.permissions or 0) & 0o7777, kind_of_mode(self.permissions or 0)
        return Entry(name, kind, self.size_bytes or 0, self.modified_seconds or 0, mode, self.owner)


@dataclass(frozen=True, slots=True)
class Status:
    """The result of a request that returns nothing, or the reason why one failed."""

    code: int
    message: str


class Handle(NamedTuple):
    """An open file or folder. A tuple, as are names, for there are many."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a file, 1 or more."""

    value: bytes


class Names(NamedTuple):
    """Names with their attributes, untrusted."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ExtendedReply:
    """The answer to an extension; its own functions read it."""

    body: bytes


Reply = Status | Handle | Data | Names | Attributes | ExtendedReply


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Figures of a filesystem."""

    free_bytes: int
    inodes: int
    free_inodes: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes and gives at a time; a READ or WRITE may carry that many bytes."""

    read_bytes: int = DEFAULT_CHUNK_BYTES
    write_bytes: int = DEFAULT_CHUNK_BYTES


class _Reader:
    """Takes fields off a packet; a packet that is too short is a `ProtocolError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        start, end = self.position, self.position + count
        if end > len(self._data):
            raise ProtocolError("the SFTP server sent a packet that ends too early")
        self.position = end
        return self._data[start:end]

    def u32(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def string(self) -> bytes:
        return self.take(self.u32())

    def rest(self) -> bytes:
        return self.take(len(self._data) - self.position)

    @property
    def at_end(self) -> bool:
        return self.position == len(self._data)

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & _Attribute.SIZE else None
        owner = Owner(self.u32(), self.u32()) if flags & _Attribute.OWNER else None
        permissions = self.u32() if flags & _Attribute.PERMISSIONS else None
        modified = None
        if flags & _Attribute.TIMES:
            self.u32()
            modified = self.u32()
        if flags & _Attribute.EXTENDED:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return Attributes(size, permissions, modified, owner)

    def names(self) -> Iterator[Entry]:
        for _ in range(self.u32()):
            name = self.string().decode("utf-8", "surrogateescape")
            self.string()  # the same as `ls -l` would show it
            yield self.attributes().of(name)


def parse_version(packet: bytes) -> dict[str, bytes]:
    """Return the extensions that a server offers, by name, from its first packet (without the length)."""
    reader = _Reader(packet)
    if reader.take(1)[0] != ReplyType.VERSION:
        raise ProtocolError("the server does not speak SFTP")
    if (version := reader.u32()) != VERSION:
        raise ProtocolError(f"the server speaks version {version} of SFTP, only {VERSION} is supported")
    extensions: dict[str, bytes] = {}
    while not reader.at_end:
        name = reader.string()
        extensions[name.decode("utf-8", "replace")] = reader.string()
    return extensions


def parse_reply(packet: bytes | memoryview) -> tuple[int, Reply]:
    """Return a request's number and its reply, from a packet without the length; the reply keeps no view of it."""
    if len(packet) >= _HEAD.size:
        kind, number, first = _HEAD.unpack_from(packet)
        # What comes by the thousand is read without ceremony; all else, and all that is wrong, with care.
        if kind == _STATUS and len(packet) >= _HEAD.size + 4:
            if (status := _status_of(bytes(packet[_HEAD.size - 4 :]))) is not None:
                return number, status
        elif kind == _DATA and _HEAD.size + first <= len(packet):
            return number, Data(bytes(packet[_HEAD.size : _HEAD.size + first]))
        elif kind == _HANDLE and _HEAD.size + first <= len(packet):
            return number, Handle(bytes(packet[_HEAD.size : _HEAD.size + first]))
    return _parse_any(bytes(packet))


def take_usual_replies(data: memoryview, start: int, replies: deque[tuple[int, Reply]]) -> int:
    """Read the packets, with their lengths, that `data` holds whole from `start` on, and add them to `replies`.

    Returns where it stopped: at the first that is not there as a whole, or is for `parse_reply`.
    """
    end = len(data)
    while end - start >= _LONG_HEAD.size:
        length, kind, number, first = _LONG_HEAD.unpack_from(data, start)
        body, after = start + _LONG_HEAD.size, start + _U32.size + length
        if after > end:
            break
        reply: Reply | None = None
        if kind == _STATUS and body + _U32.size <= after:
            reply = _status_of(bytes(data[body - _U32.size : after]))
        elif kind == _HANDLE and body + first <= after:
            reply = tuple.__new__(Handle, (bytes(data[body : body + first]),))
        elif kind == _NAME and (names := usual_names(data, body - _U32.size, after)) is not None:
            reply = tuple.__new__(Names, (names,))
        if reply is None:
            break
        replies.append((number, reply))
        start = after
    return start


@lru_cache(maxsize=64)
def _status_of(body: bytes) -> Status | None:
    """Return the one object for answers that come by the thousand; None for what is none."""
    code, length = _TWO.unpack_from(body)
    end = _TWO.size + length
    return Status(code, body[_TWO.size : end].decode("utf-8", "replace")) if end <= len(body) else None


def _parse_any(packet: bytes) -> tuple[int, Reply]:
    reader = _Reader(packet)
    kind = reader.take(1)[0]
    number = reader.u32()
    reply: Reply
    if kind == ReplyType.STATUS:
        code = reader.u32()
        # Servers older than version 3 leave the message out.
        reply = Status(code, "" if reader.at_end else reader.string().decode("utf-8", "replace"))
    elif kind == ReplyType.HANDLE:
        reply = Handle(reader.string())
    elif kind == ReplyType.DATA:
        reply = Data(reader.string())
    elif kind == ReplyType.NAME:
        usual = usual_names(packet, reader.position, len(packet))
        reply = Names(tuple(reader.names()) if usual is None else usual)
    elif kind == ReplyType.ATTRS:
        reply = reader.attributes()
    elif kind == ReplyType.EXTENDED_REPLY:
        reply = ExtendedReply(reader.rest())
    else:
        raise ProtocolError(f"the SFTP server sent a packet of the unknown type {kind}")
    return number, reply


def parse_limits(reply: ExtendedReply) -> Limits:
    """Read the reply to `limits`; 0 there means that the server does not say."""
    reader = _Reader(reply.body)
    reader.u64()
    read_bytes, write_bytes = reader.u64(), reader.u64()
    # Larger ones gain nothing, and memory is ours.
    most = 1 << 20
    return Limits(
        min(read_bytes, most) or DEFAULT_CHUNK_BYTES,
        min(write_bytes, most) or DEFAULT_CHUNK_BYTES,
    )


def parse_file_system(reply: ExtendedReply) -> FileSystem:
    """Read the reply to `file_system`. Source: OpenSSH `PROTOCOL` section 4.6."""
    reader = _Reader(reply.body)
    fields = [reader.u64() for _ in range(11)]
    _, unit, _, _, available, inodes, _, available_inodes, _, flags, _ = fields
    return FileSystem(unit * available, inodes, available_inodes, bool(flags & 1))
