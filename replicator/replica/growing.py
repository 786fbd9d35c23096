"""A generation that is shipped to: its write-ahead logs grow in place, and its journal tells how far they are.

Knows how much of each log is there for sure. Where the bytes come from, and when, is decided elsewhere
(`service`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import Append
from replicator.errors import NotFoundError, ProtocolError
from replicator.replica.shipped import SHIPPED_LIMIT_BYTES, SHIPPED_NAME, ShippedLine, encode_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from replicator.destination.interface import Destination
    from replicator.replica.layout import GenerationId, ReplicaLayout


#: A longer journal takes long to read, and one beyond `SHIPPED_LIMIT_BYTES` is not read at all. This is enough for
#: almost three hours with ten lines a second; then it is time for another generation.
LONGEST_JOURNAL_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """At the instant `at` (UTC) the log `name` had `size_bytes` bytes, all of them whole records."""

    at: datetime
    name: str
    size_bytes: int


class LogPrefix:
    """The first `size_bytes` bytes of a log, and their digest."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The digest, in lower-case hex."""
        return self._hash.hexdigest()

    def add(self, data: bytes | memoryview) -> None:
        """Go on with what follows."""
        self._hash.update(data)
        self.size_bytes += len(data)

    def copy(self) -> LogPrefix:
        """Return one that goes its own way from here."""
        twin = LogPrefix()
        twin.size_bytes, twin._hash = self.size_bytes, self._hash.copy()
        return twin


@dataclass(slots=True)
class Growth:
    """What is to be appended in one go: the next bytes of logs, and marks in what is there by then.

    Both oldest log first; the marks of one log by size.
    """

    data: dict[str, bytearray] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    size_bytes: int = 0

    def log_bytes(self, name: str) -> int:
        """Return how much of a log there is in it."""
        return len(self.data.get(name, b""))

    def add(self, name: str, data: bytes) -> None:
        """Add the next bytes of a log."""
        self.data.setdefault(name, bytearray()).extend(data)
        self.size_bytes += len(data)


class GrowingGeneration:
    """One generation, and what is there of its logs. For one thread at a time."""

    def __init__(self, layout: ReplicaLayout, generation: GenerationId, logs: Mapping[str, LogPrefix]) -> None:
        """`logs` are those that may grow, as far as they are there."""
        self.generation = generation
        self._folder = layout.generation(generation)
        self._logs = dict(logs)
        self._marked_bytes = {name: prefix.size_bytes for name, prefix in logs.items()}
        self._journal_bytes = 0
        self._is_unsure = False

    def size_bytes(self, name: str) -> int:
        """Return how much of a log is there for sure."""
        return self._logs[name].size_bytes if name in self._logs else 0

    def marked_bytes(self, name: str) -> int:
        """Return how much of a log can be restored: what the catalog or the last mark tells of."""
        return self._marked_bytes.get(name, 0)

    def extend(self, destination: Destination, growth: Growth) -> None:
        """Append. After an error nothing counts as done, and the same call, or a longer one, may follow.

        Raises `NotFoundError` and `ProtocolError` if the generation is not what it was left as, `ProtocolError`
        too if its journal is full, and whatever else the destination raises.
        """
        if self._is_unsure:
            self._cut_journal(destination)
        logs = dict(self._logs)
        appends = []
        for name, data in growth.data.items():
            appends.append(Append(self._folder / name, self.size_bytes(name), data))
        lines = b"".join(map(encode_line, self._advance(logs, growth)))
        if self._journal_bytes + len(lines) > LONGEST_JOURNAL_BYTES:
            raise ProtocolError(f"{destination.label}: {self._folder / SHIPPED_NAME} is full")
        if lines:
            appends.append(Append(self._folder / SHIPPED_NAME, self._journal_bytes, lines))
        self._is_unsure = True
        destination.append(appends)
        self._is_unsure = False
        self._logs = logs
        self._marked_bytes.update((mark.name, mark.size_bytes) for mark in growth.marks)
        self._journal_bytes += len(lines)

    def take_over(
        self, destination: Destination, other: GrowingGeneration, name: str, rest: Iterable[bytes]
    ) -> None:
        """Have the destination copy a log, further than it is here, from a generation that has more of it.

        `rest` are the bytes that the other has beyond what is here. Raises as `extend`.
        """
        here = self._logs.setdefault(name, LogPrefix())
        longer = here.copy()
        for data in rest:
            longer.add(data)
        if not here.size_bytes:
            destination.append([Append(self._folder / name, 0, b"")])
        destination.copy_range(
            other._folder / name, self._folder / name, offset=here.size_bytes, end=longer.size_bytes
        )
        self._logs[name] = longer

    def _advance(self, logs: dict[str, LogPrefix], growth: Growth) -> list[ShippedLine]:
        """Put prefixes that have the data too into `logs`; return a line for each mark."""
        marks: dict[str, list[Mark]] = {name: [] for name in growth.data}
        for mark in growth.marks:
            marks.setdefault(mark.name, []).append(mark)
        digests: dict[tuple[str, int], str] = {}
        for name, its_marks in marks.items():
            prefix = logs[name] = logs[name].copy() if name in logs else LogPrefix()
            data = memoryview(growth.data.get(name, b""))
            base = prefix.size_bytes
            for mark in its_marks:
                prefix.add(data[prefix.size_bytes - base : mark.size_bytes - base])
                digests[name, mark.size_bytes] = prefix.sha256
            prefix.add(data[prefix.size_bytes - base :])
        return [
            ShippedLine(mark.at, mark.name, mark.size_bytes, digests[mark.name, mark.size_bytes])
            for mark in growth.marks
        ]

    def _cut_journal(self, destination: Destination) -> None:
        """Take away lines that may have come after the last that is sure: their bytes may not have come."""
        path = self._folder / SHIPPED_NAME
        try:
            journal = destination.read_bytes(path, limit_bytes=SHIPPED_LIMIT_BYTES)
        except NotFoundError:
            if self._journal_bytes:
                raise
            journal = b""
        if len(journal) < self._journal_bytes:
            raise ProtocolError(
                f"{destination.label}: {path} has lost lines:"
                f" {len(journal)} of {self._journal_bytes} bytes are left"
            )
        if journal:
            # A new file: what an old session of the server may still have to write goes into the old one.
            destination.write_bytes(path, journal[: self._journal_bytes])
        self._is_unsure = False
