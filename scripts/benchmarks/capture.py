"""A checkpoint of a live database: ours, against opening it as a secondary instance and using `Checkpoint`.

Those after the first are compared with the first too, on a database of many tables.
The secondary's result is not even right (docs/architecture.md); this compares only what it costs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from report import Row

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.service.collector import collect_seldom

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

TABLES = 5_000
MOVES = 5_000  # each table is moved down a level: as many MANIFEST edits again
NEW_TABLES = 10
#: Where only what changed is to cost anything.
LIVE_TABLES = 10_000
NEW_EDITS = 100
#: Those that take turns: until each of them was filled once, there is more to link.
_FOLDERS = 3
#: The secondary is slow: fewer runs of it are enough to see that.
_SECONDARY_RUNS = 2
#: A folder that changed just now is listed again: its time cannot tell the next change from that one.
_SETTLED_SECONDS = 0.05

_PRIMARY = """
import os, sys
from rocksdict import Options, Rdict
options = Options(raw_mode=True)
options.create_if_missing(True)
options.set_disable_auto_compactions(True)
options.set_level_zero_slowdown_writes_trigger(1 << 30)
options.set_level_zero_stop_writes_trigger(1 << 30)
database = Rdict(sys.argv[1], options)
keys = 0
for line in sys.stdin:
    what, count = line.split()
    if what == "large":
        database[b"large"] = os.urandom(int(count))
        database.flush()
        count = 0
    for _ in range(int(count)):
        if what == "flush":
            database[b"key-%08d" % keys] = b"v" * 100
            database.flush()
            keys += 1
        else:
            keys -= 1
            database.compact_range(b"key-%08d" % keys, b"key-%08dx" % keys)
    print("done", flush=True)
"""

_SECONDARY = """
import sys, time
from rocksdict import AccessType, Checkpoint, Options, Rdict
started = time.perf_counter()
access = AccessType.secondary(sys.argv[2])
database = Rdict(sys.argv[1], Options(raw_mode=True), access_type=access)
database.try_catch_up_with_primary()
Checkpoint(database).create_checkpoint(sys.argv[3])
print(time.perf_counter() - started)
"""


class Primary:
    """A live database in a process of its own, which changes only when told to."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRIMARY, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, what: str, count: int) -> None:
        """Flush or move so many tables, or flush a "large" one of so many bytes."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError("the primary failed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def bench_capture(runs: int) -> list[Row]:
    """Compare the first checkpoint, and those after a few changes each."""
    collect_seldom()  # as a service does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Primary(folder / "db") as primary:
            primary.do("flush", TABLES)
            primary.do("move", MOVES)
            first = [_first_capture(folder) for _ in range(runs)]
            secondary_first = [_secondary(folder) for _ in range(_SECONDARY_RUNS)]
            root = CheckpointRoot(folder / "root")
            root.create()
            capture = Capture(folder / "db", root)
            repeated, secondary_repeated = [], []
            # The first two fill checkpoint_current and checkpoint_prev; after them every one is like the next.
            for number in range(runs + 2):
                primary.do("flush", NEW_TABLES)
                seconds = _timed(capture)
                if number > 1:
                    repeated.append(seconds)
            for _ in range(_SECONDARY_RUNS):
                primary.do("flush", NEW_TABLES)
                secondary_repeated.append(_secondary(folder))
            capture.close()
    what = f"{TABLES} tables, {TABLES + MOVES} edits"
    against = "secondary + Checkpoint"
    return [
        Row(f"first checkpoint, {what}", against, tuple(first), tuple(secondary_first)),
        Row(f"next checkpoint, {NEW_TABLES} new tables", against, tuple(repeated), tuple(secondary_repeated)),
        _compare_with_the_first(runs),
    ]


def _compare_with_the_first(runs: int) -> Row:
    """Compare checkpoints of a large database, each after a few changes, with its first one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Primary(folder / "db") as primary:
            primary.do("flush", LIVE_TABLES)
            first = [_first_capture(folder) for _ in range(runs)]
            root = CheckpointRoot(folder / "root")
            root.create()
            capture = Capture(folder / "db", root)
            repeated = []
            for _ in range(_FOLDERS + runs):
                primary.do("flush", NEW_EDITS)
                time.sleep(_SETTLED_SECONDS)
                repeated.append(_timed(capture))
            capture.close()
    case = f"checkpoint, {LIVE_TABLES} live tables, {NEW_EDITS} new edits"
    return Row(case, "the first of them", tuple(repeated[_FOLDERS:]), tuple(first), at_least=10.0)


def _first_capture(folder: Path) -> float:
    root = CheckpointRoot(folder / "first")
    root.create()
    capture = Capture(folder / "db", root)
    seconds = _timed(capture)
    capture.close()
    shutil.rmtree(root.path)
    return seconds


def _timed(capture: Capture) -> float:
    started = time.perf_counter()
    capture.make()
    return time.perf_counter() - started


def _secondary(folder: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _SECONDARY, str(folder / "db"), str(folder / "secondary"), str(folder / "copy")],
        capture_output=True,
        text=True,
        check=True,
    )
    for path in (folder / "secondary", folder / "copy"):
        shutil.rmtree(path)
    return float(done.stdout)
