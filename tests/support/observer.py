"""An observer of transfers that writes down what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from replicator.errors import SourceError


class RecordingObserver:
    """`stop_after` asks for a stop once so many files are done; `on_bytes` is called for each piece moved."""

    def __init__(self, *, stop_after: int | None = None, on_bytes: Callable[[int], None] | None = None) -> None:
        self.moved_bytes = 0
        self.done: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, SourceError]] = []
        self._stop_after = stop_after
        self._on_bytes = on_bytes

    def bytes_moved(self, count: int) -> None:
        """Add them up."""
        self.moved_bytes += count
        if self._on_bytes is not None:
            self._on_bytes(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """Write it down."""
        self.done.append((str(target), sha256))

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """Write it down."""
        self.skipped.append((str(target), error))

    def stop_requested(self) -> bool:
        """Whether enough is done."""
        return self._stop_after is not None and len(self.done) >= self._stop_after
