"""Which databases the RocksDB that rocksdict carries can open. Pure; `engine` opens them."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ENGINE_VERSION: Final = "9.8.4"

BYTEWISE: Final = "leveldb.BytewiseComparator"
REVERSE_BYTEWISE: Final = "rocksdb.ReverseBytewiseComparator"

_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})(?:\.|$)", re.ASCII)


class EngineReach(Enum):
    """What it means if the engine does not open a database."""

    OPENS = "opens"
    """There is something wrong with the database."""
    MAY_OPEN = "may open"
    """Nothing: a newer version wrote it, perhaps in a way that this one does not know."""
    NEVER_OPENS = "never opens"
    """Nothing: its keys have an order that only the application knows."""


def engine_reach(rocksdb_version: str, comparators: Iterable[str]) -> EngineReach:
    """Say whether the engine opens what that version of RocksDB wrote.

    `comparators` are those of all column families. A version that is not known, such as an empty text, counts as
    an old one.
    """
    if unknown_comparators(comparators):
        return EngineReach.NEVER_OPENS
    if _release(rocksdb_version) > _release(ENGINE_VERSION):
        return EngineReach.MAY_OPEN
    return EngineReach.OPENS


def unknown_comparators(comparators: Iterable[str]) -> tuple[str, ...]:
    """Return those that are not part of RocksDB, in order."""
    return tuple(sorted(set(comparators) - {BYTEWISE, REVERSE_BYTEWISE}))


def _release(version: str) -> tuple[int, int]:
    """Return the numbers that tell formats apart: patch releases change none."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
