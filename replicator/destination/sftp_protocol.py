"""What a client says in the SFTP protocol, version 3, and in OpenSSH's extensions to it. No I/O.

Sources: draft-ietf-secsh-filexfer-02; OpenSSH `PROTOCOL` section 4 and `sftp-server.c`;
draft-ietf-secsh-filexfer-extensions-00 section 7 (`copy-data`).

A packet is a length (32 bit, big-endian, without itself), a type byte and, except in INIT and VERSION, a
request number of 32 bits that the reply repeats. What servers say is in `sftp_replies`.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from replicator.destination.interface import FileAttributes, Owner

VERSION = 3
LENGTH = struct.Struct(">I")

_HEADER = struct.Struct(">IBI")
_SHORT = struct.Struct(">IBII")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_ATTRIBUTE_OWNER = 0x02
_ATTRIBUTE_PERMISSIONS = 0x04
_ATTRIBUTE_TIMES = 0x08

HARD_LINK = "hardlink@openssh.com"
POSIX_RENAME = "posix-rename@openssh.com"
FSYNC = "fsync@openssh.com"
STATVFS = "statvfs@openssh.com"
LIMITS = "limits@openssh.com"
COPY_DATA = "copy-data"
SET_LINK_STATUS = "lsetstat@openssh.com"


class RequestType(IntEnum):
    """What a client sends."""

    INIT = 1
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    STAT = 17
    READLINK = 19
    SYMLINK = 20
    EXTENDED = 200


class OpenFlag(IntEnum):
    """How a file is opened."""

    READ = 0x01
    WRITE = 0x02
    CREATE = 0x08
    EXCLUSIVE = 0x20


# Plain bytes: to combine members of an enumeration costs more than the rest of a request.
_NEW_FILE = _U32.pack(OpenFlag.WRITE | OpenFlag.CREATE | OpenFlag.EXCLUSIVE)


class Request(NamedTuple):
    """A request without its number. A tuple, for there are many."""

    kind: RequestType
    body: bytes

    def packet(self, number: int) -> bytes:
        """Return the bytes to send."""
        return _HEADER.pack(5 + len(self.body), self.kind, number) + self.body


def _string(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def _mode(mode: int) -> bytes:
    return _U32.pack(_ATTRIBUTE_PERMISSIONS) + _U32.pack(mode)


def short_packet(kind: int, number: int, value: bytes) -> bytes:
    """Return a request that is no more than a path or a handle, with less ado than a `Request`."""
    return _SHORT.pack(9 + len(value), kind, number, len(value)) + value


def init() -> bytes:
    """Return the first packet of a client."""
    return struct.pack(">IBI", 5, RequestType.INIT, VERSION)


def open_reading(path: bytes) -> Request:
    """Open a file, or with OpenSSH a folder, to read or sync it."""
    return Request(RequestType.OPEN, _string(path) + _U32.pack(OpenFlag.READ) + _U32.pack(0))


def create_file(path: bytes, mode: int) -> Request:
    """Create a file to write to; it fails if the name is taken, be it by a link to elsewhere."""
    return Request(RequestType.OPEN, _string(path) + _NEW_FILE + _mode(mode))


def open_writing(path: bytes) -> Request:
    """Open a file that exists to write to it, its contents kept; links are followed."""
    return Request(RequestType.OPEN, _string(path) + _U32.pack(OpenFlag.WRITE) + _U32.pack(0))


def close(handle: bytes) -> Request:
    """Close a file or folder."""
    return Request(RequestType.CLOSE, _string(handle))


def read(handle: bytes, offset: int, length: int) -> Request:
    """Ask for up to `length` bytes."""
    return Request(RequestType.READ, _string(handle) + _U64.pack(offset) + _U32.pack(length))


def write(handle: bytes, offset: int, data: bytes) -> Request:
    """Write bytes to an open file."""
    return Request(RequestType.WRITE, _string(handle) + _U64.pack(offset) + _string(data))


def write_head(number: int, handle: bytes, offset: int, length: int) -> bytes:
    """Return the start of a WRITE packet; `length` bytes of data follow it."""
    body = _string(handle) + _U64.pack(offset) + _U32.pack(length)
    return _HEADER.pack(5 + len(body) + length, RequestType.WRITE, number) + body


def file_status(handle: bytes) -> Request:
    """Ask for the attributes of an open file."""
    return Request(RequestType.FSTAT, _string(handle))


def path_status(path: bytes, *, follow: bool) -> Request:
    """Ask for the attributes of a name."""
    return Request(RequestType.STAT if follow else RequestType.LSTAT, _string(path))


def owner_of(user_id: int, group_id: int) -> bytes:
    """Return attributes to be set: whose a file is."""
    return struct.pack(">III", _ATTRIBUTE_OWNER, user_id, group_id)


def mode_and_time(mode: int, modified_seconds: int) -> bytes:
    """Return attributes to be set: permission bits and the time, which becomes that of the last access too."""
    flags = _ATTRIBUTE_PERMISSIONS | _ATTRIBUTE_TIMES
    return struct.pack(">IIII", flags, mode, modified_seconds, modified_seconds)


def all_attributes(attributes: FileAttributes) -> bytes:
    """Return attributes to be set in one go.

    OpenSSH sets the owner last, which takes setuid bits away, and tells of one failure only.
    """
    return mode_time_and_owner(attributes.mode, attributes.stored_seconds, attributes.owner)


def mode_time_and_owner(mode: int, modified_seconds: int, owner: Owner | None) -> bytes:
    """Return the same, for times that can be stored."""
    if owner is None:
        return mode_and_time(mode, modified_seconds)
    flags = _ATTRIBUTE_OWNER | _ATTRIBUTE_PERMISSIONS | _ATTRIBUTE_TIMES
    return struct.pack(">IIIIII", flags, owner.user_id, owner.group_id, mode, modified_seconds, modified_seconds)


def set_file_status(handle: bytes, attributes: bytes) -> Request:
    """Set attributes of an open file."""
    return Request(RequestType.FSETSTAT, _string(handle) + attributes)


def set_path_status(path: bytes, attributes: bytes) -> Request:
    """Set attributes of a name; links are followed."""
    return Request(RequestType.SETSTAT, _string(path) + attributes)


def set_link_status(path: bytes, attributes: bytes) -> Request:
    """Set attributes of a name; a link is not followed, and its mode cannot be set."""
    return _extended(SET_LINK_STATUS, _string(path) + attributes)


def open_folder(path: bytes) -> Request:
    """Begin to list a folder."""
    return Request(RequestType.OPENDIR, _string(path))


def read_folder(handle: bytes) -> Request:
    """Ask for the next names of a folder."""
    return Request(RequestType.READDIR, _string(handle))


def remove(path: bytes) -> Request:
    """Remove a file or link."""
    return Request(RequestType.REMOVE, _string(path))


def make_folder(path: bytes, mode: int) -> Request:
    """Create a folder."""
    return Request(RequestType.MKDIR, _string(path) + _mode(mode))


def remove_folder(path: bytes) -> Request:
    """Remove an empty folder."""
    return Request(RequestType.RMDIR, _string(path))


def read_link(path: bytes) -> Request:
    """Ask where a symbolic link points."""
    return Request(RequestType.READLINK, _string(path))


def symbolic_link(target: bytes, link: bytes) -> Request:
    """Create a symbolic link. OpenSSH takes the arguments in this order; the draft has them the other way."""
    return Request(RequestType.SYMLINK, _string(target) + _string(link))


def _extended(name: str, body: bytes) -> Request:
    return Request(RequestType.EXTENDED, _string(name.encode()) + body)


def posix_rename(source: bytes, target: bytes) -> Request:
    """Rename as rename(2) does: an existing target is replaced."""
    return _extended(POSIX_RENAME, _string(source) + _string(target))


def hard_link(source: bytes, target: bytes) -> Request:
    """Create a hard link."""
    return _extended(HARD_LINK, _string(source) + _string(target))


def sync(handle: bytes) -> Request:
    """Bring an open file to disk."""
    return _extended(FSYNC, _string(handle))


def file_system(path: bytes) -> Request:
    """Ask for the figures of the filesystem that holds `path`."""
    return _extended(STATVFS, _string(path))


def limits() -> Request:
    """Ask how much the server takes at a time."""
    return _extended(LIMITS, b"")


def copy_data(source: bytes, offset: int, length: int, target: bytes) -> Request:
    """Have the server copy bytes between two open files, to the same place; a length of 0 means all."""
    body = _string(source) + _U64.pack(offset) + _U64.pack(length) + _string(target) + _U64.pack(offset)
    return _extended(COPY_DATA, body)
