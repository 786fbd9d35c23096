"""A generation in a local folder that is grown by hand, as shipping does it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

JOURNAL_NAME = "shipped.jsonl"


def ship(generation: Path, name: str, data: bytes, at: datetime) -> None:
    """Append to a log, which may be a new one, and then say so in the journal."""
    append(generation, name, data)
    tell(generation, name, at)


def append(generation: Path, name: str, data: bytes) -> None:
    """Append to a log only."""
    with (generation / name).open("ab") as log:
        log.write(data)


def tell(generation: Path, name: str, at: datetime, **other: object) -> None:
    """Append a line that tells of all that the log has, but for what `other` changes in it."""
    content = (generation / name).read_bytes()
    line = {
        "at": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "wal": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with (generation / JOURNAL_NAME).open("a", encoding="ascii") as journal:
        journal.write(json.dumps(line | other) + "\n")
