"""What came of sending files: who may go on when, what was done, what was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from replicator.errors import SourceChangedError
from replicator.liveness import own_pulse

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.destination.interface import Upload
    from replicator.errors import SourceError


#: What it takes to send a file, besides its contents, in bytes that could be sent in that time.
FILE_COST_BYTES: Final = 16 << 10


class Pace(Protocol):
    """Says when work may go on that others go before."""

    def may_begin(self) -> bool:
        """Whether another file may be begun now."""

    def wait(self) -> None:
        """Wait until it may. Raises `InterruptedTransferError` if it is time to stop."""

    def note_sent(self, count_bytes: int) -> None:
        """Hear of what was sent; not always on the thread that asks."""


@dataclass(slots=True)
class Tally:
    """What was done, and what was not."""

    files: int = 0
    sent_bytes: int = 0
    deletes: int = 0
    #: Paths that failed, with the reason.
    failures: dict[str, str] = field(default_factory=dict)
    #: Files that changed while they were read.
    changed: set[str] = field(default_factory=set)


class Sending:
    """A `TransferObserver` of files of a mirror."""

    def __init__(self, tally: Tally, paths: dict[PurePosixPath, str], pace: Pace) -> None:
        self._tally = tally
        self._paths = paths
        self._pace = pace
        self._pulse = own_pulse()
        #: In order; the values mean nothing.
        self.done: dict[str, None] = {}
        #: Those, and what was left out.
        self.over: set[str] = set()

    def path_of(self, upload: Upload) -> str:
        """Return which file that is."""
        return self._paths[upload.target]

    def is_waiting(self, upload: Upload) -> bool:
        """Whether it is neither done nor left out."""
        return self.path_of(upload) not in self.over

    def bytes_moved(self, count: int) -> None:
        """See `TransferObserver`."""
        self._tally.sent_bytes += count
        self._pace.note_sent(count)
        if self._pulse:  # not always on this thread
            self._pulse.beat()

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:  # noqa: ARG002
        """See `TransferObserver`."""
        path = self._paths[PurePosixPath(target)]
        self.done[path] = None
        self.over.add(path)
        self._pace.note_sent(FILE_COST_BYTES)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        """See `TransferObserver`."""
        path = self._paths[target]
        self.over.add(path)
        if isinstance(error, SourceChangedError):
            self._tally.changed.add(path)
        else:
            reason = getattr(error.__cause__, "strerror", None) or str(error)
            self._tally.failures[path] = f"cannot be read: {reason}"

    def stop_requested(self) -> bool:
        """See `TransferObserver`."""
        return not self._pace.may_begin()
