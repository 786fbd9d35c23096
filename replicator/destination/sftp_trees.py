"""Many names of a tree at once over an SFTP session: folders made, attributes set, files removed.

Nothing costs a round trip for each name. No link is written through: where a request would follow one, it is asked
first what the name is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import EntryKind
from replicator.destination.sftp_errors import is_missing, succeeded
from replicator.destination.sftp_folders import kind_of
from replicator.destination.sftp_replies import Attributes, Reply, Status, StatusCode
from replicator.errors import PermanentDestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import FileAttributes
    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_protocol import Request
    from replicator.errors import DestinationError

_Item = tuple["PurePosixPath", "FileAttributes"]


class SftpTrees:
    """Trees of one account. All methods raise `DestinationError`, after all that can be done was done."""

    def __init__(self, connection: SftpConnection, account: SftpAccount, label: str) -> None:
        self._connection = connection
        self._account = account
        self._label = label
        self._spares_links = protocol.SET_LINK_STATUS in connection.extensions

    def make_folders(self, folders: Sequence[PurePosixPath], mode: int) -> None:
        """Create folders, parents first; existing ones are left."""
        made = self._connection.call_all(
            protocol.make_folder(self._account.path(folder), mode) for folder in folders
        )
        refused = [(folder, reply) for folder, reply in zip(folders, made, strict=True) if not succeeded(reply)]
        errors: list[DestinationError] = []
        for (folder, reply), found in zip(refused, self._look([folder for folder, _ in refused]), strict=True):
            if not isinstance(found, Attributes):
                errors.append(self._account.refusal(reply, f"create the folder {folder}"))
            elif kind_of(found) is not EntryKind.FOLDER:
                errors.append(PermanentDestinationError(f"{self._label}: {folder} exists and is no folder"))
        if errors:
            raise errors[0]

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove files and links; missing ones are fine."""
        replies = self._connection.call_all(protocol.remove(self._account.path(path)) for path in paths)
        for path, reply in zip(paths, replies, strict=True):
            if not is_missing(reply):
                self._account.check([reply], f"remove {path}")

    def set_attributes(self, items: Sequence[_Item]) -> list[PurePosixPath]:
        """Set what files and folders carry; return those that are missing, or are neither."""
        if not self._spares_links:
            return self._set_those_seen(items)
        missing: list[PurePosixPath] = []
        unexplained: list[_Item] = []
        refused: list[tuple[PurePosixPath, Reply]] = []
        for item, reply in zip(items, self._set(items, protocol.set_link_status), strict=True):
            if is_missing(reply):
                missing.append(item[0])
            elif isinstance(reply, Status) and reply.code in {StatusCode.FAILURE, StatusCode.OP_UNSUPPORTED}:
                unexplained.append(item)
            elif not succeeded(reply):
                refused.append((item[0], reply))
        if unexplained:
            # It is a link, which has no mode to set; or the server sees no /proc, as in a chroot, and cannot set a
            # mode in this way.
            seen_missing = self._set_those_seen(unexplained)
            self._spares_links = len(seen_missing) == len(unexplained)
            missing += seen_missing
        self._check(refused)
        return missing

    def _set_those_seen(self, items: Sequence[_Item]) -> list[PurePosixPath]:
        """Set attributes in requests that follow links, of names that are none."""
        missing: list[PurePosixPath] = []
        unseen: list[tuple[PurePosixPath, Reply]] = []
        seen: list[_Item] = []
        for item, found in zip(items, self._look([path for path, _ in items]), strict=True):
            if isinstance(found, Attributes) and kind_of(found) in {EntryKind.FILE, EntryKind.FOLDER}:
                seen.append(item)
            elif isinstance(found, Attributes) or is_missing(found):
                missing.append(item[0])
            else:
                unseen.append((item[0], found))
        replies = self._set(seen, protocol.set_path_status)
        refused = [(item[0], reply) for item, reply in zip(seen, replies, strict=True) if not succeeded(reply)]
        missing += [path for path, reply in refused if is_missing(reply)]
        self._check(unseen + [(path, reply) for path, reply in refused if not is_missing(reply)])
        return missing

    def _set(self, items: Sequence[_Item], request: Callable[[bytes, bytes], Request]) -> list[Reply]:
        """Set owners and all else; return the answers to the latter."""

        def requests() -> Iterable[Request]:
            for path, attributes in items:
                name, owner = self._account.path(path), attributes.owner
                # Apart, for where it is refused the rest would be; and first, for it takes setuid bits away.
                if owner is not None:
                    yield request(name, protocol.owner_of(owner.user_id, owner.group_id))
                yield request(name, protocol.mode_and_time(attributes.mode, attributes.stored_seconds))

        replies = iter(self._connection.call_all(requests()))
        found = []
        for _, attributes in items:
            if attributes.owner is not None:
                next(replies)
            found.append(next(replies))
        return found

    def _look(self, paths: Sequence[PurePosixPath]) -> list[Reply]:
        """Ask what names are; the base alone may be a link."""
        return self._connection.call_all(
            protocol.path_status(self._account.path(path), follow=not path.parts) for path in paths
        )

    def _check(self, refused: Sequence[tuple[PurePosixPath, Reply]]) -> None:
        for path, reply in refused:
            raise self._account.refusal(reply, f"set the attributes of {path}")
