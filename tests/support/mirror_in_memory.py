"""A mirror of a real folder at a destination in memory, which breaks when told to."""

from __future__ import annotations

import threading
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.errors import ConnectionLostError
from replicator.mirror.backlog import Backlog
from replicator.mirror.coalesce import Coalescer, Doubt, Work
from replicator.mirror.deletes import DeleteBudget
from replicator.mirror.excludes import Excludes
from replicator.mirror.rules import MirrorRules
from replicator.mirror.session import MirrorSession
from replicator.mirror.staging import MirrorSource
from replicator.service.mirror_board import MirrorBoard
from replicator.service.mirror_status import MirrorStatus, WatchedMirror
from replicator.service.mirror_worker import MirrorWorker
from replicator.service.precedence import BulkPace, Precedence, SteadyPace
from tests.support.memory_destination import MemoryDestination

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replicator.destination.interface import SymbolicLink


class _Destination(MemoryDestination):
    """Notes where links are put together."""

    def __init__(self, before_change: Callable[[str, PurePosixPath], None]) -> None:
        super().__init__(before_change=before_change)
        self.link_parts: list[PurePosixPath | None] = []

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make many symbolic links."""
        self.link_parts += [link.part for link in links]
        super().make_symlinks(links)


def rules_of(source: Path) -> MirrorRules:
    """Return how a mirror named `media` is kept when nothing is said of it."""
    return MirrorRules(
        name="media",
        path=source,
        source=MirrorSource("host", "path"),
        excludes=Excludes([]),
        delete=True,
        take_over=False,
        take_over_command="",
    )


class MirrorInMemory:
    """A session, and on demand a worker. `source` exists; `now` is the time that files are compared with."""

    def __init__(self, source: Path, *, most_deletes: Callable[[int], int] = lambda files: files) -> None:
        self.source = source
        self.now = 0.0
        #: What is to be refused, once.
        self.breaks: set[tuple[str, str]] = set()
        #: Called before that is done.
        self.before: dict[tuple[str, str], Callable[[], None]] = {}
        #: What was changed, in order.
        self.steps: list[tuple[str, str]] = []
        self.there = _Destination(self._step)
        self.stop = threading.Event()
        self.precedence = Precedence()
        #: By how much the clock of the backlog is ahead.
        self.ahead_seconds = 0.0
        self.backlog = Backlog(Coalescer(0.0, 0.0), clock=lambda: time.monotonic() + self.ahead_seconds)
        self.board = MirrorBoard([WatchedMirror("media", ("memory",))])
        self.budget = DeleteBudget(most_deletes)
        self.session = MirrorSession(
            rules_of(source), self.there, self.backlog, self.budget, clock=lambda: self.now
        )

    def _step(self, action: str, path: PurePosixPath) -> None:
        step = action, str(path)
        self.steps.append(step)
        if step in self.before:
            self.before.pop(step)()
        if step in self.breaks:
            self.breaks.discard(step)
            raise ConnectionLostError("cut")

    # --- looking -------------------------------------------------------------------------------------

    def names(self, folder: str = "media") -> set[str]:
        """Return what is in a folder there."""
        return {entry.name for entry in self.there.list_folder(PurePosixPath(folder))}

    def modified_seconds(self, name: str) -> int:
        """Return the time of a file there."""
        (entry,) = [item for item in self.there.list_folder(PurePosixPath("media")) if item.name == name]
        return entry.modified_seconds

    def content(self, name: str) -> bytes:
        """Return the content of a file there."""
        return self.there.read_bytes(PurePosixPath("media", name), limit_bytes=1 << 20)

    @property
    def status(self) -> MirrorStatus:
        """What the board says."""
        (status,) = self.board.snapshot()
        return status

    # --- working -------------------------------------------------------------------------------------

    def compare(self, pace: BulkPace | None = None, *, between: Callable[[], None] = lambda: None) -> None:
        """Compare everything."""
        pace = pace or BulkPace(self.precedence, self.stop, self.stop.wait)
        self.session.compare_all(pace, between=between)

    def work(self) -> None:
        """Do what is due."""
        self.session.apply(self.backlog.take(most=99), SteadyPace(self.precedence, self.stop))

    def look_at(self, name: str) -> None:
        """Do as if a file had just been made."""
        doubt = Doubt(name, tree=False, fresh=True, since_seconds=0.0, born=True)
        self.session.apply(Work((), (doubt,)), SteadyPace(self.precedence, self.stop))

    def worker(self) -> MirrorWorker:
        """Return one that may begin at once."""
        ready = threading.Event()
        ready.set()
        return MirrorWorker(
            "media",
            "memory",
            self.there,
            self.session,
            backlog=self.backlog,
            budget=self.budget,
            board=self.board,
            precedence=self.precedence,
            rescan_seconds=3600,
            ready=ready,
            stop=self.stop,
        )
