"""What could not be mirrored because something changed meanwhile, on either side, is tried again."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.mirror.paths import TOP, folders_above, parent_of

if TYPE_CHECKING:
    from replicator.mirror.apply import Applier
    from replicator.mirror.backlog import Backlog

#: After so many tries that found a file changing, a beginning of it is sent.
_MOST_TRIES: Final = 3
#: So often what failed at the destination is looked at again, each time from one folder higher up.
_MOST_REJECTIONS: Final = 8


class SecondTries:
    """Counts tries, and asks the backlog for others."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._tries: Counter[str] = Counter()
        self._rejections: Counter[str] = Counter()

    def begin_anew(self) -> None:
        """Say that everything is about to be looked at."""
        self._rejections.clear()

    def after_changes(self, applier: Applier, rest_seconds: float) -> None:
        """Files changed while they were read; with `rest_seconds` they are tried again here, after a rest."""
        for path in list(applier.tally.changed):
            self._try_again(applier, path, rest_seconds)

    def _try_again(self, applier: Applier, path: str, rest_seconds: float) -> None:
        """Of a file that never holds still a beginning is sent."""
        applier.tally.changed.discard(path)
        while True:
            self._tries[path] += 1
            if not rest_seconds and self._tries[path] < _MOST_TRIES:
                self._backlog.touch(path, fresh=True)
                return
            time.sleep(rest_seconds)
            entry = applier.local.look(path)
            if entry is None or entry.kind is not EntryKind.FILE:
                break
            applier.send([(path, entry)], may_change=self._tries[path] >= _MOST_TRIES)
            applier.finish_folders([parent_of(path)])
            if path not in applier.tally.changed:
                break
            applier.tally.changed.discard(path)
        del self._tries[path]

    def after_rejections(self, applier: Applier) -> None:
        """What failed at the destination may do so because of a folder above it, which changed meanwhile."""
        for path in applier.rejected & applier.tally.failures.keys():
            self._rejections[path] += 1
            if self._rejections[path] > _MOST_REJECTIONS:
                del self._rejections[path]
                continue
            del applier.tally.failures[path]
            self._backlog.touch(path, tree=True, fresh=True)
            for folder in list(folders_above(path))[: self._rejections[path]]:
                if folder != TOP:
                    self._backlog.touch(folder, tree=True)
