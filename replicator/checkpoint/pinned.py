"""A transfer's own hard links of the current checkpoint: a rotation in the middle of the transfer is harmless."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from typing import TYPE_CHECKING

import tenacity

from replicator.checkpoint.inspection import Checkpoint, CheckpointInspector
from replicator.checkpoint.rotation import GIVEN_UP_PREFIX
from replicator.checkpoint.staging import IMMUTABLE_KINDS
from replicator.errors import CheckpointError, ReplicatorError, SourceChangedError
from replicator.rocksdb.filenames import CURRENT_NAME, parse_file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.checkpoint.rotation import CheckpointRoot

_PREFIX = "transfer-"
#: Each try loses only to a rotation within the few milliseconds that linking takes.
_MAX_TRIES = 10


class CheckpointPin:
    """Holds the current checkpoint, time after time, in the folder `transfer-<holder>`.

    Between transfers the links stay, for most of them are those of the next checkpoint too: then only the others
    are made. They can be given up at any time, from any thread. `held` is for one thread.
    """

    def __init__(self, root: CheckpointRoot, holder: str) -> None:
        self._root = root
        self._folder = root.path / f"{_PREFIX}{holder}"
        self._in_use = threading.Lock()
        self._break_off: Callable[[], None] = _leave
        self._was_given_up = False
        #: The SST and blob files in the folder by name, each with its inode; None if that is not known.
        self._links: dict[str, int] | None = None
        self._others: list[str] = []
        self._inspector = CheckpointInspector(self._folder)

    @contextlib.contextmanager
    def held(self, break_off: Callable[[], None] = lambda: None) -> Iterator[Checkpoint]:
        """Hold the current checkpoint for the length of a `with` block; after an error nothing is kept.

        `break_off` is called, from any thread, when the links were taken away meanwhile: it is to make the block
        fail, whatever that waits for, because a file that it has open keeps its space. Raises `CheckpointError`
        then, and if there is no complete checkpoint.
        """
        with self._in_use:
            self._was_given_up = False
            try:
                checkpoint = self._take()
                self._break_off = break_off
                with self._failing_clearly():
                    yield checkpoint
            except BaseException:
                self._discard()
                raise
            finally:
                self._break_off = _leave

    def give_up(self) -> None:
        """Let go of the links, unless a transfer needs them."""
        if self._in_use.acquire(blocking=False):
            try:
                self._discard()
            finally:
                self._in_use.release()

    def give_up_outdated(self) -> None:
        """Let go of the links if they are of a checkpoint that is not the current one: its transfer fails."""
        with contextlib.suppress(FileNotFoundError):  # it ends at this moment
            if self._folder.exists() and not _is_same_checkpoint(self._folder, self._root.current):
                gone = self._folder.with_name(f"{GIVEN_UP_PREFIX}{self._folder.name}")
                self._folder.rename(gone)
                self._was_given_up = True
                _discard(gone)
                self._break_off()

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        """Say why it failed, whatever it was, if the links were taken away meanwhile."""
        try:
            yield
        except ReplicatorError as error:
            if not self._was_given_up:
                raise
            raise CheckpointError(
                f"the checkpoint on its way was given up: too little is free below {self._root.path}",
                hint="free some space, or lower min_free",
            ) from error

    def _discard(self) -> None:
        self._links = None
        _discard(self._folder)

    def _take(self) -> Checkpoint:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(SourceChangedError),
            stop=tenacity.stop_after_attempt(_MAX_TRIES),
            wait=tenacity.wait_random(0, 0.05),
            reraise=True,
        )
        try:
            new_names = retrying(self._link)
            return self._inspector.inspect(new_names)
        except SourceChangedError as error:
            raise CheckpointError(
                f"{self._root.current} was replaced at each of {_MAX_TRIES} looks at it"
            ) from error

    def _link(self) -> list[str]:
        """Link what is in the current checkpoint, and keep nothing else; return the names that are new."""
        try:
            source = os.open(self._root.current, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if self._root.previous.exists():
                raise SourceChangedError(f"{self._root.current} was being replaced") from error
            raise CheckpointError(f"there is no checkpoint in {self._root.path} yet") from error
        # What an error leaves is not known: the next try begins from nothing.
        links, self._links = self._links, None
        try:
            if links is None:
                links = self._begin()
            target = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                new_names = self._link_into(target, source, links)
                if not _is_unchanged(self._root, source, target):
                    raise SourceChangedError(f"{self._root.current} was replaced twice while it was being read")
            finally:
                os.close(target)
        except FileNotFoundError as error:
            raise SourceChangedError(f"{self._root.current} was replaced while it was being read") from error
        except OSError as error:
            raise CheckpointError(f"cannot make hard links in {self._folder}: {error.strerror}") from error
        finally:
            os.close(source)
        self._links = links
        return new_names

    def _begin(self) -> dict[str, int]:
        _discard(self._folder)
        self._folder.mkdir(mode=0o700)
        self._inspector = CheckpointInspector(self._folder)
        self._others = []
        return {}

    def _link_into(self, target: int, source: int, links: dict[str, int]) -> list[str]:
        """Make `links` those of the open folder `source`.

        Equal names and inodes mean equal files: the link keeps the inode in use.
        """
        for name in self._others:
            os.unlink(name, dir_fd=target)
        self._inspector.drop(self._others)
        os.link(CURRENT_NAME, CURRENT_NAME, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        self._others = [CURRENT_NAME]
        with os.scandir(source) as entries:
            found = {entry.name: entry.inode() for entry in entries}
        gone = [name for name, inode in links.items() if found.get(name) != inode]
        for name in gone:
            os.unlink(name, dir_fd=target)
            del links[name]
        self._inspector.drop(gone)
        new_names = [CURRENT_NAME]
        for name, inode in found.items():
            if name in links or name == CURRENT_NAME or (parsed := parse_file_name(name)) is None:
                continue
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            new_names.append(name)
            if parsed.kind in IMMUTABLE_KINDS:
                links[name] = inode
            else:
                self._others.append(name)
        return new_names


@contextlib.contextmanager
def pinned_checkpoint(root: CheckpointRoot, holder: str) -> Iterator[Checkpoint]:
    """Hold the current checkpoint for the length of a `with` block and keep nothing: see `CheckpointPin.held`."""
    pin = CheckpointPin(root, holder)
    with pin.held() as checkpoint:
        yield checkpoint
    pin.give_up()


def pinned_folders(root: CheckpointRoot) -> list[Path]:
    """Return the folders that transfers have links in."""
    return list(root.path.glob(f"{_PREFIX}*"))


def _leave() -> None:
    """Break nothing off: there is no transfer."""


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
