"""One process per checkpoint root, one service per `state_dir`.

The lock is the kernel's (`flock`), so a crash releases it; what stands in the file only tells others who
holds it. The file stays: removing it could take it away from a process that has just opened it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from replicator.errors import CheckpointError, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME: Final = ".replicator.lock"

_HOLDER_LIMIT_BYTES: Final = 64 * 1024


@contextmanager
def hold_checkpoint_root(root: Path) -> Iterator[None]:
    """Hold the existing folder `root` for this process for as long as the context lasts.

    Raises `LockedError`, which names the holder, if another process (or this one) holds it already, and
    `CheckpointError` if the lock file cannot be made.
    """
    with _held(_open(root), root, "checkpoint root", "stop that process first, or choose another checkpoint root"):
        yield


@contextmanager
def hold_state_dir(folder: Path) -> Iterator[None]:
    """Hold the folder of the state file, as `hold_checkpoint_root` does.

    One that cannot be written to is held by nobody: who writes the state file says so. Raises `LockedError`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open(folder)
    except (OSError, CheckpointError):
        yield
        return
    with _held(descriptor, folder, "state_dir", "one service for each state_dir: stop that one, or name another"):
        yield


@contextmanager
def _held(descriptor: int, folder: Path, what: str, hint: str) -> Iterator[None]:
    try:
        _lock(descriptor, folder, what, hint)
        _write_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


def holder_of(root: Path) -> str | None:
    """Say which process holds `root` at this instant; None if there is none.

    The lock is only tried, shared, and let go at once; nothing is written.
    Raises `CheckpointError` if the lock file cannot be read.
    """
    try:
        descriptor = os.open(root / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"cannot read the lock file {root / LOCK_NAME}: {error.strerror}",
            hint="run this as the user that the service runs as",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    except OSError as error:
        raise _no_lock(root, error) from error
    finally:
        os.close(descriptor)
    return None


def _open(root: Path) -> int:
    # Not inherited by programs that we start (CLOEXEC): they would hold the lock on after our end.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(root / LOCK_NAME, flags, 0o644)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the lock file {root / LOCK_NAME}: {error.strerror}",
            hint="the checkpoint root must be an existing folder that this user may write to",
        ) from error


def _lock(descriptor: int, root: Path, what: str, hint: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise _no_lock(root, error) from error
        raise LockedError(
            f"{what} {root} is held by {_read_holder(descriptor)}",
            hint=hint,
        ) from None


def _no_lock(root: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"cannot lock {root / LOCK_NAME}: {error.strerror}",
        hint="its filesystem must support flock",
    )


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "command": shlex.join(sys.orig_argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read_holder(descriptor: int) -> str:
    # It may not have written its name yet: anything but a whole record means "unknown".
    try:
        holder = json.loads(os.pread(descriptor, _HOLDER_LIMIT_BYTES, 0))
        return f"process {holder['pid']} ({holder['command']}), since {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
