"""The judge of replicas: opens a copy of one with a real engine and says whether it is exact.

`python -m replicator.demo.oracle PATH [RECOVERY]` prints the verdict as JSON. A process of its own is the right
place for what may be damaged: the engine can crash on it. What "exact" means is said in `layout`.
"""

from __future__ import annotations

import os
import shutil
import sys
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rocksdict import Rdict

from replicator.demo.engine import engine_options
from replicator.demo.layout import Verdict, judge_contents

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Recovery", "Verdict", "judge", "main"]

#: Files that the engine never changes in place, so that the judge's copy may share them.
_IMMUTABLE_SUFFIXES = (".sst", ".ldb", ".blob")

#: The strictest checks that RocksDB has, and no background work to disturb or slow down the reading.
_DATABASE_OPTIONS = {
    "track_and_verify_wals_in_manifest": "true",
    "paranoid_checks": "true",
    "avoid_flush_during_recovery": "true",
    "stats_dump_period_sec": "0",
}
_FAMILY_OPTIONS = {"disable_auto_compactions": "true"}


class Recovery(Enum):
    """What to demand of the write-ahead logs; the values are RocksDB's names for it."""

    #: The logs end with a whole record: true of every checkpoint and replica.
    ABSOLUTE = "kAbsoluteConsistency"
    #: The last record may be cut: true of the directory of a primary that was killed.
    POINT_IN_TIME = "kPointInTimeRecovery"


def judge(path: Path, *, recovery: Recovery = Recovery.ABSOLUTE) -> Verdict:
    """Judge the database at `path`, which is neither opened nor changed: a copy of it is.

    The copy is made in a temporary folder, with hard links for what is immutable where that is possible. It is
    opened for writing, as a restored database would be. A replica may be shipped to meanwhile: what is judged is
    what it was at some instant, with logs that may end in half a record.
    """
    with TemporaryDirectory(prefix="replicator-judge-") as folder:
        try:
            _copy_database(path, Path(folder))
            contents = _read_all(Path(folder), recovery)
        except Exception as error:  # noqa: BLE001 - the engine raises no other class, and a bad replica is a verdict
            return Verdict(opened=False, details=(str(error),))
        return judge_contents(contents)


def _copy_database(source: Path, target: Path) -> None:
    # Of the logs the newest first: they grow oldest first, so that no older one lacks anything by then.
    for entry in sorted(source.iterdir(), reverse=True):
        if not entry.is_file():
            continue
        if entry.suffix in _IMMUTABLE_SUFFIXES:
            try:
                os.link(entry, target / entry.name)
            except OSError:  # another filesystem, or another owner's file
                shutil.copyfile(entry, target / entry.name)
        else:
            shutil.copyfile(entry, target / entry.name)


def _read_all(path: Path, recovery: Recovery) -> dict[str, dict[bytes, bytes]]:
    options = engine_options({**_DATABASE_OPTIONS, "wal_recovery_mode": recovery.value}, _FAMILY_OPTIONS, {})
    names = Rdict.list_cf(str(path), options.database)
    database = Rdict(str(path), options.database, dict.fromkeys(names, options.family))
    try:
        return {name: _read_family(database, name) for name in names}
    finally:
        database.close()


def _read_family(database: Rdict, name: str) -> dict[bytes, bytes]:
    """Read with an iterator rather than as a mapping: only that one tells an end from an error."""
    entries: dict[bytes, bytes] = {}
    iterator = database.get_column_family(name).iter()
    iterator.seek_to_first()
    while iterator.valid():
        entries[iterator.key()] = iterator.value()
        iterator.next()
    iterator.status()
    return entries


def main(arguments: Sequence[str]) -> int:
    """Judge the database named by the first argument, recovered as the second says; 0 if it is exact, else 1."""
    path, *rest = arguments
    verdict = judge(Path(path), recovery=Recovery(rest[0]) if rest else Recovery.ABSOLUTE)
    sys.stdout.write(verdict.to_json() + "\n")
    return 0 if verdict.exact else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
