"""What a destination in memory holds: files, folders and symbolic links."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.destination.interface import Entry, EntryKind, FileAttributes


@dataclass(slots=True)
class MemoryFile:
    """One file; hard links share the object."""

    data: bytes
    attributes: FileAttributes = field(default_factory=lambda: FileAttributes(0o640, 0))


@dataclass(frozen=True, slots=True)
class MemorySymlink:
    """A symbolic link."""

    target: str


@dataclass(slots=True)
class MemoryFolder:
    """A folder; what is in it is found by its path."""

    attributes: FileAttributes = field(default_factory=lambda: FileAttributes(0o750, 0))


Node = MemoryFile | MemorySymlink | MemoryFolder


def entry_of(name: str, node: Node) -> Entry:
    """Return what a listing tells of it."""
    if isinstance(node, MemorySymlink):
        return Entry(name, EntryKind.SYMLINK, len(node.target), 0, 0o777)
    kind, size_bytes = EntryKind.FOLDER, 0
    if isinstance(node, MemoryFile):
        kind, size_bytes = EntryKind.FILE, len(node.data)
    carried = node.attributes
    return Entry(name, kind, size_bytes, carried.stored_seconds, carried.mode, carried.owner)
