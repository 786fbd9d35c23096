"""The errors of the program: one class for each way in which a caller must act differently.

A message says what failed, on what, and what to do about it. The class alone decides whether a thing is
tried again: `TransientDestinationError` and `SourceChangedError` are; nothing else is.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NO_ROOM_HINT: Final = "make room, or restore to another disk"
_NOT_ALLOWED_HINT: Final = "run this as a user that may write there"
#: What helps against the failures of a local disk.
_TARGET_HINTS: Final = {
    errno.ENOSPC: _NO_ROOM_HINT,
    errno.EDQUOT: _NO_ROOM_HINT,
    errno.EACCES: _NOT_ALLOWED_HINT,
    errno.EPERM: _NOT_ALLOWED_HINT,
    errno.EROFS: "the filesystem is mounted read-only: mount it writable, or restore to another disk",
    errno.EIO: "the disk fails: restore to another disk",
}


class ReplicatorError(Exception):
    """Base of every error that this program raises on purpose.

    `hint` is the remedy, in one sentence that an operator can act on; empty where the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(ReplicatorError):
    """The configuration is invalid. `problems` holds one line for each problem, with its key."""

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class InterruptedTransferError(ReplicatorError):
    """A stop was asked for; the file under way was finished, the rest was not begun."""


class DamageError(ReplicatorError):
    """A replica does not hold what its catalog says. `findings` holds one line for each damaged file."""

    def __init__(self, message: str, *, findings: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


class TargetError(ReplicatorError):
    """The local folder of a restore cannot be used: not empty, not writable, or its disk is full."""


def target_error(action: str, path: Path, error: OSError) -> TargetError:
    """Return what is wrong with a file or folder of a restore; `action` completes "cannot ..."."""
    return TargetError(f"cannot {action} {path}: {error.strerror}", hint=_TARGET_HINTS.get(error.errno or 0, ""))


# --- the source host ---------------------------------------------------------------------------------


class SourceError(ReplicatorError):
    """Something about the primary's files, or the checkpoints made of them."""


class CheckpointError(SourceError):
    """No checkpoint could be made, or what lies there is not a complete one."""


class LockedError(SourceError):
    """Another process holds the checkpoint root."""


class UnsupportedFormatError(SourceError):
    """The database uses something that this program does not know; the message names it."""


class CorruptFileError(SourceError):
    """Bytes on disk are not what RocksDB writes: a checksum, a length or a magic number is wrong."""


class SourceChangedError(SourceError):
    """The primary moved on in the middle of a reading: try again."""


class SupersededError(SourceError):
    """A checkpoint is older than what its destination has by now; a newer one was asked for."""


# --- destinations ------------------------------------------------------------------------------------


class DestinationError(ReplicatorError):
    """Something about a destination."""

    #: The value of the metric label `kind`.
    kind = "other"


class TransientDestinationError(DestinationError):
    """It may work when tried again."""


class ConnectionLostError(TransientDestinationError):
    """The connection could not be made, or broke."""

    kind = "connection"


class DestinationTimeoutError(TransientDestinationError):
    """No byte came for as long as `timeout` allows."""

    kind = "timeout"


class PermanentDestinationError(DestinationError):
    """It will fail in the same way until somebody changes something."""


class AuthenticationError(PermanentDestinationError):
    """The server does not accept the keys that were offered."""

    kind = "authentication"


class HostKeyError(PermanentDestinationError):
    """The server's host key is unknown, changed or revoked."""

    kind = "host_key"


class AccessDeniedError(PermanentDestinationError):
    """The account may not do this there."""

    kind = "access"


class NoSpaceError(PermanentDestinationError):
    """The destination's disk, or the account's quota, is full."""

    kind = "no_space"


class MissingCapabilityError(PermanentDestinationError):
    """The server lacks an operation that is needed; the message names it."""

    kind = "capability"


class WrongWriterError(PermanentDestinationError):
    """The folder belongs to another writer."""

    kind = "writer"


class NotFoundError(PermanentDestinationError):
    """There is no such file or folder at the destination."""

    kind = "not_found"


class ProtocolError(PermanentDestinationError):
    """The destination answered with something that makes no sense, or is not safe to use."""

    kind = "protocol"
