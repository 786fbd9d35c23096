"""One batch of transfers that several connections work on: who takes what, who tells the observer, how it ends.

Knows nothing of what the items are, nor of how they are moved.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from replicator.destination.interface import BulkObserver, FolderObserver, TransferObserver
from replicator.errors import InterruptedTransferError, ReplicatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import FolderUpload
    from replicator.errors import SourceError

_Item = TypeVar("_Item")
_Observer = TypeVar("_Observer", bound=BulkObserver)


class Direction(Enum):
    """Which way a batch goes."""

    UPLOAD = "upload"
    UPLOAD_FOLDERS = "upload folders"
    DOWNLOAD = "download"


class SharedBatch(Generic[_Item, _Observer]):
    """The items that nobody has taken yet, and the observer of them all.

    Implements `BulkObserver` for whoever moves items: the real observer is called by one thread at a time. Once
    something failed, or a stop was asked for, no more items are given out.
    """

    def __init__(
        self, items: Sequence[_Item], sizes_bytes: Sequence[int], observer: _Observer, *, label: str
    ) -> None:
        self._waiting = deque(zip(items, sizes_bytes, strict=True))
        self._observer = observer
        self._label = label
        # Re-entrant: an observer may close the destination, which asks the batch.
        self._lock = threading.RLock()
        self._someone_left = threading.Condition(self._lock)
        self._helpers = 0
        self._over = False
        self._error: BaseException | None = None

    # --- taking --------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many items nobody has taken yet."""
        return len(self._waiting)

    def take(self, *, most_items: int, most_bytes: int) -> tuple[_Item, ...]:
        """Return the next items, at least one while there are any and nothing speaks against it."""
        taken: list[_Item] = []
        taken_bytes = 0
        with self._lock:
            while self._waiting and len(taken) < most_items and not self.stop_requested():
                item, size_bytes = self._waiting[0]
                if taken and taken_bytes + size_bytes > most_bytes:
                    break
                self._waiting.popleft()
                taken.append(item)
                taken_bytes += size_bytes
        return tuple(taken)

    def items(self) -> Iterator[_Item]:
        """Take items one by one."""
        while taken := self.take(most_items=1, most_bytes=0):
            yield from taken

    def items_while_alone(self) -> Iterator[_Item]:
        """Take items one by one, until somebody helps."""
        while not self._helpers and (taken := self.take(most_items=1, most_bytes=0)):
            yield from taken

    # --- telling -------------------------------------------------------------------------------------

    def bytes_moved(self, count: int) -> None:
        """Pass it on."""
        with self._lock:
            self._observer.bytes_moved(count)

    def stop_requested(self) -> bool:
        """Whether to begin nothing more, for one reason or another."""
        with self._lock:
            return self._error is not None or self._observer.stop_requested()

    # --- helping and ending --------------------------------------------------------------------------

    def enter(self) -> bool:
        """Begin to help; False if it is too late for that. After True, `leave` must follow."""
        with self._lock:
            if self._over or not self._waiting:
                return False
            self._helpers += 1
            return True

    def leave(self) -> None:
        """Help no more: all that was taken is moved, or has failed."""
        with self._lock:
            self._helpers -= 1
            self._someone_left.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let the batch end with `error`; the first one counts."""
        with self._lock:
            self._error = self._error or error

    @property
    def broke_off(self) -> bool:
        """Whether it ended with what is no error of a transfer: an interruption, or a mistake of the program."""
        with self._lock:
            return self._error is not None and not isinstance(self._error, ReplicatorError)

    def end(self) -> None:
        """Wait for those who help; raise the first error, or `InterruptedTransferError` if items are left."""
        with self._lock:
            self._over = True
            while self._helpers:
                self._someone_left.wait()
            if self._error is not None:
                raise self._error
            if self._is_left():
                raise InterruptedTransferError(f"{self._label}: stopped before all files were moved")

    def _is_left(self) -> bool:
        """Say whether there are items that were neither moved nor failed, when nobody is at work any more."""
        return bool(self._waiting)


class TransferBatch(SharedBatch[_Item, TransferObserver]):
    """A batch of single files; implements `TransferObserver`."""

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """Pass it on."""
        with self._lock:
            self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """Pass it on."""
        with self._lock:
            self._observer.file_skipped(target, error)


class FolderBatch(SharedBatch[_Item, FolderObserver]):
    """A batch of folders, which are known by their places in `uploads`."""

    def __init__(
        self,
        items: Sequence[_Item],
        sizes_bytes: Sequence[int],
        observer: FolderObserver,
        *,
        label: str,
        uploads: Sequence[FolderUpload],
    ) -> None:
        super().__init__(items, sizes_bytes, observer, label=label)
        self._uploads = uploads
        self._done = 0

    def folder_done(self, place: int, left: Sequence[str]) -> None:
        """Pass it on."""
        with self._lock:
            self._done += 1
            self._observer.folder_done(self._uploads[place], left)

    def _is_left(self) -> bool:
        # Whoever asked for some ahead may have heard of a stop before their turn came.
        return self._done < len(self._uploads)
