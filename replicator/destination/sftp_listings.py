"""Many folders listed at once over an SFTP session: while one is read, the next are opened."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from replicator.destination.interface import Entry, EntryKind
from replicator.destination.sftp_errors import is_missing
from replicator.destination.sftp_folders import entries_of, kind_of
from replicator.destination.sftp_protocol import RequestType
from replicator.destination.sftp_replies import Attributes, Handle, Names, Reply, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection

# Plain numbers: looking up a member of an enumeration costs as much as the rest of a request.
_CLOSE, _LSTAT = int(RequestType.CLOSE), int(RequestType.LSTAT)
_OPENDIR, _READDIR = int(RequestType.OPENDIR), int(RequestType.READDIR)

# With a tenth of a second to the server and back, hundreds of folders a second. A server that lets a session have
# few open files lets it have more than that.
_MOST_FOLDERS = 192
# One for the names and one for the end, which is all that a small folder needs; none for the end where a part that
# is not full is known to be the last: that is a quarter of all requests.
_FIRST_READS = 2
_MOST_READS = 8
# How long a folder counts as one after it was listed as such, and how many are remembered.
_KNOWN_SECONDS = 5.0
_MOST_KNOWN = 100_000
# OpenSSH gives 100 names at a time: a page with many means that there are more.
_LONG_PAGE_NAMES = 50


class _Listing:
    """A folder that is being listed; its methods take the answers. `finished` gets it in the end."""

    __slots__ = (
        "_connection",
        "_finished",
        "_full_page_names",
        "_handle",
        "_unanswered",
        "ended",
        "entries",
        "folder",
        "is_folder",
        "path",
        "refused",
    )

    def __init__(
        self,
        connection: SftpConnection,
        folder: str,
        path: bytes,
        finished: deque[_Listing],
        full_page_names: int | None,
    ) -> None:
        self.folder = folder
        self.path = path
        self.is_folder = True
        self.ended = False
        self.entries: list[Entry] = []
        self.refused: Reply | None = None
        self._connection = connection
        self._full_page_names = full_page_names
        self._finished = finished
        self._handle = b""
        self._unanswered = 0

    def begin(self, *, is_known: bool) -> None:
        """Open it. That follows links, and a link is no folder: that is asked, unless it `is_known` to be one."""
        if not is_known:
            self._connection.post_short(_LSTAT, self.path, self._looked)
        self._connection.post_short(_OPENDIR, self.path, self._opened)

    def _looked(self, reply: Reply) -> None:
        self.is_folder = not isinstance(reply, Attributes) or kind_of(reply) is EntryKind.FOLDER

    def _opened(self, reply: Reply) -> None:
        if isinstance(reply, Handle):
            self._handle = reply.value
            if self.is_folder:
                self._read(1 if self._full_page_names else _FIRST_READS)
                return
            self._connection.post_short(_CLOSE, self._handle, _ignore)
        else:
            self.refused = reply
        self._end()

    def _read(self, count: int) -> None:
        self._unanswered += count
        answered = self._answered
        for _ in range(count):
            self._connection.post_short(_READDIR, self._handle, answered)

    def _answered(self, reply: Reply) -> None:
        self._unanswered -= 1
        if self.ended:
            return
        if isinstance(reply, Names):
            self.entries += entries_of(reply)
            if self._full_page_names and len(reply.entries) < self._full_page_names:
                self._close()
            elif len(reply.entries) >= _LONG_PAGE_NAMES:
                self._read(min(2, _MOST_READS - self._unanswered))
            elif not self._unanswered:
                self._read(1)
            return
        if not (isinstance(reply, Status) and reply.code == StatusCode.EOF):
            self.refused = reply
        self._close()

    def _close(self) -> None:
        self._connection.post_short(_CLOSE, self._handle, _ignore)
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._finished.append(self)


class _KnownFolders:
    """Which folders are known to be no links, because a listing said so a moment ago.

    To ask again, right before a folder is opened, would leave the same gap, only a shorter one: what is done with
    what a listing tells is done later anyway.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}

    def note(self, above: bytes, entries: list[Entry]) -> None:
        """Remember the folders in a part of the listing of `above`."""
        kind = EntryKind.FOLDER
        names = [entry[0] for entry in entries if entry[1] is kind]
        if names:
            now = time.monotonic()
            if len(self._seen) > _MOST_KNOWN:  # nobody asks for them
                self._seen.clear()
            for name in names:
                self._seen[b"%b/%b" % (above, name.encode("utf-8", "surrogateescape"))] = now

    def has(self, path: bytes) -> bool:
        """Say whether a folder is known to be one; it is forgotten then."""
        seen_at = self._seen.pop(path, None)
        return seen_at is not None and time.monotonic() - seen_at < _KNOWN_SECONDS


class SftpListings:
    """Listings of one account."""

    def __init__(self, connection: SftpConnection, account: SftpAccount) -> None:
        self._connection = connection
        self._account = account

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """See `Destination`. Raises `DestinationError`."""
        more = iter(folders)
        finished: deque[_Listing] = deque()
        # Of no use beyond this call: who asked may change the tree then.
        known = _KnownFolders()
        full_page_names = self._connection.full_page_names
        under_way = 0
        while True:
            while under_way < _MOST_FOLDERS and (folder := next(more, None)) is not None:
                path = self._account.path(folder)
                listing = _Listing(self._connection, folder, path, finished, full_page_names)
                # The base alone may be a link.
                listing.begin(is_known=known.has(listing.path) or not folder)
                under_way += 1
            if not under_way:
                return
            while not finished:
                self._connection.receive()
            listing = finished.popleft()
            under_way -= 1
            if listing.refused is not None and not is_missing(listing.refused):
                raise self._account.refusal(listing.refused, f"list {listing.folder}")
            if not listing.is_folder or listing.refused is not None:
                yield listing.folder, None
            else:
                known.note(listing.path, listing.entries)
                yield listing.folder, listing.entries


def _ignore(_reply: Reply) -> None:
    """Take an answer that changes nothing."""
