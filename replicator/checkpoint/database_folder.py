"""A live database as it lies on disk: what is listed and read of it. Nothing here writes or opens it with RocksDB.

Which files make up one consistent state is decided elsewhere (`capture`).
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.errors import CorruptFileError, SourceChangedError, SourceError, UnsupportedFormatError
from replicator.rocksdb.feeding import feed_log
from replicator.rocksdb.filenames import CURRENT_NAME, IDENTITY_NAME, FileKind, FileName, parse_file_name
from replicator.rocksdb.options_file import OptionsFile, parse_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.rocksdb.feeding import LogReader

#: Of the names of write-ahead logs.
LOG_SUFFIX = ".log"
#: The kernel stamps files with the time of its last clock tick: no more than 10 ms ago, at 100 ticks a second.
_CLOCK_TICK_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One name in the database directory, with the inode behind it."""

    name: FileName
    inode: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found in a folder, and the time of its last change, if a later one is sure to have another."""

    by_name: Mapping[str, ListedFile]
    files: tuple[ListedFile, ...]
    wals: tuple[ListedFile, ...]
    settled_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class OptionsCopy:
    """The newest OPTIONS file that parses: its name, its bytes, what they say."""

    name: str
    content: bytes
    options: OptionsFile


class DatabaseFolder:
    """Read-only view of a database directory, and of the folder in which it keeps its write-ahead logs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listings: dict[Path, Listing] = {}

    def list_files(self, folder: Path) -> Sequence[ListedFile]:
        """Return the files in `folder` (the directory itself or its WAL folder) that RocksDB's state is made of.

        The same object comes back as long as nothing was added or removed. Raises `SourceError` if the folder
        cannot be read.
        """
        return self._listing(folder).files

    def list_wals(self, folder: Path) -> Sequence[ListedFile]:
        """Return the write-ahead logs in `folder`, as `list_files` does."""
        return self._listing(folder).wals

    def _listing(self, folder: Path) -> Listing:
        known = self._listings.get(folder)
        changed_at_ns, looked_at_ns = _changed_at(folder), time.time_ns()
        if known and known.settled_at_ns == changed_at_ns:
            return known
        listing = _list(folder, known)
        # Of a folder that changed just now the time of the next change may be the same.
        if looked_at_ns - changed_at_ns > _CLOCK_TICK_NS:
            listing = replace(listing, settled_at_ns=changed_at_ns)
        self._listings[folder] = listing
        return listing

    def manifest_name(self) -> str:
        """Name of the MANIFEST that CURRENT points to.

        Raises `SourceError` if there is no database here, `CorruptFileError` if CURRENT is garbled.
        """
        path = self.path / CURRENT_NAME
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise SourceError(
                f"no RocksDB database at {self.path}: it has no file CURRENT",
                hint="name the directory that holds CURRENT and the *.sst files",
            ) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        text = content.decode("utf-8", "replace")
        name = parse_file_name(text.removesuffix("\n"))
        if name is None or name.kind is not FileKind.MANIFEST:
            raise CorruptFileError(f"{path} does not name a MANIFEST: {text[:80]!r}")
        return name.name

    def newest_options(self, names: Iterable[FileName] | None = None) -> OptionsCopy | None:
        """Read the newest OPTIONS file that parses; None if there is none. `names` are a listing, if one was made.

        RocksDB writes OPTIONS under a temporary name and renames it, so a file that does not parse is damaged,
        not unfinished; an older one is then the better choice.
        """
        if names is None:
            names = (file.name for file in self._listing(self.path).files)
        options = [name for name in names if name.kind is FileKind.OPTIONS]
        for name in sorted(options, key=lambda name: name.number or 0, reverse=True):
            try:
                content = (self.path / name.name).read_bytes()
                return OptionsCopy(name.name, content, parse_options(content.decode()))
            except (FileNotFoundError, UnicodeDecodeError, CorruptFileError):
                continue
            except OSError as error:
                raise _unreadable(self.path / name.name, error) from error
        return None

    def identity(self) -> bytes:
        """Content of IDENTITY; empty if the file is missing."""
        try:
            return (self.path / IDENTITY_NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise _unreadable(self.path / IDENTITY_NAME, error) from error

    def wal_folder(self, options: OptionsFile | None) -> Path:
        """Where the write-ahead logs lie.

        OPTIONS records the path as the application sees it. One that runs in a container may see another than
        we do: if the recorded path is missing but logs lie in the database directory, that is the place.

        Raises `UnsupportedFormatError` if the logs cannot be found.
        """
        recorded = options.wal_dir if options else ""
        if not recorded or recorded.rstrip("/") == str(self.path):
            return self.path
        folder = Path(recorded)
        if not folder.is_absolute():
            raise UnsupportedFormatError(
                f"{self.path} keeps its write-ahead logs in the relative folder {recorded!r}",
                hint="give the application an absolute wal_dir",
            )
        if folder.is_dir():
            return folder
        if any(listed.name.kind is FileKind.WAL for listed in self.list_files(self.path)):
            return self.path
        raise UnsupportedFormatError(
            f"{self.path} keeps its write-ahead logs in {recorded}, which does not exist here",
            hint="make that folder visible under the same path (a bind mount, for a container)",
        )


def open_for_reading(path: Path) -> int:
    """Open a file of the live database.

    Raises `SourceChangedError` if it has gone, `SourceError` for any other trouble. A symbolic link is trouble:
    it could make us copy files that have nothing to do with the database.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise SourceChangedError(f"{path.name} went away while it was being read") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise not_regular(path) from error
        raise _unreadable(path, error) from error


def not_regular(path: Path) -> SourceError:
    """Say that a file of the database is a symbolic link, or something stranger."""
    return SourceError(
        f"{path.name} in the database is not a regular file",
        hint="databases whose files are symbolic links are not supported",
    )


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"cannot read {path}: {error.strerror}",
        hint="run as the application's user, or grant it read access to the database",
    )


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError as error:
        raise _unlistable(folder, error) from error


def _list(folder: Path, before: Listing | None) -> Listing:
    """List a folder; what was there before is not put into words again."""
    known = before.by_name if before else {}
    by_name: dict[str, ListedFile] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                text, inode = entry.name, entry.inode()
                file = known.get(text)
                if file is not None and file.inode == inode:
                    by_name[text] = file
                elif name := parse_file_name(text):
                    by_name[text] = ListedFile(name, inode)
    except OSError as error:
        raise _unlistable(folder, error) from error
    files = tuple(by_name.values())
    wals = tuple(file for text, file in by_name.items() if text.endswith(LOG_SUFFIX) and _is_wal(file))
    return Listing(by_name, files, wals)


def _is_wal(file: ListedFile) -> bool:
    return file.name.kind is FileKind.WAL


def _unlistable(folder: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SourceError(f"there is no folder {folder}", hint="is the path right, is its filesystem mounted?")
    return SourceError(
        f"cannot list {folder}: {error.strerror}",
        hint="run as the application's user, or grant it read access to the folder",
    )


def feed_file(reader: LogReader, descriptor: int, size_bytes: int) -> None:
    """Feed the reader what it has not seen of the first `size_bytes` bytes of an open file."""
    feed_log(reader, lambda offset, count: os.pread(descriptor, count, offset), size_bytes)
