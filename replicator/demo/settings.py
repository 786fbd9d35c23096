"""How the demo's primary is to write, and the file in which it publishes how far it came.

Kept apart from `primary` so that whoever starts one needs no engine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any

from replicator.demo.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NUMBER_BYTES = 8


@dataclass(frozen=True, slots=True)
class PrimarySettings:
    """What to write and how; the `_every` fields count batches, and 0 turns them off.

    `flush_wal_every` above 0 sets `manual_wal_flush`: what the engine holds back is not published either.
    The three option tables use the names of RocksDB's OPTIONS file.
    """

    layout: Layout = field(default_factory=Layout)
    write_buffer_bytes: int = 256 * 1024
    batches_per_second: float = 0
    max_batches: int = 0
    compact_every: int = 0
    flush_wal_every: int = 0
    database_options: Mapping[str, str] = field(default_factory=dict)
    family_options: Mapping[str, str] = field(default_factory=dict)
    table_options: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the form that the primary takes on its command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PrimarySettings:
        """Read that form. Raises `ValueError` or `TypeError` for anything else."""
        fields: dict[str, Any] = json.loads(text)
        return cls(layout=Layout(**fields.pop("layout")), **fields)


class Progress:
    """The number of the last batch that reached the database's files, shared through a mapped file.

    One process writes it, any number read it at any instant. The number is little endian on every platform
    that the engine is built for, and so small that it is stored and loaded in one piece.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        if writable and not path.exists():
            path.write_bytes(bytes(_NUMBER_BYTES))
        with path.open("r+b" if writable else "rb") as file:
            self._map = (
                mmap(file.fileno(), _NUMBER_BYTES)
                if writable
                else mmap(file.fileno(), _NUMBER_BYTES, access=ACCESS_READ)
            )
        self._number = memoryview(self._map).cast("Q")

    @property
    def position(self) -> int:
        """The number of the last batch that is surely in the files."""
        return self._number[0]

    def publish(self, position: int) -> None:
        """Tell all readers."""
        self._number[0] = position

    def close(self) -> None:
        """Unmap the file."""
        self._number.release()
        self._map.close()
