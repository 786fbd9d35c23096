"""Looking through a tree for the names of files that have several."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.mirror.paths import TOP, join
from replicator.mirror.scan import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.mirror.backlog import Backlog
    from replicator.mirror.hard_links import HardLinks
    from replicator.mirror.scan import LocalTree

_REST_SECONDS: Final = 2.0


class NameSearch:
    """Looks for the names that `links` does not know, and has them looked at."""

    def __init__(self, links: HardLinks, backlog: Backlog, clock: Callable[[], float]) -> None:
        self._links = links
        self._backlog = backlog
        self._clock = clock
        self._next_at_seconds = 0.0

    @property
    def due_in_seconds(self) -> float | None:
        """After how long there is something to look for; None if there is nothing."""
        if not self._links.incomplete:
            return None
        return max(0.0, self._next_at_seconds - self._clock())

    def run(self, local: LocalTree) -> None:
        """Look through the whole tree."""
        begun = self._clock()
        for path in _find_names(local, self._links):
            self._backlog.touch(path, fresh=True)
        # However large the tree, most of the time is not spent searching.
        self._next_at_seconds = self._clock() + max(_REST_SECONDS, 20 * (self._clock() - begun))


def _find_names(local: LocalTree, links: HardLinks) -> Iterator[str]:
    """Yield, and note, all names of the files of which `links` does not know all."""
    wanted = links.incomplete
    waiting = [TOP]
    while waiting:
        folder = waiting.pop()
        with suppress(UnreadableError):
            for name, entry in (local.scan(folder) or {}).items():
                path = join(folder, name)
                if entry.kind is EntryKind.FOLDER:
                    waiting.append(path)
                elif entry.inode in wanted and entry.kind is EntryKind.FILE:
                    if entry.links > 1:
                        links.note(path, entry)
                    yield path
        if local.is_full:
            local.forget()
    links.searched(wanted)
