"""A destination that lives in memory, for tests of what stands above destinations. It passes the contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.interface import Capabilities, Entry, EntryKind
from replicator.destination.local_files import SourceFile, TargetFile
from replicator.destination.paths import below
from replicator.errors import (
    ConnectionLostError,
    InterruptedTransferError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import Append, Download, Link, TransferObserver, Upload

_ROOT = PurePosixPath("/")
_MOST_LINKS = 40


@dataclass(slots=True)
class _File:
    """One file; hard links share the object."""

    data: bytes


@dataclass(frozen=True, slots=True)
class _Symlink:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder; what is in it is found by its path."""


_Node = _File | _Symlink | _Folder


class MemoryDestination:
    """Implements `Destination`. `before_change` is called with the name of each changing step and its path.

    It may raise, which makes a test break off anywhere.
    """

    def __init__(self, *, before_change: Callable[[str, PurePosixPath], None] | None = None) -> None:
        self._nodes: dict[PurePosixPath, _Node] = {_ROOT: _Folder()}
        self._before_change = before_change
        self._closed = False

    @property
    def label(self) -> str:
        """How messages name it."""
        return "memory:"

    @property
    def session(self) -> int:
        """There is no connection."""
        return 1

    def capabilities(self) -> Capabilities:
        """Everything."""
        return Capabilities(hard_link=True, server_copy=True, fsync=True, free_space=False)

    # --- reading -------------------------------------------------------------------------------------

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`."""
        found = self._resolve(folder)
        if not isinstance(self._nodes.get(found), _Folder):
            raise NotFoundError(f"memory: no folder {folder}")
        return [
            _entry(path.name, node) for path, node in self._nodes.items() if path != _ROOT and path.parent == found
        ]

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        nodes = [self._nodes.get(self._name(path)) for path in paths]
        return [None if node is None else _entry(path.name, node) for path, node in zip(paths, nodes, strict=True)]

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        data = self._file(path).data
        if len(data) > limit_bytes:
            raise ProtocolError(f"memory: {path} is larger than {limit_bytes} bytes")
        return data

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        node = self._nodes.get(self._name(path))
        if not isinstance(node, _Symlink):
            raise NotFoundError(f"memory: no link {path}")
        return node.target

    def free_bytes(self) -> int | None:
        """It does not tell."""
        return None

    # --- changing ------------------------------------------------------------------------------------

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file."""
        self._step("write", path)
        self._put(path, _File(data))

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        self._step("make_folder", folder)
        for parent in reversed([folder, *folder.parents]):
            found = self._resolve(parent)
            if found not in self._nodes:
                self._nodes[found] = _Folder()
            elif not isinstance(self._nodes[found], _Folder):
                raise PermanentDestinationError(f"memory: {parent} is no folder")

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        for item in links:
            self._step("link", item.target)
            self._put(item.target, self._file(item.source))

    def copy(self, links: Sequence[Link]) -> None:
        """Make copies."""
        for item in links:
            self._step("copy", item.target)
            self._put(item.target, _File(self._file(item.source).data))

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        self._step("rename", target)
        old, new = self._name(source), self._name(target)
        if old not in self._nodes:
            if new in self._nodes:
                return
            raise NotFoundError(f"memory: no {source}")
        if not isinstance(self._nodes[old], _Folder):
            self._put(target, self._nodes.pop(old))
            return
        if new in self._nodes:
            raise PermanentDestinationError(f"memory: {target} exists")
        for path in [path for path in self._nodes if path.is_relative_to(old)]:
            self._nodes[new / path.relative_to(old)] = self._nodes.pop(path)

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link."""
        self._step("point_link", link)
        self._put(link, _Symlink(target))

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        self._step("remove_tree", path)
        found = self._name(path)
        for inner in [inner for inner in self._nodes if inner.is_relative_to(found)]:
            del self._nodes[inner]

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove files and links."""
        for path in paths:
            self._step("remove_files", path)
            name = self._name(path)
            if isinstance(self._nodes.get(name), _Folder):
                raise PermanentDestinationError(f"memory: {path} is a folder")
            self._nodes.pop(name, None)

    # --- moving files --------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files."""
        for item in uploads:
            if observer.stop_requested():
                raise InterruptedTransferError("memory: stopped")
            self._step("upload", item.target)
            start = b""
            if item.prefix is not None:
                start = self._file(item.prefix.path).data[: item.prefix.size_bytes]
                if len(start) < item.prefix.size_bytes:
                    raise ProtocolError(f"memory: {item.prefix.path} is too short")
            with SourceFile(item.source, item.size_bytes) as source:
                source.skip(len(start))
                rest = bytearray(item.size_bytes - len(start))
                source.read_into(memoryview(rest))
            self._put(item.target, _File(start + bytes(rest)))
            observer.bytes_moved(len(rest))
            observer.file_done(item.target, source.sha256())

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        for item in appends:
            self._step("append", item.target)
            if item.offset == 0 and self._name(item.target) not in self._nodes:
                self._put(item.target, _File(b""))
            self._overwrite(item.target, item.offset, bytes(item.data))

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        self._step("copy_range", target)
        data = self._file(source).data
        if len(data) < end:
            raise ProtocolError(f"memory: {source} has {len(data)} bytes, expected {end}")
        self._overwrite(target, offset, data[offset:end])

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Fetch files."""
        for item in downloads:
            if observer.stop_requested():
                raise InterruptedTransferError("memory: stopped")
            data = self._file(item.source).data
            with TargetFile(item.target, item.offset) as target:
                if len(data) < item.size_bytes:
                    raise ProtocolError(f"memory: {item.source} is too short")
                target.write(data[item.offset : item.size_bytes])
                observer.bytes_moved(item.size_bytes - item.offset)
                observer.file_done(item.target or item.source, target.finish())

    def close(self) -> None:
        """Make further calls fail."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- parts ---------------------------------------------------------------------------------------

    def _step(self, action: str, path: PurePosixPath) -> None:
        if self._closed:
            raise ConnectionLostError("memory: closed")
        if self._before_change is not None:
            self._before_change(action, path)

    def _put(self, path: PurePosixPath, node: _Node) -> None:
        name = self._name(path)
        if not isinstance(self._nodes.get(name.parent), _Folder):
            raise NotFoundError(f"memory: no folder {path.parent}")
        if isinstance(self._nodes.get(name), _Folder):
            raise PermanentDestinationError(f"memory: {path} is a folder")
        self._nodes[name] = node

    def _overwrite(self, path: PurePosixPath, offset: int, data: bytes) -> None:
        node = self._nodes.get(self._name(path))
        if node is None:
            raise NotFoundError(f"memory: no file {path}")
        if not isinstance(node, _File):
            raise PermanentDestinationError(f"memory: {path} is no file")
        if len(node.data) < offset:
            raise ProtocolError(f"memory: {path} has {len(node.data)} bytes, expected {offset}")
        node.data = node.data[:offset] + data + node.data[offset + len(data) :]

    def _file(self, path: PurePosixPath) -> _File:
        node = self._nodes.get(self._resolve(path))
        if not isinstance(node, _File):
            raise NotFoundError(f"memory: no file {path}")
        return node

    def _name(self, path: PurePosixPath) -> PurePosixPath:
        """Return where a name is, following links in its folders but not the name itself."""
        whole = below(_ROOT, path)
        return whole if whole == _ROOT else self._resolve(path.parent) / whole.name

    def _resolve(self, path: PurePosixPath) -> PurePosixPath:
        """Return where a path leads, following all links."""
        found, rest, followed = _ROOT, list(reversed(below(_ROOT, path).parts[1:])), 0
        while rest:
            part = rest.pop()
            found = found.parent if part == ".." else found / part
            node = self._nodes.get(found)
            if isinstance(node, _Symlink):
                followed += 1
                if followed > _MOST_LINKS:
                    raise NotFoundError(f"memory: {path} leads in circles")
                target = PurePosixPath(node.target)
                found = _ROOT if target.is_absolute() else found.parent
                rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        return found


def _entry(name: str, node: _Node) -> Entry:
    if isinstance(node, _File):
        return Entry(name, EntryKind.FILE, len(node.data), 0)
    if isinstance(node, _Symlink):
        return Entry(name, EntryKind.SYMLINK, len(node.target), 0)
    return Entry(name, EntryKind.FOLDER, 0, 0)
