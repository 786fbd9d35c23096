"""A generation that follows the logs of its database: which of their bytes it gets, in which portions.

Where the readings come from, and which generation that is, is decided in `shipping_line`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from replicator.errors import InterruptedTransferError, SourceChangedError
from replicator.liveness import beat
from replicator.replica.growing import Growth, Mark

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from replicator.checkpoint.readings import Grown, Reading
    from replicator.checkpoint.wal_files import WalFile
    from replicator.destination.interface import Destination
    from replicator.replica.growing import GrowingGeneration

#: About so much is appended at a time: memory stays small, and after a break little is sent again.
_GROWTH_BYTES: Final = 4 << 20
_PIECE_BYTES: Final = 1 << 20
#: How often an idle line says in the journal that nothing has happened, and finds out whether all is well there.
_HEARTBEAT_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Batch:
    """What is appended in one go; `complete` is the last reading all of which is there with it."""

    growth: Growth = field(default_factory=Growth)
    complete: Reading | None = None


@dataclass(slots=True)
class FollowedGeneration:
    """How far a generation has come in the readings of `epoch`; the next one that it wants is `next_serial`.

    `from_log` is the oldest log that was not complete in the checkpoint, `logs` are those that it has, by name.
    What was written by `restorable_at_seconds` (since 1970) can be restored from it; nothing in it was written
    after `newer_than_seconds`. `unreported_bytes` is for whoever counts what is shipped.
    """

    growing: GrowingGeneration
    epoch: int
    from_log: int
    logs: dict[str, WalFile]
    next_serial: int
    restorable_at_seconds: float
    newest_name: str
    newer_than_seconds: float = 0.0
    unreported_bytes: int = 0
    _said_at: float = 0.0

    def send(self, destination: Destination, readings: Sequence[Reading], stop: threading.Event) -> None:
        """Append all that the readings tell of, and confirm it.

        Raises `SourceChangedError` if a log is not to be had any more, `InterruptedTransferError` if there is more
        than one append to make and `stop` is set, and what the destination raises. What was not confirmed is sent
        again the next time.
        """
        batch = _Batch()
        for reading in readings:
            for item in self._news(reading):
                self.newer_than_seconds = reading.done_at_seconds
                name = item.log.name
                for data in self._unsent(item, batch.growth):
                    batch.growth.add(name, data)
                    if batch.growth.size_bytes >= _GROWTH_BYTES:
                        self._append(destination, batch)
                        batch = _Batch()
                        if stop.is_set():
                            raise InterruptedTransferError(f"stopped in the middle of {name}")
                batch.growth.marks.append(Mark(_time_of(reading), name, item.length_bytes))
                self.newest_name = name
            batch.complete = reading
        if batch.complete is not None:
            self._add_heartbeat(batch, batch.complete)
            self._append(destination, batch)

    def _news(self, reading: Reading) -> Iterator[Grown]:
        """Yield what the reading tells of that cannot be restored yet."""
        for item in reading.grown:
            name, log = item.log.name, item.log
            if log.number >= self.from_log and item.length_bytes > self.growing.marked_bytes(name):
                if self.logs.setdefault(name, log) is not log:
                    raise SourceChangedError(f"{name} was replaced by another log of that name")
                yield item

    def _unsent(self, item: Grown, growth: Growth) -> Iterator[bytes]:
        name = item.log.name
        position = self.growing.size_bytes(name) + growth.log_bytes(name)
        return pieces(item.log, position, item.length_bytes)

    def _add_heartbeat(self, batch: _Batch, reading: Reading) -> None:
        is_due = time.monotonic() - self._said_at >= _HEARTBEAT_SECONDS
        if is_due and self.newest_name and not batch.growth.marks:
            marked_bytes = self.growing.marked_bytes(self.newest_name)
            batch.growth.marks.append(Mark(_time_of(reading), self.newest_name, marked_bytes))

    def _append(self, destination: Destination, batch: _Batch) -> None:
        growth = batch.growth
        if growth.marks or growth.data:
            self.growing.extend(destination, growth)
            self._said_at = time.monotonic()
            self.unreported_bytes += growth.size_bytes
        if batch.complete is not None:
            self.next_serial = batch.complete.serial + 1
            self.restorable_at_seconds = batch.complete.taken_at_seconds


def pieces(log: WalFile, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a log from `start` to `end`, a mebibyte at a time. Raises as `WalFile.read`."""
    for position in range(start, end, _PIECE_BYTES):
        beat()
        yield log.read(position, min(_PIECE_BYTES, end - position))


def _time_of(reading: Reading) -> datetime:
    return datetime.fromtimestamp(reading.taken_at_seconds, UTC)
