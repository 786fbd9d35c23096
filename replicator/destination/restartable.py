"""How far bulk work has got, so that it can go on with another connection. No I/O of its own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path, PurePosixPath
    from typing import Self

    from replicator.destination.interface import (
        Destination,
        Entry,
        FolderObserver,
        FolderUpload,
        TransferObserver,
    )
    from replicator.errors import SourceError


class RestartableListing:
    """The results of `Destination.list_folders`, each once, from as many destinations as it takes.

    It is what those iterate over, too: first come folders whose listing broke off.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self._more = iter(folders)
        self._again: deque[str] = deque()
        #: How often each was asked for.
        self._unanswered: dict[str, int] = {}
        self._results: Iterator[tuple[str, list[Entry] | None]] = iter(())
        self._of: Destination | None = None

    def advance(self, destination: Destination) -> tuple[str, list[Entry] | None] | None:
        """Return the next result, None at the end. With another destination, or after an error, anew."""
        if destination is not self._of:
            for folder, times in self._unanswered.items():
                self._again.extend([folder] * times)
            self._unanswered.clear()
            self._results = destination.list_folders(self)
            self._of = destination
        try:
            found = next(self._results, None)
        except BaseException:
            self._of = None
            raise
        if found is not None:
            times = self._unanswered.pop(found[0])
            if times > 1:
                self._unanswered[found[0]] = times - 1
        return found

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        folder = self._again.popleft() if self._again else next(self._more)
        self._unanswered[folder] = self._unanswered.get(folder, 0) + 1
        return folder


class TransferProgress:
    """A `TransferObserver` that passes everything on, and remembers what needs no further try in `done`.

    `got_on` is set with each of those.
    """

    def __init__(self, observer: TransferObserver) -> None:
        self._observer = observer
        self.done: set[PurePosixPath | Path] = set()
        self.got_on = False

    def bytes_moved(self, count: int) -> None:
        """See `TransferObserver`."""
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        """See `TransferObserver`."""
        self.done.add(target)
        self.got_on = True
        self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`."""
        self.done.add(target)
        self.got_on = True
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return self._observer.stop_requested()


class FolderProgress:
    """The same for a `FolderObserver`; `done` has the parts, of which no two are alike."""

    def __init__(self, observer: FolderObserver) -> None:
        self._observer = observer
        self.done: set[str] = set()
        self.got_on = False

    def bytes_moved(self, count: int) -> None:
        """See `BulkObserver`."""
        self._observer.bytes_moved(count)

    def stop_requested(self) -> bool:
        """See `BulkObserver`."""
        return self._observer.stop_requested()

    def folder_done(self, upload: FolderUpload, left: Sequence[str]) -> None:
        """See `FolderObserver`."""
        self.done.add(upload.part)
        self.got_on = True
        self._observer.folder_done(upload, left)
