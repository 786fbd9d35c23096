"""A disk that is just large enough for a primary alone: how full it gets, and who holds what when it is full.

What the service holds is counted here from outside, by names and by open files, and not by its own reckoning.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SAMPLE_SECONDS = 0.005
_BLOCK_BYTES = 512
_LOCK_NAME = ".replicator.lock"
_NO_SPACE = re.compile(r"^(\d{4}/\d\d/\d\d-[\d:.]+).*No space left", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was free at an instant (seconds since the epoch), and what was in use for the service alone."""

    at_seconds: float
    free_bytes: int
    held_bytes: int


def free_bytes(disk: Path) -> int:
    """Return what is free there."""
    figures = os.statvfs(disk)
    return figures.f_bavail * figures.f_frsize


def held_bytes(root: Path, pid: int) -> int:
    """Return what would be free without the checkpoints in a root, and the files that a process has open."""
    names: Counter[int] = Counter()
    files: dict[int, os.stat_result] = {}
    for folder, _, found in os.walk(root):
        for name in found:
            if name == _LOCK_NAME:
                continue
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - many times a second
                names[status.st_ino] += 1
                files[status.st_ino] = status
    device = os.stat(root.parent).st_dev  # noqa: PTH116
    for process in _with_children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            for descriptor in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208
                with suppress(FileNotFoundError):
                    status = os.stat(f"/proc/{process}/fd/{descriptor}")  # noqa: PTH116
                    if status.st_dev == device and status.st_nlink == 0:
                        files.setdefault(status.st_ino, status)
    return sum(
        status.st_blocks * _BLOCK_BYTES for inode, status in files.items() if status.st_nlink == names[inode]
    )


def _with_children(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def sampled(root: Path, pid: int) -> Iterator[list[Sample]]:
    """Look all the time, on a thread of its own; the samples are added to what is given."""
    samples: list[Sample] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            samples.append(Sample(time.time(), free_bytes(root.parent), held_bytes(root, pid)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def ran_full_at(database: Path) -> float | None:
    """Return when the engine first met a full disk (seconds since the epoch), by its own log; None if never."""
    found = _NO_SPACE.search((database / "LOG").read_text(errors="replace"))
    if found is None:
        return None
    return datetime.strptime(found[1], "%Y/%m/%d-%H:%M:%S.%f").astimezone().timestamp()
