"""What passes between a destination and whoever uses it: plain values, imported from `interface`. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

#: What any server takes in one request: larger files are none of a `FolderUpload`.
SMALL_FILE_BYTES = 32 * 1024

# What SFTP version 3 can carry.
_LAST_SECOND = 0xFFFF_FFFF


def storable_seconds(seconds: int) -> int:
    """Return a modification time as all destinations can keep it: no earlier than 1970, no later than 2106."""
    return seconds if 0 <= seconds <= _LAST_SECOND else min(max(seconds, 0), _LAST_SECOND)


class EntryKind(Enum):
    """What a name at a destination is."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    OTHER = "other"


class Owner(NamedTuple):
    """Whose a file is, in the numbers that file systems have."""

    user_id: int
    group_id: int


class FileAttributes(NamedTuple):
    """What a file or folder carries besides its content. `mode` is permission bits, of 0o7777.

    `modified_seconds` counts from the epoch. The owner is set where the account may; a refusal is no error.
    """

    mode: int
    modified_seconds: int
    owner: Owner | None = None

    @property
    def stored_seconds(self) -> int:
        """`modified_seconds` as all destinations keep it."""
        return storable_seconds(self.modified_seconds)


class Entry(NamedTuple):
    """One name in a folder, links not followed. `modified_seconds` is seconds since the epoch.

    `mode` is permission bits, of 0o7777; `owner` is None where the server does not say. A tuple, for there are
    many.
    """

    name: str
    kind: EntryKind
    size_bytes: int
    modified_seconds: int
    mode: int
    owner: Owner | None = None


class Capabilities(NamedTuple):
    """What the destination offers beyond plain files; asked once for each connection."""

    hard_link: bool
    server_copy: bool
    fsync: bool
    free_space: bool


class Prefix(NamedTuple):
    """A file at the destination whose first `size_bytes` bytes are those of the file to be uploaded."""

    path: PurePosixPath
    size_bytes: int


class Upload(NamedTuple):
    """One local file to be stored: its first `size_bytes` bytes become `target`.

    With a `prefix` the destination copies those bytes on its own side (needs `server_copy`) and only the rest
    is sent.

    `attributes` are set before the file gets its name; without them it has the mode of all files. `part` is where
    it is written until then, in a folder that exists on the same file system; None for `NAME.part` beside it.
    Without `sync` neither the file nor its name is brought to disk; every answer is checked all the same.

    `optional`: if the local file cannot be read, is no file (links are not followed), or changes while it is read,
    the observer is told (`file_skipped`), nothing is put in place, and the others go on.
    """

    source: Path
    target: PurePosixPath
    size_bytes: int
    prefix: Prefix | None = None
    attributes: FileAttributes | None = None
    part: PurePosixPath | None = None
    sync: bool = True
    optional: bool = False


class SmallFile(NamedTuple):
    """A regular file of at most `SMALL_FILE_BYTES`, as it was seen here. A tuple, for there are many.

    `mode` is permission bits, of 0o7777; no setuid or setgid bit comes together with an owner.
    """

    name: str
    size_bytes: int
    mode: int
    modified_ns: int
    inode: int


class FolderUpload(NamedTuple):
    """Small files that lie in the local folder `source`, to be stored in `target`, unsynced.

    `source` is a path for this and other processes; if its last name is a link, all files are left.

    `part` is a name at the destination that nobody else uses, in a folder that exists on the same file system:
    files are put together under it with something added. If the folder `is_new`, it is missing there, or empty,
    and is put together as `part` with all its files, and with `attributes`, if there are any. Both paths are
    text, for there are many.
    """

    source: str
    target: str
    files: tuple[SmallFile, ...]
    part: str
    owner: Owner | None = None
    is_new: bool = False
    attributes: FileAttributes | None = None


class Link(NamedTuple):
    """A second name, `target`, for the existing file `source`; both at the destination."""

    source: PurePosixPath
    target: PurePosixPath


class SymbolicLink(NamedTuple):
    """A symbolic link to be made, with `text` as where it points.

    If the name is taken, the link is made as `part` and renamed: in a folder that exists on the same file system;
    None for a name beside it that nobody else uses.
    """

    path: PurePosixPath
    text: str
    part: PurePosixPath | None = None


class Download(NamedTuple):
    """Bytes `offset` to `size_bytes` of `source` are written to the local file `target` at the same place.

    `target` must exist with at least `offset` bytes when `offset` is above 0; those bytes are read back so
    that the digest covers the whole file. It ends up exactly `size_bytes` long.

    Without a `target` the bytes are only read for their digest and stored nowhere; `file_done` then reports
    the `source`.
    """

    source: PurePosixPath
    target: Path | None
    size_bytes: int
    offset: int = 0


class Append(NamedTuple):
    """`data` for a file that grows in place: it is written at byte `offset` of `target`.

    At 0 a missing file is created, with the mode of all files. Above 0 the file must be there, with `offset`
    bytes at least: no append leaves a gap. Bytes that lie there already are written over. Other hard links to
    the file see all of that.
    """

    target: PurePosixPath
    offset: int
    data: bytes | bytearray

    @property
    def end(self) -> int:
        """The byte of the file after the last one of `data`."""
        return self.offset + len(self.data)
