"""Writes a database with RocksDB 6.29 and an order of keys of its own, then dies with the rest unflushed.

    python -m tests.support.engines.writer_6 PATH

A column family that is kept and never flushed, one that is flushed and dropped, range deletions, and tables
that were compacted. Prints the engine's own list of live files as JSON: name and size.
"""

from __future__ import annotations

import json
import os
import sys

import rdbpy  # type: ignore[import-untyped]  # has stubs, but no marker for them
from rdbpy.interfaces import Comparator  # type: ignore[import-untyped]  # as above

ROWS = 300
ROUNDS = 6
WRITE_BUFFER_BYTES = 65536


class Backwards(Comparator):  # type: ignore[misc]  # its base is untyped
    """Orders keys by their bytes from the end."""

    def name(self) -> bytes:
        return b"tests.Backwards"

    def compare(self, left: bytes, right: bytes) -> int:
        return (left[::-1] > right[::-1]) - (left[::-1] < right[::-1])


def write(path: str) -> list[tuple[str, int]]:
    database = rdbpy.DB(path, rdbpy.Options(create_if_missing=True, disable_auto_compactions=True))
    # Never flushed: that would call the comparator on a thread of the engine, for which this library hangs.
    database.create_column_family(b"kept", rdbpy.ColumnFamilyOptions(comparator=Backwards()))
    database.create_column_family(b"dropped", rdbpy.ColumnFamilyOptions(write_buffer_size=WRITE_BUFFER_BYTES))
    kept, dropped = (database.get_column_family(name) for name in (b"kept", b"dropped"))
    for turn in range(ROUNDS):
        for row in range(ROWS):
            batch = rdbpy.WriteBatch()
            for family in (None, kept) if turn > ROUNDS // 2 else (None, kept, dropped):
                batch.put(b"%06d-%d" % (row, turn), bytes(100), family)
            if row == ROWS // 2:
                batch.delete_range(b"000010", b"000020", None)
            database.write(batch)
        if turn == ROUNDS // 2:
            database.compact_range()
            database.drop_column_family(dropped)
        elif turn < ROUNDS - 1:
            database.flush()
    return [(file["name"], file["size"]) for file in database.get_live_files_metadata()]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(write(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)
