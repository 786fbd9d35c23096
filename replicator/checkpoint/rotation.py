"""The checkpoint root: its folders, their rotation, and what a crash in the middle leaves behind.

What goes into a checkpoint is decided elsewhere (`capture`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import threading
from typing import TYPE_CHECKING

from replicator.checkpoint.verification import SCRATCH_PREFIX
from replicator.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

CURRENT = "checkpoint_current"
PREVIOUS = "checkpoint_prev"
STAGING = "checkpoint_staging"
#: Of folders that are being removed.
GIVEN_UP_PREFIX = ".given-up-"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
#: What `renameat2` answers where the kernel, the C library or the filesystem has no atomic exchange.
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


class CheckpointRoot:
    """The folder with `checkpoint_current`, `checkpoint_prev` and `checkpoint_staging`.

    After a rotation `checkpoint_staging` may hold what was `checkpoint_prev`: the next capture then links only
    the files that are new since. `recover` throws such leftovers away. To rotate is for one thread, to give up for
    any.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current = path / CURRENT
        self.previous = path / PREVIOUS
        self.staging = path / STAGING
        self._changing = threading.Lock()

    def create(self) -> None:
        """Make the folder if it is missing. Raises `CheckpointError` if that cannot be done."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"cannot make the checkpoint root {self.path}: {error.strerror}",
                hint="it must be a folder that this user may write to",
            ) from error

    def recover(self) -> None:
        """Mend what a crash left: after this `current` is a complete checkpoint, or absent.

        Raises `CheckpointError` if the folder cannot be used.
        """
        try:
            self.discard_staging()
            for scratch in self.path.glob(f"{SCRATCH_PREFIX}*"):
                shutil.rmtree(scratch)
            if self.previous.exists() and not self.current.exists():
                self.previous.rename(self.current)
                sync_folder(self.path)
        except OSError as error:
            raise CheckpointError(
                f"cannot use the checkpoint root {self.path}: {error.strerror}",
                hint="all in it must belong to this user",
            ) from error

    def discard_staging(self) -> None:
        """Remove `checkpoint_staging`."""
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def give_up_previous(self) -> None:
        """Remove `checkpoint_prev`. Raises `CheckpointError`."""
        self._give_up(self.previous)

    def give_up_current(self) -> None:
        """Remove `checkpoint_current`, in the same way."""
        self._give_up(self.current)

    def _give_up(self, folder: Path) -> None:
        gone = folder.with_name(f"{GIVEN_UP_PREFIX}{folder.name}")
        try:
            with self._changing:
                if folder.exists():
                    # Its name goes at once: half a checkpoint never has it.
                    folder.rename(gone)
            if gone.exists():
                shutil.rmtree(gone)
        except OSError as error:
            raise CheckpointError(f"cannot remove {folder}: {error.strerror}") from error

    def rotate(self) -> None:
        """Make the complete, synced `staging` the current checkpoint, and the current one the previous.

        Where the filesystem can exchange two names, `checkpoint_current` is there at every instant and what was
        `checkpoint_prev` becomes `checkpoint_staging`. Elsewhere it is missing for the moment between two
        renames, and `checkpoint_prev` is removed first.
        """
        with self._changing:
            self._rotate()

    def _rotate(self) -> None:
        if not self.current.exists():
            self.staging.rename(self.current)
        elif exchange(self.staging, self.current):
            if not self.previous.exists():
                self.staging.rename(self.previous)
            else:
                exchange(self.staging, self.previous)
        else:
            if self.previous.exists():
                shutil.rmtree(self.previous)
            self.current.rename(self.previous)
            self.staging.rename(self.current)
        sync_folder(self.path)


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where that is not offered.

    Source: Linux `renameat2(2)`, `RENAME_EXCHANGE`. Python has no binding for it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    failed = libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
