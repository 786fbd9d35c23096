"""A transfer's own hard links of the current checkpoint: a rotation in the middle of the transfer is harmless."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import tenacity

from replicator.checkpoint.inspection import Checkpoint, inspect_checkpoint
from replicator.checkpoint.rotation import GIVEN_UP_PREFIX
from replicator.errors import CheckpointError, SourceChangedError, SourceError
from replicator.rocksdb.filenames import CURRENT_NAME, parse_file_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicator.checkpoint.rotation import CheckpointRoot

_PREFIX = "transfer-"
#: Each try loses only to a rotation within the few milliseconds that linking takes.
_MAX_TRIES = 10


@contextlib.contextmanager
def pinned_checkpoint(root: CheckpointRoot, holder: str) -> Iterator[Checkpoint]:
    """Hold the current checkpoint for the length of a `with` block, in the folder `transfer-<holder>`.

    Raises `CheckpointError` if there is no complete checkpoint.
    """
    folder = root.path / f"{_PREFIX}{holder}"
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SourceChangedError),
        stop=tenacity.stop_after_attempt(_MAX_TRIES),
        wait=tenacity.wait_random(0, 0.05),
        reraise=True,
    )
    try:
        retrying(lambda: _link_all(root, folder))
        checkpoint = inspect_checkpoint(folder)
    except SourceChangedError as error:
        _discard(folder)
        raise CheckpointError(f"{root.current} was replaced at each of {_MAX_TRIES} looks at it") from error
    except BaseException:
        _discard(folder)
        raise
    try:
        yield checkpoint
    except SourceError as error:
        if not folder.exists():
            raise CheckpointError(
                f"the checkpoint on its way was given up: too little is free below {root.path}",
                hint="free some space, or lower min_free",
            ) from error
        raise
    finally:
        _discard(folder)


def give_up_outdated(root: CheckpointRoot) -> None:
    """Take their links away from transfers of checkpoints that are not the current one: those fail.

    A file that is being read at the moment is let go of at its end.
    """
    for folder in root.path.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # it ends at this moment
            if not _is_same_checkpoint(folder, root.current):
                gone = folder.with_name(f"{GIVEN_UP_PREFIX}{folder.name}")
                folder.rename(gone)
                _discard(gone)


def _is_same_checkpoint(folder: Path, current: Path) -> bool:
    """Whether they share their CURRENT, which each checkpoint has one of its own of."""
    try:
        expected = (current / CURRENT_NAME).stat()
    except FileNotFoundError:
        return False
    try:
        return os.path.samestat((folder / CURRENT_NAME).stat(), expected)
    except FileNotFoundError:
        return True  # it is being made, or removed


def discard_pinned(root: CheckpointRoot) -> None:
    """Remove what transfers of a process that was killed left behind."""
    for prefix in (_PREFIX, GIVEN_UP_PREFIX):
        for folder in root.path.glob(f"{prefix}*"):
            _discard(folder)


def _link_all(root: CheckpointRoot, folder: Path) -> None:
    _discard(folder)
    try:
        source = os.open(root.current, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if root.previous.exists():
            raise SourceChangedError(f"{root.current} was being replaced") from error
        raise CheckpointError(f"there is no checkpoint in {root.path} yet") from error
    try:
        folder.mkdir(mode=0o700)
        target = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(CURRENT_NAME, CURRENT_NAME, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            for name in os.listdir(source):  # noqa: PTH208 - of a descriptor, which a rename leaves valid
                if parse_file_name(name) and name != CURRENT_NAME:
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            if not _is_unchanged(root, source, target):
                raise SourceChangedError(f"{root.current} was replaced twice while it was being read")
        finally:
            os.close(target)
    except FileNotFoundError as error:
        raise SourceChangedError(f"{root.current} was replaced while it was being read") from error
    except OSError as error:
        raise CheckpointError(f"cannot make hard links in {folder}: {error.strerror}") from error
    finally:
        os.close(source)


def _is_unchanged(root: CheckpointRoot, source: int, target: int) -> bool:
    """Whether all of the open folder `source` could be linked to `target` as one checkpoint.

    It is not touched as long as it is the current or the previous one. What comes then may use the folder again,
    for a checkpoint that has become the current one by now: with a CURRENT of its own.
    """
    return _is_kept(root, source) and os.path.samestat(
        os.stat(CURRENT_NAME, dir_fd=target, follow_symlinks=False),
        os.stat(CURRENT_NAME, dir_fd=source, follow_symlinks=False),
    )


def _is_kept(root: CheckpointRoot, descriptor: int) -> bool:
    opened = os.fstat(descriptor)
    for path in (root.current, root.previous):
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(opened, path.stat()):
                return True
    return False


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
