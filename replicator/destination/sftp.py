"""A destination that is an SFTP account: the contract of `Destination` in requests of the protocol.

Bulk transfers are in `sftp_bulk`, files that grow in `sftp_append` and `sftp_in_place`,
hard links and renames in `sftp_names`, symbolic links in `sftp_symlinks`, whole folders in `sftp_folders`, many
names at once in `sftp_listings` and `sftp_trees`, the session in `sftp_connection`, the way there in `sftp_login`.
Retrying is for others: an object whose connection broke stays broken.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import Capabilities, Entry, EntryKind
from replicator.destination.paths import part_of
from replicator.destination.sftp_account import FILE_MODE, SftpAccount
from replicator.destination.sftp_append import Appender
from replicator.destination.sftp_bulk import SftpBulk
from replicator.destination.sftp_connection import SftpConnection
from replicator.destination.sftp_errors import is_missing, succeeded
from replicator.destination.sftp_folders import SftpFolders, kind_of
from replicator.destination.sftp_helpers import NO_SHARING, Sharing
from replicator.destination.sftp_in_place import InPlaceFiles
from replicator.destination.sftp_listings import SftpListings
from replicator.destination.sftp_names import SftpNames
from replicator.destination.sftp_replies import (
    Attributes,
    Data,
    Handle,
    Reply,
    Status,
    StatusCode,
)
from replicator.destination.sftp_symlinks import SftpSymlinks
from replicator.destination.sftp_trees import SftpTrees
from replicator.errors import (
    DestinationError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from replicator.destination.interface import (
        Append,
        Download,
        FileAttributes,
        FolderObserver,
        FolderUpload,
        Link,
        SymbolicLink,
        TransferObserver,
        Upload,
    )
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_route import SftpSettings

_FOLDER_MODE = 0o750


class SftpDestination:
    """Implements `Destination` over an SFTP session, and further ones for bulk transfers."""

    def __init__(
        self,
        connection: SftpConnection,
        settings: SftpSettings,
        limiter: RateLimiter | None = None,
        sharing: Sharing = NO_SHARING,
    ) -> None:
        self._account = SftpAccount(connection, settings.label, settings.base)
        self._connection = connection
        self._folders = SftpFolders(connection, self._account, settings.label)
        self._listings = SftpListings(connection, self._account)
        self._names = SftpNames(connection, self._account, settings.label)
        self._symlinks = SftpSymlinks(connection, self._account, settings.label)
        self._trees = SftpTrees(connection, self._account, settings.label)
        self._in_place = InPlaceFiles(connection, self._account, settings.label)
        self._appender = Appender(connection, self._account, self._in_place, limiter)
        self._bulk = SftpBulk(connection, self._account, settings, limiter, sharing)
        self._label = settings.label

    @classmethod
    def connect(
        cls, settings: SftpSettings, limiter: RateLimiter | None = None, sharing: Sharing = NO_SHARING
    ) -> SftpDestination:
        """Log in, and make sure that the base folder is there: it is never created."""
        return cls.over(SftpConnection.open(settings), settings, limiter, sharing)

    @classmethod
    def over(
        cls,
        connection: SftpConnection,
        settings: SftpSettings,
        limiter: RateLimiter | None = None,
        sharing: Sharing = NO_SHARING,
    ) -> SftpDestination:
        """As `connect`, in a session that has begun; it ends if there is no base folder."""
        try:
            destination = cls(connection, settings, limiter, sharing)
            destination._check_base()
        except BaseException:
            connection.close()
            raise
        return destination

    def _check_base(self) -> None:
        reply = self._connection.call(protocol.path_status(self._account.path(PurePosixPath()), follow=True))
        if is_missing(reply) or (isinstance(reply, Attributes) and kind_of(reply) is not EntryKind.FOLDER):
            raise NotFoundError(
                f"{self._label}: there is no folder {self._account.base}",
                hint="create it there; in a chroot the path begins at its root",
            )
        if not isinstance(reply, Attributes):
            raise self._account.refusal(reply, f"look at the base folder {self._account.base}")

    @property
    def label(self) -> str:
        """How messages name it."""
        return self._label

    @property
    def session(self) -> int:
        """The only one: an object whose connection broke stays broken."""
        return 1

    def capabilities(self) -> Capabilities:
        """What the server told in its first packet."""
        offered = self._connection.extensions
        return Capabilities(
            hard_link=protocol.HARD_LINK in offered,
            server_copy=protocol.COPY_DATA in offered,
            fsync=protocol.FSYNC in offered,
            free_space=protocol.STATVFS in offered,
        )

    # --- reading -------------------------------------------------------------------------------------

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`."""
        return self._folders.list_folder(folder)

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """List many folders, several in flight."""
        return self._listings.list_folders(folders)

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        return self._folders.look_up(paths)

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        opened = self._connection.call(protocol.open_reading(self._account.path(path)))
        if not isinstance(opened, Handle):
            raise self._account.refusal(opened, f"open {path}")
        try:
            found = bytearray()
            while len(found) <= limit_bytes:
                step = min(self._connection.limits.read_bytes, limit_bytes + 1 - len(found))
                reply = self._connection.call(protocol.read(opened.value, len(found), step))
                if isinstance(reply, Data) and reply.value:
                    found += reply.value
                elif isinstance(reply, Status) and reply.code == StatusCode.EOF:
                    return bytes(found)
                else:
                    raise self._account.refusal(reply, f"read {path}")
        finally:
            self._connection.post(protocol.close(opened.value), lambda _: None)
        raise ProtocolError(f"{self._label}: {path} is larger than {limit_bytes} bytes")

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        return self._symlinks.read(path)

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """Where many symbolic links point."""
        return self._symlinks.read_many(links)

    def free_bytes(self) -> int | None:
        """Space that this account may still use."""
        found = self._account.file_system()
        return None if found is None else found.free_bytes

    # --- changing ------------------------------------------------------------------------------------

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file durably."""
        self._appender.forget()
        self._account.need(protocol.POSIX_RENAME)
        part = self._account.path(part_of(path))
        self._connection.call(protocol.remove(part))
        opened = self._connection.call(protocol.create_file(part, FILE_MODE))
        if not isinstance(opened, Handle):
            raise self._account.refusal(opened, f"create {path}")
        replies: list[Reply] = []
        step = self._connection.limits.write_bytes
        for offset in range(0, len(data), step):
            chunk = data[offset : offset + step]

            def fill(view: memoryview, chunk: bytes = chunk) -> None:
                view[:] = chunk

            self._connection.post_write(opened.value, offset, len(chunk), fill, replies.append)
        if protocol.FSYNC in self._connection.extensions:
            self._connection.post(protocol.sync(opened.value), replies.append)
        self._connection.post(protocol.close(opened.value), replies.append)
        self._connection.receive_all()
        self._account.check(replies, f"write {path}", remove=part)
        self._account.put_in_place(part, path)
        self._account.sync_folders([path.parent])

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        parents = [parent for parent in reversed([folder, *folder.parents]) if parent != PurePosixPath()]
        replies = self._connection.call_all(
            protocol.make_folder(self._account.path(parent), _FOLDER_MODE) for parent in parents
        )
        found = self._connection.call(protocol.path_status(self._account.path(folder), follow=True))
        if not isinstance(found, Attributes):
            raise self._unmade(parents, replies)
        if kind_of(found) is not EntryKind.FOLDER:
            raise PermanentDestinationError(f"{self._label}: {folder} exists and is no folder")
        self._account.sync_folders(
            parent.parent for parent, reply in zip(parents, replies, strict=True) if succeeded(reply)
        )

    def make_folders(self, folders: Sequence[PurePosixPath]) -> None:
        """Create many folders."""
        self._trees.make_folders(folders, _FOLDER_MODE)

    def _unmade(self, parents: Sequence[PurePosixPath], replies: Sequence[Reply]) -> DestinationError:
        """Tell of the first folder that is not there: what lies below it is only missing because of that."""
        for parent, reply in zip(parents, replies, strict=True):
            if not succeeded(reply) and is_missing(
                self._connection.call(protocol.path_status(self._account.path(parent), follow=True))
            ):
                return self._account.refusal(reply, f"create the folder {parent}")
        return self._account.refusal(replies[-1], f"create the folder {parents[-1]}")

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        self._appender.forget()
        self._names.link(links)

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies."""
        self._appender.forget()
        self._bulk.copy(links)

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        self._appender.forget()
        self._names.rename(source, target)

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`."""
        self._appender.forget()
        self._symlinks.point(link, target)

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make many symbolic links."""
        self._appender.forget()
        self._symlinks.make_many(links)

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """Set what many files and folders carry."""
        return self._trees.set_attributes(items)

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove many files and links."""
        self._appender.forget()
        self._trees.remove_files(paths)

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        self._appender.forget()
        self._folders.remove_tree(path)

    # --- moving files --------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files."""
        self._appender.forget()
        self._bulk.upload(uploads, observer)

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Store many small files."""
        self._appender.forget()
        self._bulk.upload_folders(uploads, observer)

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        self._appender.append(appends)

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        self._in_place.copy_range(source, target, offset=offset, end=end)

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Fetch files."""
        self._bulk.download(downloads, observer)

    def warm_up(self) -> None:
        """Make the further connections that bulk transfers use; without this the first large one does."""
        self._bulk.warm_up()

    def close(self) -> None:
        """End all sessions."""
        self._connection.close()
        self._bulk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
