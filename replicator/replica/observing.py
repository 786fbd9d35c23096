"""Observers of the transfers of a publish: one that remembers digests, and one that passes nothing on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import TransferObserver
    from replicator.errors import SourceError


class RememberingObserver:
    """Passes on what happens in a transfer, and remembers digests and bytes."""

    def __init__(self, observer: TransferObserver) -> None:
        self._observer = observer
        self.bytes_sent = 0
        self.digests: dict[str, str] = {}

    def bytes_moved(self, count: int) -> None:
        """See `TransferObserver`."""
        self.bytes_sent += count
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """See `TransferObserver`."""
        self.digests[target.name] = sha256
        self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`."""
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return self._observer.stop_requested()


class SilentObserver:
    """Passes on nothing but the wish to stop: what the destination copies by itself is not sent."""

    def __init__(self, observer: TransferObserver) -> None:
        self._observer = observer

    def bytes_moved(self, count: int) -> None:
        """See `TransferObserver`."""

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """See `TransferObserver`."""

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`."""
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return self._observer.stop_requested()
