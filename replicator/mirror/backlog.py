"""What is still to be done at one destination: a `Coalescer` that several threads may use."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from replicator.mirror.paths import TOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicator.mirror.coalesce import Coalescer, Work


class Backlog:
    """The watcher puts in what events name, one worker takes out what is due."""

    def __init__(self, coalescer: Coalescer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._coalescer = coalescer
        self._clock = clock
        self._changed = threading.Condition()
        self._is_woken = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._coalescer)

    def touch(self, path: str, *, tree: bool = False, fresh: bool = False, born: bool = False) -> None:
        """See `Coalescer.touch`."""
        with self._changed:
            self._coalescer.touch(path, self._clock(), tree=tree, fresh=fresh, born=born)
            self._changed.notify()

    def share(self, path: str, inodes: frozenset[int]) -> None:
        """See `Coalescer.share`."""
        with self._changed:
            self._coalescer.share(path, inodes, self._clock())
            self._changed.notify()

    def move(self, source: str, target: str, *, is_folder: bool) -> None:
        """See `Coalescer.move`."""
        with self._changed:
            self._coalescer.move(source, target, self._clock(), is_folder=is_folder)
            self._changed.notify()

    def take(self, *, most: int, early: bool = False) -> Work:
        """See `Coalescer.take`; with `early` what is not due yet is taken too."""
        with self._changed:
            return self._coalescer.take(math.inf if early else self._clock(), most=most)

    def begin_comparison(self) -> Work:
        """Return the moves that were noted. From now on, until the top is released, no other one is believed."""
        with self._changed:
            moves = self._coalescer.take(-math.inf, most=0)
            self._coalescer.occupy(TOP, tree=True)
            return moves

    def occupy(self, paths: Iterable[str], *, tree: bool = False) -> None:
        """See `Coalescer.occupy`."""
        with self._changed:
            for path in paths:
                self._coalescer.occupy(path, tree=tree)

    def release(self, paths: Iterable[str]) -> None:
        """See `Coalescer.release`."""
        with self._changed:
            self._coalescer.release(paths, self._clock())

    def give_back(self, work: Work) -> None:
        """See `Coalescer.give_back`."""
        with self._changed:
            self._coalescer.give_back(work, self._clock())

    def wait(self, timeout_seconds: float | None) -> None:
        """Wait until something is due, `wake` is called, or so many seconds are over (None: no limit)."""
        deadline = None if timeout_seconds is None else self._clock() + timeout_seconds
        with self._changed:
            while not self._is_woken:
                now = self._clock()
                due_seconds = self._coalescer.next_due()
                until = [seconds for seconds in (deadline, due_seconds) if seconds is not None]
                if until and min(until) <= now:
                    break
                self._changed.wait(min(until) - now if until else None)
            self._is_woken = False

    def wake(self) -> None:
        """Make `wait` return at once, from any thread."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()
