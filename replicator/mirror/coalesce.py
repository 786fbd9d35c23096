"""What is to be looked at again, and when: events in, work out. Pure: whoever calls brings the time.

An event is never believed, it only names a path. A path is looked at once no event has named it for
`quiet_seconds`, but at the latest `max_delay_seconds` after the first, so that what never rests is mirrored too.

Moves are believed in one case: what was moved lay at the destination as it was here. So they are kept in their
order and come before everything else, and the paths of all that is noted are those *after* these moves. A move of
something that was noted, or that is being worked on, is two paths to be looked at instead.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from replicator.mirror.paths import TOP, folders_above, lies_in, moved

if TYPE_CHECKING:
    from collections.abc import Iterable

#: With more than this to look at, everything is compared instead: memory stays bounded.
MOST_PATHS: Final = 100_000
#: An event may be read so much later than what it tells of. What was worked on within that time before a move may
#: have been what was there after it.
_GRACE_SECONDS: Final = 2.0
#: So many folders that were worked on as a whole are remembered.
_MOST_TREES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Doubt:
    """A path to be looked at: with all below it if `tree`; contents cannot be told by size and time if `fresh`.

    `born`: the first event told that it was made, so there is nothing at the destination. `shared`: the inodes of
    files that it was one of several names of, which are to be looked at under the others too.
    """

    path: str
    tree: bool
    fresh: bool
    since_seconds: float
    born: bool = False
    shared: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Move:
    """`source` became `target`, and is the same at the destination."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Work:
    """First the moves, in their order, then the doubts, in any order."""

    moves: tuple[Move, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.moves or self.doubts)


@dataclass(slots=True)
class _Noted:
    doubt: Doubt
    due_seconds: float


