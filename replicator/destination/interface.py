"""What a destination can do: the contract that every adapter keeps, and nothing of how it does it.

A destination is a tree of folders and files below a base folder. All paths here are relative to that base,
without `..`. Names that come back from it are untrusted: adapters drop none and change none; whoever uses
them checks them.

Rules that hold for every method of every adapter:

- Errors are `DestinationError` and its subclasses only; third-party errors are translated inside the adapter.
  Trouble with *local* files is `SourceError` when reading them and `TargetError` when writing them.
- Every wait is bounded by the destination's `timeout`.
- Every change may be repeated: a caller that lost the connection before the answer came does the same again
  and gets the same end state. (This is what makes a retrying wrapper possible.)
- A destination object belongs to one thread at a time. `close` may be called from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicator.destination.values import (
    SMALL_FILE_BYTES,
    Append,
    Capabilities,
    Download,
    Entry,
    EntryKind,
    FileAttributes,
    FolderUpload,
    Link,
    Owner,
    Prefix,
    SmallFile,
    SymbolicLink,
    Upload,
    storable_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path, PurePosixPath
    from types import TracebackType
    from typing import Self

    from replicator.errors import SourceError

__all__ = [
    "SMALL_FILE_BYTES",
    "Append",
    "BulkObserver",
    "Capabilities",
    "Destination",
    "Download",
    "Entry",
    "EntryKind",
    "FileAttributes",
    "FolderObserver",
    "FolderUpload",
    "Link",
    "Owner",
    "Prefix",
    "SmallFile",
    "SymbolicLink",
    "TransferObserver",
    "Upload",
    "storable_seconds",
]


class BulkObserver(Protocol):
    """Is told how bulk work goes, on the thread that does it."""

    def bytes_moved(self, count: int) -> None:
        """`count` more bytes crossed the wire (for a directory: were copied)."""

    def stop_requested(self) -> bool:
        """Whether to begin no further file and raise `InterruptedTransferError`."""


class TransferObserver(BulkObserver, Protocol):
    """Is told what comes of single files."""

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """`target` is complete and has its name, durably unless `sync` was off; lower-case hex digest of it."""

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """Nothing was stored as `target`, for the fault of the local file. Of `optional` uploads alone."""


class FolderObserver(BulkObserver, Protocol):
    """Is told what comes of the files of a folder."""

    def folder_done(self, upload: FolderUpload, left: Sequence[str]) -> None:
        """All its files are complete and have their names, but those that are named in `left`."""


class Destination(Protocol):
    """A place for replicas."""

    @property
    def label(self) -> str:
        """How messages name it: its URL without secrets."""

    @property
    def session(self) -> int:
        """The number of connections that were made so far; 0 before the first.

        What was seen at the destination counts for the connection over which it was seen: behind another one
        there may be another disk.
        """

    def capabilities(self) -> Capabilities:
        """What it offers."""

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`, unordered, `.` and `..` left out.

        Raises `NotFoundError` if there is no such folder.
        """

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """List many folders, several in flight, in any order; None for one that is missing or is no folder.

        They are named by text, for there are many: relative paths, and `""` for the base.

        A link is no folder, unlike in `list_folder`. Only the listings in flight take memory. No other method may
        be called before the last result was taken.

        `folders` is consumed as there is room. When it ends while results are still to come, it is asked for
        more after each of them, so a caller may add to what it iterates over: by an iterator with a queue, that
        is, for a generator that has ended stays so.
        """

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is, several in flight; links are not followed. None for what is not there."""

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file; links are followed.

        Raises `NotFoundError`, and `ProtocolError` if it is larger than `limit_bytes`.
        """

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points, as it is written in it. Raises `NotFoundError` if it is no link."""

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """As `read_link`, many in flight, in the order given; None for one that is missing or is no link."""

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file durably; an existing one is replaced by an atomic rename."""

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents; those that exist are left as they are."""

    def make_folders(self, folders: Sequence[PurePosixPath]) -> None:
        """Create folders, parents first in the sequence, many in flight and unsynced; existing ones are left.

        Raises `NotFoundError` if a parent is missing; another `PermanentDestinationError` if a name is taken by
        what is no folder, be it a link to one. All that can be made are made, whatever happens to the others.
        """

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files as real copies, several in flight.

        Each is written to `NAME.part` beside its target, checked (every acknowledgement, closing included, and
        the final size where the destination copied a part itself), synced where `fsync` is offered, and renamed.
        An existing target is replaced.
        What was reported by `file_done` stays whatever happens to the others.

        Raises `SourceChangedError` if a local file is shorter than its `size_bytes`, `NotFoundError` if a folder
        is missing, `NoSpaceError`, `MissingCapabilityError` for a prefix without `server_copy`,
        `InterruptedTransferError`.
        """

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Store many small files with little ado for each, several in flight.

        A file that is another one by now than the one that was seen, or is refused, is left and not told of: the
        caller stores those by `upload`, which says what is wrong. A destination may leave all of them. Each is
        written as a part and renamed; a new folder comes with all its files at once, or not at all, and with a
        mode of the adapter's choice if no attributes are given. What was reported by `folder_done` stays
        whatever happens to the others.

        Raises `InterruptedTransferError`, and errors of the connection.
        """

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links, several in flight; an existing target is replaced.

        Raises `NotFoundError` if a source is missing, `MissingCapabilityError` without `hard_link`.
        """

    def copy(self, links: Sequence[Link]) -> None:
        """As `link`, but as real copies made by the destination itself.

        Written to `NAME.part`, synced and renamed as in `upload`. Raises `NotFoundError`, `NoSpaceError`,
        `MissingCapabilityError` without `server_copy`.
        """

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place, in the order given, each synced where `fsync` is offered, a new name too.

        Neither atomic nor by way of a `.part`: after an error any of it may be there, in part. The same bytes at
        the same places again, and perhaps more after them, put it right. Other bytes at the same place need a
        new file (`write_bytes`): a session that was given up may still write what it was sent.

        No byte of an item, nor the name of its file, comes before the bytes of the items ahead of it were
        written and synced, if the server works through requests in their order, as OpenSSH does. One exception:
        when an item fails, a later one that was on its way may be written all the same. No more is sent then,
        and the failed item's file is too short in the end, unless it was long enough before or only the sync
        failed. So a reader compares sizes, or better digests, before a later item counts.

        A file that somebody else removed, or replaced by a shorter one, is reported; if it was replaced by a
        longer one, what is written may be lost unnoticed. Changes made through this object are always seen. A
        symbolic link is never written through, unless its folder's name is one.

        Raises `NotFoundError` if a file or its folder is missing; `ProtocolError` if a file has fewer bytes than
        `offset` before, and nothing of that item is written then, or fewer than `end` after; `NoSpaceError`;
        another `PermanentDestinationError` if the name is taken by what is no file.
        """

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Make bytes `offset` to `end` of `source` those of `target`, another file, at the same place.

        The destination copies them itself, in place and not atomically, and syncs `target` where `fsync` is
        offered. The same call again puts right what an error left. `target` is never a symbolic link.

        Raises `MissingCapabilityError` without `server_copy`; `NotFoundError` if either file is missing;
        `ProtocolError` if `source` has fewer bytes than `end`, or `target` fewer than `offset` before or `end`
        after; `NoSpaceError`; another `PermanentDestinationError` if `target` is no file.
        """

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Fetch files, several requests in flight; each local file is synced before `file_done`.

        Raises `NotFoundError`; `ProtocolError` if a file is shorter than its `size_bytes`; `TargetError`.
        """

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name; an existing file is replaced atomically, a folder is not.

        `source` missing and `target` there means that it is done already. Raises `NotFoundError`.
        """

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`, by an atomic rename over what was there."""

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make symbolic links, many in flight and unsynced; a file or link of that name is replaced atomically.

        Raises `NotFoundError` if a folder is missing; another `PermanentDestinationError` if the name is taken by
        a folder. All that can be made are made, whatever happens to the others.
        """

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """Set what files and folders carry, many in flight and unsynced; return those that are missing.

        Links are never followed: one that took a name counts as missing, and so does what is neither file nor
        folder. The attributes are those of the last time when a path comes twice.

        Raises `AccessDeniedError` if mode or time may not be set, after the others were.
        """

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove files and links, many in flight and unsynced; missing ones are fine.

        Raises `PermanentDestinationError` if one is a folder, after the others were removed.
        """

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link (never its target) or a folder and all in it; a missing one is fine."""

    def free_bytes(self) -> int | None:
        """Space that this account may still use, or None where the server does not tell."""

    def close(self) -> None:
        """Give up the connection; calls under way fail. May be called twice, and from any thread."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
