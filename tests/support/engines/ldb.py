"""What `ldb`, RocksDB 7.8's own tool, reads in a database's files: the second opinion on our decoders."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FAMILY = re.compile(r'-+ Column family "(?P<name>.*)"  \(ID (?P<id>\d+)\) -+')
_LEVEL = re.compile(r"--- level (?P<level>\d+) --- version# \d+ ---")
_TABLE = re.compile(r" (?P<number>\d+):(?P<size>\d+)\[(?P<low>\d+) \.\. (?P<high>\d+)\]")
_BLOB = re.compile(
    r"blob_file_number: (?P<number>\d+) total_blob_count: (?P<count>\d+) total_blob_bytes: (?P<size>\d+)"
)
_SUMMARY = re.compile(
    r"next_file_number (?P<next>\d+) last_sequence (?P<sequence>\d+) .* min_log_number_to_keep (?P<log>\d+)"
)
_WAL_LINE = re.compile(r"(?P<sequence>\d+),(?P<count>\d+),(?P<size>\d+),\d+,")


@dataclass
class DumpedFamily:
    """A column family: tables are (level, size, lowest and highest sequence), blob files (count, bytes)."""

    name: str
    log_number: int = 0
    comparator: str = ""
    tables: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    blobs: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class DumpedManifest:
    """What `ldb manifest_dump` says at the end of a MANIFEST."""

    families: dict[int, DumpedFamily] = field(default_factory=dict)
    next_file_number: int = 0
    last_sequence: int = 0
    min_log_number_to_keep: int = 0


@dataclass(frozen=True)
class DumpedBatch:
    """A line of `ldb dump_wal`; the offset it prints is left out, for it may be that of padding."""

    sequence: int
    count: int
    size_bytes: int


def dump_manifest(manifest: Path) -> DumpedManifest:
    """Have `ldb` decode a MANIFEST."""
    dumped = DumpedManifest()
    family = DumpedFamily("")
    level = 0
    for line in _run("manifest_dump", f"--path={manifest}", "--hex").splitlines():
        if found := _FAMILY.fullmatch(line):
            family = dumped.families[int(found["id"])] = DumpedFamily(found["name"])
        elif line.startswith("log number: "):
            family.log_number = int(line.removeprefix("log number: "))
        elif line.startswith("comparator: "):
            family.comparator = line.removeprefix("comparator: ")
        elif found := _LEVEL.fullmatch(line):
            level = int(found["level"])
        elif found := _TABLE.match(line):
            family.tables[int(found["number"])] = (
                level,
                int(found["size"]),
                int(found["low"]),
                int(found["high"]),
            )
        elif found := _BLOB.match(line):
            family.blobs[int(found["number"])] = (int(found["count"]), int(found["size"]))
        elif found := _SUMMARY.match(line):
            # It keeps the number after the one that the file says.
            dumped.next_file_number = int(found["next"]) - 1
            dumped.last_sequence = int(found["sequence"])
            dumped.min_log_number_to_keep = int(found["log"])
    assert 0 in dumped.families, f"ldb could not read {manifest}"
    return dumped


def dump_wal(wal: Path) -> list[DumpedBatch]:
    """Have `ldb` list the batches of a WAL."""
    lines = _run("dump_wal", f"--walfile={wal}").splitlines()
    found = [match for line in lines if (match := _WAL_LINE.match(line))]
    return [DumpedBatch(*(int(match[name]) for name in ("sequence", "count", "size"))) for match in found]


def _run(*arguments: str) -> str:
    done = subprocess.run(["ldb", *arguments], capture_output=True, check=True, timeout=120)
    return done.stdout.decode("utf-8", "replace")
