"""Looking through a tree for the names of files that have several."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.mirror.paths import TOP, join
from replicator.mirror.scan import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.mirror.hard_links import HardLinks
    from replicator.mirror.scan import LocalTree


def find_names(local: LocalTree, links: HardLinks) -> Iterator[str]:
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
                    links.note(path, entry)
                    yield path
        if local.is_full:
            local.forget()
    links.searched(wanted)
