"""A destination that lives in memory, for tests of what stands above destinations. It passes the contract."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from replicator.destination.interface import Capabilities
from replicator.destination.local_files import SourceFile, TargetFile
from replicator.destination.paths import below
from replicator.errors import (
    ConnectionLostError,
    InterruptedTransferError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
    SourceError,
)
from tests.support.memory_nodes import MemoryFile, MemoryFolder, MemorySymlink, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import (
        Append,
        Download,
        Entry,
        FileAttributes,
        FolderObserver,
        FolderUpload,
        Link,
        SymbolicLink,
        TransferObserver,
        Upload,
    )
    from tests.support.memory_nodes import Node

_ROOT = PurePosixPath("/")
_MOST_LINKS = 40

_Item = TypeVar("_Item")


class MemoryDestination:
    """Implements `Destination`. `before_change` is called with the name of each changing step and its path.

    It may raise, which makes a test break off anywhere.
    """

    def __init__(self, *, before_change: Callable[[str, PurePosixPath], None] | None = None) -> None:
        self._nodes: dict[PurePosixPath, Node] = {_ROOT: MemoryFolder()}
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
        if not isinstance(self._nodes.get(found), MemoryFolder):
            raise NotFoundError(f"memory: no folder {folder}")
        return [
            entry_of(path.name, node)
            for path, node in list(self._nodes.items())  # tests look while others work
            if path != _ROOT and path.parent == found
        ]

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """List many folders; each is a step, as a change is."""
        for text in folders:
            folder = PurePosixPath(text)
            self._step("list", folder)
            is_folder = isinstance(self._nodes.get(self._name(folder)), MemoryFolder)
            yield text, self.list_folder(folder) if is_folder else None

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        nodes = [self._nodes.get(self._name(path)) for path in paths]
        return [
            None if node is None else entry_of(path.name, node) for path, node in zip(paths, nodes, strict=True)
        ]

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        data = self._file(path).data
        if len(data) > limit_bytes:
            raise ProtocolError(f"memory: {path} is larger than {limit_bytes} bytes")
        return data

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        node = self._nodes.get(self._name(path))
        if not isinstance(node, MemorySymlink):
            raise NotFoundError(f"memory: no link {path}")
        return node.target

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """Where many symbolic links point."""
        nodes = [self._nodes.get(self._name(link)) for link in links]
        return [node.target if isinstance(node, MemorySymlink) else None for node in nodes]

    def free_bytes(self) -> int | None:
        """It does not tell."""
        return None

    # --- changing ------------------------------------------------------------------------------------

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file."""
        self._step("write", path)
        self._put(path, MemoryFile(data))

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        self._step("make_folder", folder)
        for parent in reversed([folder, *folder.parents]):
            found = self._resolve(parent)
            if found not in self._nodes:
                self._nodes[found] = MemoryFolder()
            elif not isinstance(self._nodes[found], MemoryFolder):
                raise PermanentDestinationError(f"memory: {parent} is no folder")

    def make_folders(self, folders: Sequence[PurePosixPath]) -> None:
        """Create many folders."""

        def make(folder: PurePosixPath) -> None:
            self._step("make_folders", folder)
            found = self._nodes.get(self._name(folder))
            if found is None:
                self._put(folder, MemoryFolder())
            elif not isinstance(found, MemoryFolder):
                raise PermanentDestinationError(f"memory: {folder} exists and is no folder")

        _each(folders, make)

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        for item in links:
            self._step("link", item.target)
            self._put(item.target, self._file(item.source))

    def copy(self, links: Sequence[Link]) -> None:
        """Make copies."""
        for item in links:
            self._step("copy", item.target)
            self._put(item.target, MemoryFile(self._file(item.source).data))

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        self._step("rename", target)
        old, new = self._name(source), self._name(target)
        if old not in self._nodes:
            if new in self._nodes:
                return
            raise NotFoundError(f"memory: no {source}")
        if not isinstance(self._nodes[old], MemoryFolder):
            self._put(target, self._nodes.pop(old))
            return
        if new in self._nodes:
            raise PermanentDestinationError(f"memory: {target} exists")
        for path in [path for path in self._nodes if path.is_relative_to(old)]:
            self._nodes[new / path.relative_to(old)] = self._nodes.pop(path)

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link."""
        self._step("point_link", link)
        self._put(link, MemorySymlink(target))

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make many symbolic links."""
        _each(links, lambda link: self.point_link(link.path, link.text))

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """Set what many files and folders carry."""
        missing = []
        for path, attributes in items:
            self._step("set_attributes", path)
            node = self._nodes.get(self._name(path))
            if isinstance(node, MemoryFile | MemoryFolder):
                node.attributes = attributes
            else:
                missing.append(path)
        return missing

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove many files and links."""

        def remove(path: PurePosixPath) -> None:
            self._step("remove_files", path)
            if isinstance(self._nodes.get(self._name(path)), MemoryFolder):
                raise PermanentDestinationError(f"memory: {path} is a folder")
            self._nodes.pop(self._name(path), None)

        _each(paths, remove)

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        self._step("remove_tree", path)
        found = self._name(path)
        for inner in [inner for inner in self._nodes if inner.is_relative_to(found)]:
            del self._nodes[inner]

    # --- moving files --------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files."""
        for item in uploads:
            if observer.stop_requested():
                raise InterruptedTransferError("memory: stopped")
            self._step("upload", item.target)
            try:
                self._upload(item, observer)
            except SourceError as error:
                if not item.optional:
                    raise
                observer.file_skipped(item.target, error)

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Leave them all."""
        for item in uploads:
            observer.folder_done(item, [file.name for file in item.files])

    def _upload(self, item: Upload, observer: TransferObserver) -> None:
        start = b""
        if item.part is not None and not isinstance(self._nodes.get(self._name(item.part.parent)), MemoryFolder):
            raise NotFoundError(f"memory: no folder for {item.part}")
        if item.prefix is not None:
            start = self._file(item.prefix.path).data[: item.prefix.size_bytes]
            if len(start) < item.prefix.size_bytes:
                raise ProtocolError(f"memory: {item.prefix.path} is too short")
        with SourceFile(item.source, item.size_bytes, unsettled=item.optional) as source:
            source.skip(len(start))
            rest = bytearray(item.size_bytes - len(start))
            source.read_into(memoryview(rest))
            observer.bytes_moved(len(rest))
            if item.optional:
                source.check_unchanged()
        file = MemoryFile(start + bytes(rest))
        file.attributes = item.attributes or file.attributes
        if item.part is not None:
            self._nodes.pop(self._name(item.part), None)
        self._put(item.target, file)
        observer.file_done(item.target, source.sha256())

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        for item in appends:
            self._step("append", item.target)
            if item.offset == 0 and self._name(item.target) not in self._nodes:
                self._put(item.target, MemoryFile(b""))
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

    def _put(self, path: PurePosixPath, node: Node) -> None:
        name = self._name(path)
        if not isinstance(self._nodes.get(name.parent), MemoryFolder):
            raise NotFoundError(f"memory: no folder for {path}")
        if isinstance(self._nodes.get(name), MemoryFolder):
            raise PermanentDestinationError(f"memory: {path} is a folder")
        self._nodes[name] = node

    def _overwrite(self, path: PurePosixPath, offset: int, data: bytes) -> None:
        node = self._nodes.get(self._name(path))
        if node is None:
            raise NotFoundError(f"memory: no file {path}")
        if not isinstance(node, MemoryFile):
            raise PermanentDestinationError(f"memory: {path} is no file")
        if len(node.data) < offset:
            raise ProtocolError(f"memory: {path} has {len(node.data)} bytes, expected {offset}")
        node.data = node.data[:offset] + data + node.data[offset + len(data) :]

    def _file(self, path: PurePosixPath) -> MemoryFile:
        node = self._nodes.get(self._resolve(path))
        if not isinstance(node, MemoryFile):
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
            if isinstance(node, MemorySymlink):
                followed += 1
                if followed > _MOST_LINKS:
                    raise NotFoundError(f"memory: {path} leads in circles")
                target = PurePosixPath(node.target)
                found = _ROOT if target.is_absolute() else found.parent
                rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        return found


def _each(items: Sequence[_Item], act: Callable[[_Item], None]) -> None:
    """Do all that can be done, then raise the first error."""
    first: PermanentDestinationError | None = None
    for item in items:
        try:
            act(item)
        except PermanentDestinationError as error:
            first = first or error
    if first is not None:
        raise first
