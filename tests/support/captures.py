"""Captures of a primary under load, each judged."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.demo.oracle import judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.primaries import Primary

#: Batches that a primary is to have written before the first capture, so that its storm blows.
WARM_UP_BATCHES = 1500

_LONGEST_LIFE_SECONDS = 0.3


class CaptureRun:
    """Makes checkpoints of one primary in one root: each must be exact, and not behind what was written before."""

    def __init__(self, primary: Primary, root: Path) -> None:
        self.root = CheckpointRoot(root)
        self.root.create()
        self.root.recover()
        self._primary = primary
        self._capture = Capture(primary.path, self.root)
        self.copied_bytes = 0

    def make(self, count: int, *, pauses: bool = False) -> None:
        """Capture and judge so many times in a row.

        With `pauses` the primary stands still while it is judged (never while it is captured), so that the logs
        do not grow without end.
        """
        for number in range(count):
            position = self._primary.position
            captured = self._capture.make()
            self.copied_bytes += captured.copied_bytes
            with paused(self._primary) if pauses else contextlib.nullcontext():
                verdict = judge(self.root.current)
            assert verdict.exact, f"capture {number}: {verdict}, {captured}"
            assert verdict.position >= position, f"capture {number}: {verdict}, {captured}"

    def close(self) -> None:
        """End, as the service does."""
        self._capture.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def paused(primary: Primary) -> Iterator[None]:
    """Stop the primary's process for a while."""
    os.kill(primary.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(primary.pid, signal.SIGCONT)


@contextlib.contextmanager
def killed_at_random(primary: Primary, seed: int) -> Iterator[None]:
    """Kill the primary and start it again, over and over: in the middle of captures and between them."""
    generator = random.Random(seed)
    done = threading.Event()

    def kill_and_start() -> int:
        kills = 0
        while not done.is_set():
            time.sleep(generator.uniform(0, _LONGEST_LIFE_SECONDS))
            primary.restart()
            kills += 1
        return kills

    with ThreadPoolExecutor(1) as pool:
        kills = pool.submit(kill_and_start)
        try:
            yield
        finally:
            done.set()
    assert kills.result() > 1
