"""What all requests to an SFTP account have in common: paths, extensions, durable names, errors."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.paths import checked_text
from replicator.destination.sftp_errors import is_unexplained, refusal, succeeded
from replicator.destination.sftp_replies import ExtendedReply, FileSystem, Handle, Reply, parse_file_system
from replicator.errors import DestinationError, MissingCapabilityError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.destination.sftp_connection import SftpConnection

#: The account and its group may read what is stored, as a standby host needs; it is nobody else's business.
FILE_MODE = 0o640
#: So much is copied on the server at a time: no single request may outlast the timeout.
LONGEST_COPY_BYTES = 32 << 20

_LONGEST_PATH_BYTES = 16 * 1024


class SftpAccount:
    """A base folder on a server, over a session."""

    def __init__(self, connection: SftpConnection, label: str, base: PurePosixPath) -> None:
        self.base = base
        self._start = "" if base == PurePosixPath() else f"{str(base).removesuffix('/')}/"
        self._connection = connection
        self._label = label

    def path(self, path: PurePosixPath | str) -> bytes:
        """Return a path as the server knows it. Raises `ProtocolError` for one that is not below the base."""
        text = checked_text(path)
        return self.encoded(str(self.base) if text in {"", "."} else self._start + text)

    def encoded(self, text: str) -> bytes:
        """Return a name, or the text of a link, as bytes. Raises `ProtocolError` if no server could take it."""
        try:
            found = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ProtocolError(f"{self._label}: {text!r} cannot be a name") from error
        # OpenSSH ends the session over a NUL byte.
        if b"\0" in found or len(found) > _LONGEST_PATH_BYTES:
            raise ProtocolError(f"{self._label}: {text[:200]!r} cannot be a name")
        return found

    def need(self, *extensions: str) -> None:
        """Raise `MissingCapabilityError` unless the server offers all of them."""
        for name in extensions:
            if name not in self._connection.extensions:
                raise MissingCapabilityError(
                    f"{self._label}: the server lacks the SFTP extension {name}",
                    hint="OpenSSH has it: is it denied there with `sftp-server -P`?",
                )

    def sync_folders(self, folders: Iterable[PurePosixPath]) -> None:
        """Bring names to disk. Servers that cannot sync a folder are left at that."""
        if protocol.FSYNC not in self._connection.extensions:
            return
        paths = dict.fromkeys(self.path(folder) for folder in folders)
        opened = self._connection.call_all(protocol.open_reading(path) for path in paths)
        handles = [reply.value for reply in opened if isinstance(reply, Handle)]
        self._connection.call_all(protocol.sync(handle) for handle in handles)
        self._connection.call_all(protocol.close(handle) for handle in handles)

    def file_system(self) -> FileSystem | None:
        """Return the figures of the filesystem, or None where the server does not tell."""
        if protocol.STATVFS not in self._connection.extensions:
            return None
        reply = self._connection.call(protocol.file_system(self.path(PurePosixPath())))
        return parse_file_system(reply) if isinstance(reply, ExtendedReply) else None

    def put_in_place(self, part: bytes, target: PurePosixPath) -> None:
        """Rename a finished part over its target; the part is removed when that fails."""
        reply = self._connection.call(protocol.posix_rename(part, self.path(target)))
        self.check([reply], f"replace {target}", remove=part)

    def check(self, replies: Iterable[Reply], action: str, *, remove: bytes | None = None) -> None:
        """Raise the error for the first reply that is none of success, after the path `remove` was removed."""
        for reply in replies:
            if not succeeded(reply):
                error = self.refusal(reply, action)
                if remove is not None:
                    self._connection.call(protocol.remove(remove))
                raise error

    def refusal(self, reply: Reply, action: str) -> DestinationError:
        """Return the error for a reply that is not the wanted one."""
        found = self.file_system() if is_unexplained(reply) else None
        return refusal(reply, label=self._label, action=action, file_system=found)
