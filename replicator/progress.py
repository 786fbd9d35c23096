"""How a long transfer goes, on the terminal of whoever waits for it: files, bytes, rate, time left.

Drawn on standard error, and only if that is a terminal; elsewhere the same calls draw nothing. What is logged
meanwhile appears above the lines.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePosixPath
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from replicator.destination.interface import TransferObserver
    from replicator.errors import SourceError


class ProgressDisplay:
    """All transfers under way, one line each, for as long as the context lasts. Any thread may add lines."""

    def __init__(self) -> None:
        # Not Console.is_terminal: FORCE_COLOR, which CI sets, makes that true for a pipe.
        self._progress = _progress() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    @contextmanager
    def transfer(self, description: str, observer: TransferObserver) -> Iterator[TransferLine]:
        """Show a line for one transfer; what it is told goes on to `observer`, which also decides on a stop."""
        if self._progress is None:
            yield TransferLine(observer)
            return
        task = self._progress.add_task(description, total=None, files="")
        try:
            yield TransferLine(observer, (self._progress, task))
        finally:
            self._progress.remove_task(task)


class TransferLine:
    """One line of the display, if it is `drawn`; a `TransferObserver`, to be handed to a destination."""

    def __init__(self, observer: TransferObserver, drawn: tuple[Progress, TaskID] | None = None) -> None:
        self._observer = observer
        self._drawn = drawn
        self._files_done = 0
        self._files_expected: int | None = None

    def expect(self, *, files: int, size_bytes: int) -> None:
        """Say how much there is to do in all; until then the line shows what was done only."""
        self._files_expected = files
        if self._drawn:
            progress, task = self._drawn
            progress.update(task, total=size_bytes, files=self._files())

    def bytes_moved(self, count: int) -> None:
        """See `TransferObserver`."""
        if self._drawn:
            progress, task = self._drawn
            progress.advance(task, count)
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """See `TransferObserver`."""
        self._files_done += 1
        if self._drawn:
            progress, task = self._drawn
            progress.update(task, files=self._files())
        self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`."""
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return self._observer.stop_requested()

    def _files(self) -> str:
        if self._files_expected is None:
            return f"{self._files_done} files"
        return f"{self._files_done}/{self._files_expected} files"


def _progress() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - most of the time nobody looks at a terminal
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Standard output is for results, which must not be mixed with the lines.
        redirect_stdout=False,
    )
