"""What could not be mirrored because something changed meanwhile, on either side, is tried again."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.mirror.paths import TOP, folders_above, parent_of
from replicator.mirror.scan import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.mirror.apply import Applier
    from replicator.mirror.backlog import Backlog
    from replicator.mirror.plan import LocalEntry

#: After so many tries that found a file changing, a beginning of it is sent.
_MOST_TRIES: Final = 3
#: So often what failed at the destination is looked at again, each time from one folder higher up.
_MOST_REJECTIONS: Final = 8
#: Folders stay open meanwhile.
_TRIED_AT_A_TIME: Final = 200


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
        """Files changed while they were read; with `rest_seconds` they are tried again here, after a rest.

        Of a file that never holds still a beginning is sent.
        """
        while changed := sorted(applier.tally.changed):
            applier.tally.changed.clear()
            self._tries.update(changed)
            if not rest_seconds:
                changed = self._leave_to_backlog(changed)
            time.sleep(rest_seconds)
            for start in range(0, len(changed), _TRIED_AT_A_TIME):
                self._send(applier, changed[start : start + _TRIED_AT_A_TIME])
                applier.local.forget()
            for path in changed:
                if path not in applier.tally.changed:
                    del self._tries[path]

    def _leave_to_backlog(self, changed: Sequence[str]) -> list[str]:
        """Let those be tried again later that may hold still then; return the others."""
        for path in changed:
            if self._tries[path] < _MOST_TRIES:
                self._backlog.touch(path, fresh=True)
        return [path for path in changed if self._tries[path] >= _MOST_TRIES]

    def _send(self, applier: Applier, paths: Sequence[str]) -> None:
        whole: list[tuple[str, LocalEntry]] = []
        restless: list[tuple[str, LocalEntry]] = []
        for path in paths:
            try:
                entry = applier.local.look(path)
            except UnreadableError as error:
                applier.fail(path, error)
                continue
            if entry is not None and entry.kind is EntryKind.FILE:
                (restless if self._tries[path] >= _MOST_TRIES else whole).append((path, entry))
        applier.send(whole)
        applier.send(restless, may_change=True)
        applier.finish_folders({parent_of(path) for path, _ in whole + restless})

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
