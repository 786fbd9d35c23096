"""Whole folders over an SFTP session: listing them, and removing them with all that is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import Entry, EntryKind
from replicator.destination.sftp_errors import is_missing
from replicator.destination.sftp_name_list import kind_of_mode
from replicator.destination.sftp_replies import Attributes, Handle, Names, Status, StatusCode
from replicator.errors import NotFoundError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePosixPath

    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_protocol import Request

_READS_AHEAD = 4


class SftpFolders:
    """Folders of one account. All methods raise `DestinationError`."""

    def __init__(self, connection: SftpConnection, account: SftpAccount, label: str) -> None:
        self._connection = connection
        self._account = account
        self._label = label

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`. Raises `NotFoundError`."""
        reply = self._connection.call(protocol.open_folder(self._account.path(folder)))
        if not isinstance(reply, Handle):
            raise self._account.refusal(reply, f"list {folder}")
        entries: list[Entry] = []
        at_end = False
        while not at_end:
            request = protocol.read_folder(reply.value)
            for page in self._connection.call_all([request] * _READS_AHEAD):
                if isinstance(page, Names):
                    entries += entries_of(page)
                elif isinstance(page, Status) and page.code == StatusCode.EOF:
                    at_end = True
                else:
                    self._connection.call(protocol.close(reply.value))
                    raise self._account.refusal(page, f"list {folder}")
        self._connection.call(protocol.close(reply.value))
        return entries

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is, links not followed; None for what is not there."""
        replies = self._connection.call_all(
            protocol.path_status(self._account.path(path), follow=False) for path in paths
        )
        found: list[Entry | None] = []
        for path, reply in zip(paths, replies, strict=True):
            if isinstance(reply, Attributes):
                found.append(reply.of(path.name))
            elif is_missing(reply):
                found.append(None)
            else:
                raise self._account.refusal(reply, f"look at {path}")
        return found

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it; links are not followed."""
        found = self._connection.call(protocol.path_status(self._account.path(path), follow=False))
        if is_missing(found):
            return
        if not isinstance(found, Attributes):
            raise self._account.refusal(found, f"remove {path}")
        if kind_of(found) is not EntryKind.FOLDER:
            self._remove([protocol.remove(self._account.path(path))], path)
            return
        folders = [path]
        for folder in folders:  # grows while it is walked, so that children come after their parents
            requests: list[Request] = []
            for entry in self._list_if_there(folder):
                if "/" in entry.name:
                    raise ProtocolError(f"{self._label}: {folder} holds the impossible name {entry.name!r}")
                if entry.kind is EntryKind.FOLDER:
                    folders.append(folder / entry.name)
                else:
                    requests.append(protocol.remove(self._account.path(folder / entry.name)))
            self._remove(requests, folder)
        self._remove([protocol.remove_folder(self._account.path(folder)) for folder in reversed(folders)], path)

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove files and links; missing ones are fine."""
        replies = self._connection.call_all(protocol.remove(self._account.path(path)) for path in paths)
        for path, reply in zip(paths, replies, strict=True):
            if not is_missing(reply):
                self._account.check([reply], f"remove {path}")

    def _list_if_there(self, folder: PurePosixPath) -> list[Entry]:
        try:
            return self.list_folder(folder)
        except NotFoundError:
            return []

    def _remove(self, requests: list[Request], path: PurePosixPath) -> None:
        replies = self._connection.call_all(requests)
        self._account.check([reply for reply in replies if not is_missing(reply)], f"remove what is in {path}")


def kind_of(found: Attributes) -> EntryKind:
    """Say what a name is by its attributes."""
    return kind_of_mode(found.permissions or 0)


def entries_of(page: Names) -> Sequence[Entry]:
    """Return what a part of a listing tells, `.` and `..` left out."""
    if [entry[0] for entry in page.entries[:2]] == [".", ".."]:  # most of the time
        return page.entries[2:]
    return [entry for entry in page.entries if entry[0] not in {".", ".."}]
