"""Files with several names: an event names the one that was used, but all of them changed. Pure.

Of a file that gets a second name, nobody tells the first one: somebody has to go and look for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.mirror.plan import LocalEntry

_State = tuple[int, int, int, int, int]


class HardLinks:
    """Knows the names of files with more than one, as far as they were noted. A name may be out of date."""

    def __init__(self) -> None:
        self._names: dict[int, set[str]] = {}
        self._inodes: dict[str, int] = {}
        self._states: dict[int, _State] = {}
        #: Files with names that are not known, and how many names lie outside of the tree.
        self._incomplete: dict[int, int] = {}
        self._outside: dict[int, int] = {}

    def note(self, path: str, entry: LocalEntry) -> None:
        """Note a name of a file that has more than one."""
        known = self._inodes.get(path)
        if known != entry.inode:
            if known is not None:
                self._names[known].discard(path)
            self._inodes[path] = entry.inode
            self._names.setdefault(entry.inode, set()).add(path)
        self._states.setdefault(entry.inode, _state_of(entry))
        unknown = entry.links - len(self._names[entry.inode])
        if unknown > self._outside.get(entry.inode, 0):
            self._incomplete[entry.inode] = unknown
        else:
            self._incomplete.pop(entry.inode, None)

    @property
    def incomplete(self) -> frozenset[int]:
        """Inodes of files of which not all names are known."""
        return frozenset(self._incomplete)

    def seek(self, inodes: Iterable[int]) -> None:
        """Say that these may have changed under a name that was there for a moment."""
        for inode in inodes:
            self._incomplete.setdefault(inode, 1)

    def found(self, entry: LocalEntry) -> None:
        """Say that a file is looked at now, under the name that is given."""
        if entry.links == 1:
            self._incomplete.pop(entry.inode, None)

    def searched(self, inodes: Iterable[int]) -> None:
        """Say that the whole tree was searched for names of these: the others lie outside."""
        for inode in inodes:
            unknown = self._incomplete.pop(inode, 0)
            if unknown and inode in self._names:
                self._outside[inode] = unknown

    def others(self, path: str, entry: LocalEntry | None) -> Iterable[str]:
        """Return the other names of what is, or was, `path`, if they may have changed with it.

        Asking for the same state again returns nothing: each name is looked at once.
        """
        inodes = set()
        known = self._inodes.get(path)
        if known is not None and (entry is None or entry.inode != known):
            # It may have been changed before it lost this name.
            inodes.add(known)
            del self._inodes[path]
            self._names[known].discard(path)
            if len(self._names[known]) == 0:
                del self._names[known]
                for known_of in (self._states, self._incomplete, self._outside):
                    known_of.pop(known, None)
        if entry is not None and (entry.links > 1 or known == entry.inode):
            state = _state_of(entry)
            if self._states.get(entry.inode) not in {None, state}:
                inodes.add(entry.inode)
            self.note(path, entry)
            self._states[entry.inode] = state
        return {name for inode in inodes for name in self._names.get(inode, ()) if name != path}


def _state_of(entry: LocalEntry) -> _State:
    return entry.size_bytes, entry.modified_ns, entry.mode, entry.user_id, entry.group_id
