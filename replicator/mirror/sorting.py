"""Doubts, by what is to be done about them. Pure: what is here now was looked up before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.mirror.paths import TOP, folders_above, parent_of

if TYPE_CHECKING:
    from replicator.mirror.coalesce import Doubt
    from replicator.mirror.plan import LocalEntry


@dataclass(slots=True)
class SortedDoubts:
    """Doubts by what is to be done about them."""

    send: list[tuple[str, LocalEntry]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    #: Folders that need attributes only.
    finish: set[str] = field(default_factory=set)
    #: To be compared with what lies there; by whether size and time say nothing.
    listed: dict[bool, set[str]] = field(default_factory=lambda: {False: set(), True: set()})
    special: list[str] = field(default_factory=list)
    #: Those of all these that were made since they were looked at last.
    born: list[str] = field(default_factory=list)

    def add(self, doubt: Doubt, entry: LocalEntry | None) -> None:
        """Place one path, which is `entry` here."""
        path = doubt.path
        if doubt.born and entry is not None:
            self.born.append(path)
        if doubt.tree and path != TOP:
            self.listed[doubt.fresh].add(path)
        elif entry is None:
            if doubt.born:  # it came and went, and was never there
                self.finish.add(parent_of(path))
            else:
                self.gone.add(path)
        elif entry.kind is EntryKind.FOLDER:
            self.finish.add(path)
        elif entry.kind is EntryKind.SYMLINK:
            self.links.append(path)
        elif entry.kind is EntryKind.OTHER:
            self.special.append(path)
        elif doubt.fresh:
            self.send.append((path, entry))
        else:
            self.listed[False].add(path)

    def prune(self) -> None:
        """Leave out what is looked at anyway, with a folder above it."""
        fresh, others = self.listed[True], self.listed[False]
        self.listed[True] = {path for path in fresh if fresh.isdisjoint(folders_above(path))}
        self.listed[False] = {path for path in others if (fresh | others).isdisjoint(folders_above(path))}
