"""The journal of a generation, `shipped.jsonl`: how far its write-ahead logs had come, and when.

Pure. The journal is appended to while the generation is shipped to. Each line is written after the bytes that it
tells of, and leaves a state that can be restored: the catalog's files, with the logs as long as the last line
about each says, and the logs that were born after the checkpoint. A journal that was read is untrusted: it counts
up to the first line that is not exactly what `encode_line` writes, or that contradicts those before it, the
catalog or the folder. What a log has beyond its last line is an append under way.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator.moments import format_moment
from replicator.replica.catalog import CatalogFile
from replicator.replica.layout import wal_number
from replicator.rocksdb.filenames import FileKind, wal_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.replica.catalog import Catalog

SHIPPED_NAME = "shipped.jsonl"

#: More than this is not read from a destination: enough for about 400 000 lines.
SHIPPED_LIMIT_BYTES = 64 << 20

# A pattern and no JSON parser: one form only, and no nesting, duplicate keys or endless numbers to think of.
_LINE = re.compile(
    rb'\{"at": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z", "wal": "(\d{6,20}\.log)",'
    rb' "bytes": (0|[1-9]\d{0,18}), "sha256": "([0-9a-f]{64})"\}'
)


@dataclass(frozen=True, slots=True)
class ShippedLine:
    """At the instant `at` (UTC) the log `name` had `size_bytes` bytes; `sha256` (lower-case hex) is of those."""

    at: datetime
    name: str
    size_bytes: int
    sha256: str

    @property
    def number(self) -> int:
        """The number of the log."""
        return wal_number(self.name) or 0


@dataclass(frozen=True, slots=True)
class Journal:
    """The lines that can be believed, and the `problem` with the next one; empty if all of them can.

    A last line without an end is no problem, but an append under way.
    """

    lines: tuple[ShippedLine, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What a generation was at the instant `at` of its source: every file, with the size that it had then."""

    at: datetime
    files: tuple[CatalogFile, ...]

    @property
    def size_bytes(self) -> int:
        """Sum of all sizes."""
        return sum(file.size_bytes for file in self.files)


def encode_line(line: ShippedLine) -> bytes:
    """Write one line of a journal, with its line end."""
    document = {
        "at": format_moment(line.at),
        "wal": line.name,
        "bytes": line.size_bytes,
        "sha256": line.sha256,
    }
    return json.dumps(document).encode("ascii") + b"\n"


def decode_lines(data: bytes) -> tuple[ShippedLine, ...]:
    """Read a journal up to the first line that is not whole, malformed, or that contradicts those before it.

    From line to line the number of the log never falls, nor does the length of a log.
    """
    lines: list[ShippedLine] = []
    for text in data.split(b"\n")[:-1]:
        line = _decode_line(text)
        if line is None or (lines and not _may_follow(line, lines[-1])):
            break
        lines.append(line)
    return tuple(lines)


def believable(
    lines: Sequence[ShippedLine], catalog: Catalog, sizes: Mapping[str, int | None]
) -> tuple[ShippedLine, ...]:
    """Return the lines before the first one that the catalog or the folder contradicts.

    `sizes` is the listing of the folder (name to size in bytes, None for what is no plain file), made *after* the
    journal was read: a log has at least the bytes that lines tell of.
    """
    logs = _Logs(catalog, sizes)
    count = next((index for index, line in enumerate(lines) if logs.contradiction(line)), len(lines))
    return tuple(lines[:count])


def judge_journal(data: bytes, catalog: Catalog, sizes: Mapping[str, int | None]) -> Journal:
    """Read a journal as far as it can be believed, and say why no further; `sizes` as in `believable`."""
    lines = decode_lines(data)
    trusted = believable(lines, catalog, sizes)
    problem = ""
    if len(trusted) < len(lines):
        contradiction = _Logs(catalog, sizes).contradiction(lines[len(trusted)])
        problem = f"{contradiction} (line {len(trusted) + 1})"
    elif len(lines) < data.count(b"\n"):
        problem = f"is damaged: line {len(lines) + 1} makes no sense"
    return Journal(trusted, problem)


def newest_state(catalog: Catalog, lines: Sequence[ShippedLine]) -> ReplicaState:
    """Return the state after all lines, which are believable; without lines it is that of the checkpoint."""
    last = {line.name: line for line in lines}
    known = {file.name for file in catalog.files}
    grown = [
        replace(file, size_bytes=last[file.name].size_bytes, sha256=last[file.name].sha256)
        if file.name in last
        else file
        for file in catalog.files
    ]
    born = [
        CatalogFile(line.name, FileKind.WAL, line.size_bytes, "", line.sha256)
        for line in last.values()
        if line.name not in known
    ]
    return ReplicaState(lines[-1].at if lines else catalog.captured_at.astimezone(UTC), (*grown, *born))


def state_at(catalog: Catalog, lines: Sequence[ShippedLine], moment: datetime) -> ReplicaState | None:
    """Return the last state, in the order of the lines, that is not later than `moment`; None if all are."""
    for count in range(len(lines), 0, -1):
        if lines[count - 1].at <= moment:
            return newest_state(catalog, lines[:count])
    base = newest_state(catalog, ())
    return base if base.at <= moment else None


class _Logs:
    """What a catalog and a listing say of write-ahead logs."""

    def __init__(self, catalog: Catalog, sizes: Mapping[str, int | None]) -> None:
        self._sizes = sizes
        self._sealed = {file.name: file for file in catalog.files if file.kind is FileKind.WAL}
        self._newest = catalog.newest_log_number

    def contradiction(self, line: ShippedLine) -> str:
        """Say what contradicts the line; empty if nothing does."""
        there_bytes = self._sizes.get(line.name)
        if there_bytes is None or there_bytes < line.size_bytes:
            return f"tells of {line.size_bytes} bytes of {line.name}, there are {there_bytes or 0}"
        sealed = self._sealed.get(line.name)
        if sealed is None:
            return (
                "" if line.number > self._newest else f"tells of {line.name}, which is older than the checkpoint"
            )
        if line.size_bytes < sealed.size_bytes:
            return f"tells of {line.size_bytes} bytes of {line.name}, the catalog of {sealed.size_bytes}"
        if line.size_bytes == sealed.size_bytes and line.sha256 != sealed.sha256:
            return f"tells of another SHA-256 of {line.name} than the catalog"
        return ""


def _decode_line(text: bytes) -> ShippedLine | None:
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    at, name, size_bytes, sha256 = (group.decode("ascii") for group in match.groups())
    try:
        line = ShippedLine(datetime.fromisoformat(at).replace(tzinfo=UTC), name, int(size_bytes), sha256)
    except ValueError:
        return None
    return line if line.name == wal_name(line.number) else None


def _may_follow(line: ShippedLine, previous: ShippedLine) -> bool:
    if line.name != previous.name:
        return line.number > previous.number
    if line.size_bytes == previous.size_bytes:
        return line.sha256 == previous.sha256
    return line.size_bytes > previous.size_bytes
