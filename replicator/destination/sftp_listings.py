"""Many folders listed at once over an SFTP session: while one is read, the next are opened."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import Entry, EntryKind
from replicator.destination.sftp_errors import is_missing
from replicator.destination.sftp_folders import entries_of, kind_of
from replicator.destination.sftp_replies import Attributes, Handle, Names, Reply, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import PurePosixPath

    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection

# With a tenth of a second to the server and back, hundreds of folders a second. A server that lets a session have
# few open files lets it have more than that.
_MOST_FOLDERS = 128
# One for the names and one for the end, which is all that a small folder needs.
_FIRST_READS = 2
_MOST_READS = 8
# How long a folder counts as one after it was listed as such, and how many are remembered.
_KNOWN_SECONDS = 5.0
_MOST_KNOWN = 100_000
# OpenSSH gives 100 names at a time: a page with many means that there are more.
_LONG_PAGE_NAMES = 50


@dataclass(slots=True)
class _Listing:
    """A folder that is being listed. `unanswered` counts the requests for more names."""

    folder: PurePosixPath
    path: bytes
    finished: deque[_Listing]
    is_folder: bool = True
    unanswered: int = 0
    ended: bool = False
    entries: list[Entry] = field(default_factory=list)
    refused: Reply | None = None

    def end(self) -> None:
        """Let it be handed out."""
        self.ended = True
        self.finished.append(self)


class _KnownFolders:
    """Which folders are known to be no links, because a listing said so a moment ago.

    To ask again, right before a folder is opened, would leave the same gap, only a shorter one: what is done with
    what a listing tells is done later anyway.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}

    def note(self, above: bytes, entries: list[Entry]) -> None:
        """Remember the folders in a part of the listing of `above`."""
        now = time.monotonic()
        if len(self._seen) > _MOST_KNOWN:  # nobody asks for them
            self._seen.clear()
        for entry in entries:
            if entry.kind is EntryKind.FOLDER:
                self._seen[b"%b/%b" % (above, entry.name.encode("utf-8", "surrogateescape"))] = now

    def has(self, path: bytes) -> bool:
        """Say whether a folder is known to be one; it is forgotten then."""
        seen_at = self._seen.pop(path, None)
        return seen_at is not None and time.monotonic() - seen_at < _KNOWN_SECONDS


class SftpListings:
    """Listings of one account."""

    def __init__(self, connection: SftpConnection, account: SftpAccount) -> None:
        self._connection = connection
        self._account = account

    def list_folders(self, folders: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, list[Entry] | None]]:
        """See `Destination`. Raises `DestinationError`."""
        more = iter(folders)
        finished: deque[_Listing] = deque()
        # Of no use beyond this call: who asked may change the tree then.
        known = _KnownFolders()
        under_way = 0
        while True:
            while under_way < _MOST_FOLDERS and (folder := next(more, None)) is not None:
                self._begin(_Listing(folder, self._account.path(folder), finished), known)
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

    def _begin(self, listing: _Listing, known: _KnownFolders) -> None:
        def looked(reply: Reply) -> None:
            listing.is_folder = not isinstance(reply, Attributes) or kind_of(reply) is EntryKind.FOLDER

        def opened(reply: Reply) -> None:
            if isinstance(reply, Handle) and listing.is_folder:
                self._read(listing, reply.value, _FIRST_READS)
                return
            if isinstance(reply, Handle):
                self._connection.post(protocol.close(reply.value), _ignore)
            else:
                listing.refused = reply
            listing.end()

        # Opening follows links, and a link is no folder; the base alone may be one.
        if listing.folder.parts and not known.has(listing.path):
            self._connection.post(protocol.path_status(listing.path, follow=False), looked)
        self._connection.post(protocol.open_folder(listing.path), opened)

    def _read(self, listing: _Listing, handle: bytes, count: int) -> None:
        def answered(reply: Reply) -> None:
            listing.unanswered -= 1
            if listing.ended:
                return
            if isinstance(reply, Names):
                listing.entries += entries_of(reply)
                if len(reply.entries) >= _LONG_PAGE_NAMES:
                    self._read(listing, handle, min(2, _MOST_READS - listing.unanswered))
                elif not listing.unanswered:
                    self._read(listing, handle, 1)
                return
            if not (isinstance(reply, Status) and reply.code == StatusCode.EOF):
                listing.refused = reply
            self._connection.post(protocol.close(handle), _ignore)
            listing.end()

        for _ in range(count):
            listing.unanswered += 1
            self._connection.post(protocol.read_folder(handle), answered)


def _ignore(_reply: Reply) -> None:
    """Take an answer that changes nothing."""
