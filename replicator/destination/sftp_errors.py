"""What a refused SFTP request means: its status, and where that says nothing, the state of the filesystem."""

from __future__ import annotations

from replicator.destination.sftp_replies import FileSystem, Reply, Status, StatusCode
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)

#: With less than this free, an unexplained failure is taken for a full disk.
_NEARLY_FULL_BYTES = 1 << 20

_ERRORS: dict[int, type[DestinationError]] = {
    StatusCode.NO_SUCH_FILE: NotFoundError,
    StatusCode.PERMISSION_DENIED: AccessDeniedError,
    StatusCode.NO_CONNECTION: ConnectionLostError,
    StatusCode.CONNECTION_LOST: ConnectionLostError,
    StatusCode.OP_UNSUPPORTED: MissingCapabilityError,
}


def succeeded(reply: Reply) -> bool:
    """Whether a request that returns nothing was carried out."""
    return isinstance(reply, Status) and reply.code == StatusCode.OK


def is_missing(reply: Reply) -> bool:
    """Whether there is no such file."""
    return isinstance(reply, Status) and reply.code == StatusCode.NO_SUCH_FILE


def is_unexplained(reply: Reply) -> bool:
    """Whether the status says only that it did not work: the disk is full, the name is taken, and much else."""
    return isinstance(reply, Status) and reply.code == StatusCode.FAILURE


def refusal(reply: Reply, *, label: str, action: str, file_system: FileSystem | None = None) -> DestinationError:
    """Return the error for a reply that is not the wanted one.

    `action` completes "cannot ...". `file_system` is how things stood right after an unexplained failure.
    """
    what = f"{label}: cannot {action}"
    if not isinstance(reply, Status) or reply.code == StatusCode.OK:
        return ProtocolError(f"{what}: the server answered with {type(reply).__name__}")
    if reply.code == StatusCode.EOF:
        return ProtocolError(f"{what}: the file ends too early")
    if is_unexplained(reply) and file_system is not None:
        if file_system.free_bytes < _NEARLY_FULL_BYTES:
            return NoSpaceError(f"{what}: the disk is full", hint="free space there, or keep fewer generations")
        if file_system.inodes and not file_system.free_inodes:
            return NoSpaceError(f"{what}: the filesystem has no inode left", hint="remove files there")
        if file_system.read_only:
            return AccessDeniedError(
                f"{what}: the filesystem is mounted read-only",
                hint="mount it writable there; it may be so because the disk fails: see the server's log",
            )
    kind = _ERRORS.get(reply.code, PermanentDestinationError)
    hint = ""
    if is_unexplained(reply):
        hint = "the server does not say why; its own log may (a quota?)"
    elif kind is AccessDeniedError:
        hint = "look at owner and mode there: the account must be allowed to do that"
    return kind(f"{what}: {reply.message or f'status {reply.code}'}", hint=hint)
