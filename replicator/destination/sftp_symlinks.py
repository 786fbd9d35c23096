"""Symbolic links over an SFTP session: read and made, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.paths import part_of, private_part_of
from replicator.destination.sftp_errors import is_missing, succeeded
from replicator.destination.sftp_replies import Names, Reply, Status, StatusCode
from replicator.errors import MissingCapabilityError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import SymbolicLink
    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection


class SftpSymlinks:
    """Symbolic links of one account. All methods raise `DestinationError`."""

    def __init__(self, connection: SftpConnection, account: SftpAccount, label: str) -> None:
        self._connection = connection
        self._account = account
        self._label = label
        self._order_is_known = False

    def read(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        reply = self._connection.call(protocol.read_link(self._account.path(path)))
        text = _text_of(reply)
        if text is not None:
            return text.decode("utf-8", "surrogateescape")
        if _is_no_link(reply):
            raise NotFoundError(f"{self._label}: {path} is no symbolic link")
        raise self._account.refusal(reply, f"read the link {path}")

    def read_many(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """Where symbolic links point; None for one that is missing or is no link."""
        found: list[str | None] = []
        replies = self._connection.call_all(protocol.read_link(self._account.path(path)) for path in links)
        for path, reply in zip(links, replies, strict=True):
            text = _text_of(reply)
            if text is None and not is_missing(reply) and not _is_no_link(reply):
                raise self._account.refusal(reply, f"read the link {path}")
            found.append(None if text is None else text.decode("utf-8", "surrogateescape"))
        return found

    def make_many(self, links: Sequence[SymbolicLink]) -> None:
        """Make symbolic links; files and links of their names are replaced."""
        if self._order_is_known:
            self._make(links)
        else:  # a server that takes the arguments as the draft has them shall make one wrong link, not a thousand
            self._make(links[:1])
            self._make(links[1:])

    def point(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`, durably."""
        self._account.need(protocol.POSIX_RENAME)
        part = self._account.path(part_of(link))
        text = self._account.encoded(target)
        _, made, found = self._connection.call_all(
            [protocol.remove(part), protocol.symbolic_link(text, part), protocol.read_link(part)]
        )
        self._account.check([made], f"make the link {link}")
        self._check_order(made, found, text)
        self._account.put_in_place(part, link)
        self._account.sync_folders([link.parent])

    def _check_order(self, made: Reply, found: Reply, text: bytes) -> None:
        """Raise `MissingCapabilityError` if a link was made, but not of the name that was then looked at."""
        if succeeded(made) and _text_of(found) != text:
            raise MissingCapabilityError(
                f"{self._label}: the server makes symbolic links in another way than OpenSSH"
            )
        self._order_is_known |= succeeded(made)

    def _make(self, links: Sequence[SymbolicLink]) -> None:
        requests = []
        for item in links:
            path = self._account.path(item.path)
            requests += [
                protocol.symbolic_link(self._account.encoded(item.text), path),
                protocol.read_link(path),
            ]
        replies = self._connection.call_all(requests)
        taken: list[SymbolicLink] = []
        refused: list[tuple[SymbolicLink, Reply]] = []
        for item, made, found in zip(links, replies[::2], replies[1::2], strict=True):
            text = self._account.encoded(item.text)
            self._check_order(made, found, text)
            if _text_of(found) == text:
                continue
            if is_missing(found):
                refused.append((item, made))
            else:
                taken.append(item)
        refused += self._make_over(taken)
        for item, reply in refused:
            raise self._account.refusal(reply, f"make the link {item.path}")

    def _make_over(self, links: Sequence[SymbolicLink]) -> list[tuple[SymbolicLink, Reply]]:
        """Replace names by links; return what was refused."""
        if not links:
            return []
        self._account.need(protocol.POSIX_RENAME)
        parts = [self._account.path(item.part or private_part_of(item.path)) for item in links]
        requests = []
        for item, part in zip(links, parts, strict=True):
            requests += [protocol.remove(part), protocol.symbolic_link(self._account.encoded(item.text), part)]
        made = self._connection.call_all(requests)[1::2]
        refused = [(item, reply) for item, reply in zip(links, made, strict=True) if not succeeded(reply)]
        ready = [
            pair for pair, reply in zip(zip(links, parts, strict=True), made, strict=True) if succeeded(reply)
        ]
        placed = self._connection.call_all(
            protocol.posix_rename(part, self._account.path(item.path)) for item, part in ready
        )
        left = [(pair, reply) for pair, reply in zip(ready, placed, strict=True) if not succeeded(reply)]
        self._connection.call_all(protocol.remove(part) for (_, part), _ in left)
        return refused + [(item, reply) for (item, _), reply in left]


def _text_of(reply: Reply) -> bytes | None:
    """Return where a link points, if that was the answer."""
    if not isinstance(reply, Names) or len(reply.entries) != 1:
        return None
    return reply.entries[0].name.encode("utf-8", "surrogateescape")


def _is_no_link(reply: Reply) -> bool:
    """Whether it is what OpenSSH says of EINVAL, which is readlink(2)'s answer to a name that is no link."""
    return isinstance(reply, Status) and reply.code == StatusCode.BAD_MESSAGE
