"""Readings of a database's logs: how far they had come at one instant after the other, kept while they are wanted.

Values only. `log_follower` takes them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from replicator.errors import SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.checkpoint.wal_files import WalFile

#: The number of a log, or of a reading, that never comes: for who needs none.
NEVER: Final = 1 << 64
#: More are not kept for a user that is behind: about an hour's worth at ten a second.
_MOST_READINGS: Final = 40_000


class LogUser(Protocol):
    """Somebody who uses readings, and the logs that they tell of, later. The values may change at any time."""

    @property
    def next_serial(self) -> int:
        """The serial number of the next reading that it wants, or `NEVER`."""

    @property
    def pending_log(self) -> int:
        """The number of the oldest log that a checkpoint may lack which it is going to ask for, or `NEVER`."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A log, and its length in bytes up to the end of its last whole record."""

    log: WalFile
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the logs had come at `taken_at_seconds` (since 1970), or a moment later: by `done_at_seconds`.

    `grown` are the logs that have become longer since the reading before, oldest first, by `grown_bytes` in all.
    This reading and later ones tell of no log before `oldest_log`. `follows` is the serial number of the last
    reading before this one in which anything had grown.
    """

    serial: int
    follows: int
    epoch: int
    taken_at_seconds: float
    done_at_seconds: float
    oldest_log: int
    grown: tuple[Grown, ...]
    grown_bytes: int

    def with_next(self, reading: Reading) -> Reading:
        """Return this reading and the one after it as one, taken when that was."""
        lengths = {item.log: item for item in (*self.grown, *reading.grown)}
        return replace(
            reading,
            follows=self.follows,
            oldest_log=self.oldest_log,
            grown=tuple(sorted(lengths.values(), key=lambda item: item.log.number)),
            grown_bytes=self.grown_bytes + reading.grown_bytes,
        )


class ReadingHistory:
    """The newest reading, and those before it that are still wanted."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()
        self._serial = 0
        self._last_grown = 0

    @property
    def newest(self) -> Reading | None:
        """The last one that was added."""
        return self._readings[-1] if self._readings else None

    @property
    def oldest_log(self) -> int:
        """The number of the oldest log that any reading tells of."""
        return self._readings[0].oldest_log if self._readings else NEVER

    def add(
        self,
        epoch: int,
        taken_at_seconds: float,
        *,
        done_at_seconds: float,
        oldest_log: int,
        grown: Mapping[WalFile, tuple[int, int]],
    ) -> None:
        """Add one. `grown` are lengths of logs, oldest first, each with the bytes by which it has grown."""
        if (last := self.newest) is not None and last.epoch == epoch and not last.grown:
            # It told nothing but a time, and this one tells a later one.
            self._readings.pop()
        self._serial += 1
        self._readings.append(
            Reading(
                serial=self._serial,
                follows=self._last_grown,
                epoch=epoch,
                taken_at_seconds=taken_at_seconds,
                done_at_seconds=done_at_seconds,
                oldest_log=oldest_log,
                grown=tuple(Grown(log, length_bytes) for log, (length_bytes, _) in grown.items()),
                grown_bytes=sum(by_bytes for _, by_bytes in grown.values()),
            )
        )
        if grown:
            self._last_grown = self._serial
        if len(self._readings) > _MOST_READINGS:
            self._thin_out()

    def since(self, serial: int, epoch: int) -> list[Reading]:
        """Return the readings of an epoch from a serial number on.

        Raises `SourceChangedError` if one of them is not there any more in which something had grown.
        """
        found = [reading for reading in self._readings if reading.serial >= serial and reading.epoch == epoch]
        if found and found[0].follows >= serial:
            raise SourceChangedError("more logs than may be held were needed: the oldest were let go of")
        return found

    def forget(self, users: Iterable[LogUser], *, whole_from: int) -> None:
        """Forget those that no user wants, or that tell of logs before `whole_from`; never the newest."""
        next_serial = min((user.next_serial for user in users), default=NEVER)
        while len(self._readings) > 1 and (
            self._readings[0].serial < next_serial or self._readings[0].oldest_log < whole_from
        ):
            self._readings.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._readings.clear()

    def _thin_out(self) -> None:
        """Make one reading of every two that are old: who is that far behind wants the bytes, not each instant."""
        old = [self._readings.popleft() for _ in range(len(self._readings) // 2)]
        merged: list[Reading] = []
        for number, reading in enumerate(old):
            if number % 2 and merged[-1].epoch == reading.epoch:
                merged[-1] = merged[-1].with_next(reading)
            else:
                merged.append(reading)
        self._readings.extendleft(reversed(merged))
