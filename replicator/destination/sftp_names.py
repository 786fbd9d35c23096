"""Names over an SFTP session: hard links and renames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import EntryKind
from replicator.destination.paths import part_of
from replicator.destination.sftp_errors import is_missing, is_unexplained
from replicator.destination.sftp_folders import kind_of
from replicator.destination.sftp_replies import Attributes
from replicator.errors import PermanentDestinationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import Link
    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection


class SftpNames:
    """Names of one account. All methods raise `DestinationError`."""

    def __init__(self, connection: SftpConnection, account: SftpAccount, label: str) -> None:
        self._connection = connection
        self._account = account
        self._label = label

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links; existing targets are replaced."""
        self._account.need(protocol.HARD_LINK, protocol.POSIX_RENAME)
        requests = [
            protocol.hard_link(self._account.path(item.source), self._account.path(item.target)) for item in links
        ]
        taken = []
        for item, reply in zip(links, self._connection.call_all(requests), strict=True):
            if is_unexplained(reply):  # the target exists, most likely
                taken.append(item)
            else:
                self._account.check([reply], f"link {item.source} to {item.target}")
        self._link_over(taken)
        self._account.sync_folders(item.target.parent for item in links)

    def _link_over(self, links: Sequence[Link]) -> None:
        """Replace targets by links; many may be there already, when a connection broke in the middle of it."""
        parts = [self._account.path(part_of(item.target)) for item in links]
        self._connection.call_all(protocol.remove(part) for part in parts)
        made = self._connection.call_all(
            protocol.hard_link(self._account.path(item.source), part)
            for item, part in zip(links, parts, strict=True)
        )
        for item, reply in zip(links, made, strict=True):
            self._account.check([reply], f"link {item.source} to {item.target}")
        placed = self._connection.call_all(
            protocol.posix_rename(part, self._account.path(item.target))
            for item, part in zip(links, parts, strict=True)
        )
        # rename(2) does nothing when both are names of one file.
        self._connection.call_all(protocol.remove(part) for part in parts)
        for item, reply in zip(links, placed, strict=True):
            self._account.check([reply], f"replace {item.target}")

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        self._account.need(protocol.POSIX_RENAME)
        old, new = self._account.path(source), self._account.path(target)
        action = f"rename {source} to {target}"
        there, taken = self._connection.call_all(
            [protocol.path_status(old, follow=False), protocol.path_status(new, follow=False)]
        )
        if is_missing(there) and isinstance(taken, Attributes):
            return
        if not isinstance(there, Attributes):
            raise self._account.refusal(there, action)
        # rename(2) replaces an empty folder, which a caller takes for "nobody else was here".
        if kind_of(there) is EntryKind.FOLDER and isinstance(taken, Attributes):
            raise PermanentDestinationError(f"{self._label}: cannot {action}: {target} exists")
        self._account.check([self._connection.call(protocol.posix_rename(old, new))], action)
        self._account.sync_folders([source.parent, target.parent])