class Coalescer:
    """Collects what events name, for one destination."""

    def __init__(self, quiet_seconds: float, max_delay_seconds: float, *, most_paths: int = MOST_PATHS) -> None:
        self._quiet_seconds = quiet_seconds
        self._max_delay_seconds = max_delay_seconds
        self._most_paths = most_paths
        self._noted: dict[str, _Noted] = {}
        #: One item for each path in `_noted`, which may be too early.
        self._queue: list[tuple[float, str]] = []
        self._moves: list[Move] = []
        #: Being worked on, or failed: who knows what is there. The value tells whether that goes for all below it.
        self._busy: dict[str, bool] = {}
        self._recent: deque[tuple[float, str, bool]] = deque()
        #: When the last of those that go for all below were released, in that order.
        self._trees_over: dict[str, float] = {}
        #: When the last one was that is no longer there.
        self._forgotten_over = -math.inf

    def __len__(self) -> int:
        return len(self._noted) + len(self._moves)

    # --- events --------------------------------------------------------------------------------------

    def touch(self, path: str, now: float, *, tree: bool = False, fresh: bool = False, born: bool = False) -> None:
        """Note that `path` is to be looked at."""
        self._note(Doubt(path, tree, fresh, now, born and path not in self._busy), now)

    def share(self, path: str, inodes: frozenset[int], now: float) -> None:
        """Note that `path` is, or was, one of several names of these files."""
        self._note(Doubt(path, tree=False, fresh=False, since_seconds=now, shared=inodes), now)

    def move(self, source: str, target: str, now: float, *, is_folder: bool) -> None:
        """Note that `source` was given the name `target`."""
        if self._is_unsettled(source, now):
            self.touch(source, now, tree=is_folder, fresh=True)
            self.touch(target, now, tree=is_folder, fresh=True)
            return
        self._drop_below(target, now)
        for path in [path for path in self._noted if lies_in(path, source)]:
            doubt = self._noted.pop(path).doubt
            self._note(replace(doubt, path=moved(path, source, target)), now)
        for path, tree in self._unknown_below(source):
            self.touch(moved(path, source, target), now, tree=tree, fresh=True)
        self._moves.append(Move(source, target))

    # --- work ----------------------------------------------------------------------------------------

    def take(self, now: float, *, most: int) -> Work:
        """Return what is due, at most so many doubts. It counts as being worked on until `release`."""
        moves, self._moves = tuple(self._moves), []
        doubts: list[Doubt] = []
        while self._queue and len(doubts) < most and self._queue[0][0] <= now:
            _, path = heapq.heappop(self._queue)
            noted = self._noted.get(path)
            if noted is None:
                continue
            if noted.due_seconds > now:
                heapq.heappush(self._queue, (noted.due_seconds, path))
                continue
            del self._noted[path]
            doubts.append(noted.doubt)
            self._busy[path] = self._busy.get(path, False) or noted.doubt.tree
        for move in moves:
            self._busy[move.source] = self._busy[move.target] = True
        return Work(moves, tuple(map(self._believed, doubts)))

    def occupy(self, path: str, *, tree: bool = False) -> None:
        """Say that a path is being worked on that nobody asked about."""
        self._busy[path] = self._busy.get(path, False) or tree

    def release(self, paths: Iterable[str], now: float) -> None:
        """Say that these are as they are here, as far as anybody knows."""
        self._forget_recent(now)
        for path in paths:
            tree = self._busy.pop(path, None)
            if tree is not None:
                self._recent.append((now, path, tree))
                if tree:
                    self._trees_over.pop(path, None)
                    self._trees_over[path] = now
        while len(self._trees_over) > _MOST_TREES:
            self._forgotten_over = self._trees_over.pop(next(iter(self._trees_over)))

    def give_back(self, work: Work, now: float) -> None:
        """Note again what could not be done; its turn comes at once, the caller waits.

        It may have been done all the same, if only the answer was lost.
        """
        self._moves[:0] = work.moves
        for doubt in work.doubts:
            self._note(replace(doubt, born=False), now - self._max_delay_seconds)
            self._busy.pop(doubt.path, None)

    def is_due(self, now: float) -> bool:
        """Say whether there is work."""
        due_seconds = self.next_due()
        return due_seconds is not None and due_seconds <= now

    def next_due(self) -> float | None:
        """Say from when on there may be work; None if there is nothing."""
        if self._moves:
            return 0.0
        while self._queue:
            due_seconds, path = self._queue[0]
            noted = self._noted.get(path)
            if noted is not None and noted.due_seconds <= due_seconds:
                return due_seconds
            heapq.heappop(self._queue)
            if noted is not None:
                heapq.heappush(self._queue, (noted.due_seconds, path))
        return None

    # --- parts ---------------------------------------------------------------------------------------

    def _note(self, doubt: Doubt, now: float) -> None:
        known = self._noted.get(doubt.path)
        if known is None:
            if len(self._noted) >= self._most_paths:
                self._give_up(now)
                return
        else:
            doubt = Doubt(
                doubt.path,
                doubt.tree or known.doubt.tree,
                doubt.fresh or known.doubt.fresh,
                min(doubt.since_seconds, known.doubt.since_seconds),
                known.doubt.born,
                doubt.shared | known.doubt.shared,
            )
        due_seconds = min(now + self._quiet_seconds, doubt.since_seconds + self._max_delay_seconds)
        self._noted[doubt.path] = _Noted(doubt, due_seconds)
        if known is None or due_seconds < known.due_seconds:
            heapq.heappush(self._queue, (due_seconds, doubt.path))

    def _give_up(self, now: float) -> None:
        """Too much to remember: look at everything. What a move would have saved is sent again."""
        since_seconds = min((noted.doubt.since_seconds for noted in self._noted.values()), default=now)
        self._noted.clear()
        self._queue.clear()
        self._moves.clear()
        self._note(Doubt(TOP, tree=True, fresh=False, since_seconds=since_seconds), now)

    def _believed(self, doubt: Doubt) -> Doubt:
        """Return it, but not as born if work on a folder above may have brought it since then, or shortly before.

        Then it is looked up whether there is such a thing at the destination.
        """
        if not doubt.born:
            return doubt
        since_seconds = doubt.since_seconds - _GRACE_SECONDS
        above = list(folders_above(doubt.path))
        if (
            any(self._busy.get(folder, False) for folder in above)
            or any(self._trees_over.get(path, -math.inf) >= since_seconds for path in (doubt.path, *above))
            or self._forgotten_over >= since_seconds
        ):
            return replace(doubt, tree=True, born=False)
        return doubt

    def _is_unsettled(self, path: str, now: float) -> bool:
        """Say whether what lies at the destination under `path` is not what was here before this event."""
        self._forget_recent(now)
        above = set(folders_above(path))
        if path in self._noted or path in self._busy:
            return True
        if any(folder in self._noted and self._noted[folder].doubt.tree for folder in above):
            return True
        if any(self._busy.get(folder, False) for folder in above):
            return True
        return any(recent == path or (tree and recent in above) for _, recent, tree in self._recent)

    def _unknown_below(self, folder: str) -> list[tuple[str, bool]]:
        found = [(path, tree) for path, tree in self._busy.items() if lies_in(path, folder)]
        return found + [(path, tree) for _, path, tree in self._recent if lies_in(path, folder)]

    def _drop_below(self, target: str, now: float) -> None:
        """Forget what was noted of something that was replaced, but for files that go on under other names."""
        dropped = [self._noted.pop(path).doubt for path in [path for path in self._noted if lies_in(path, target)]]
        shared = frozenset[int]().union(*(doubt.shared for doubt in dropped))
        if shared:
            self.share(target, shared, now)

    def _forget_recent(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - _GRACE_SECONDS:
            self._recent.popleft()
