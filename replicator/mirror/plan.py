"""What makes a folder at the destination equal to the one here: two listings in, names out. Pure.

Compared are type, size, modification time in whole seconds, permission bits, and the owner where it can be set.
Whether two symbolic links have the same text is left to whoever can read both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.destination.interface import EntryKind, FileAttributes, Owner, storable_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.destination.interface import Entry

_NANOSECONDS: Final = 1_000_000_000


class LocalEntry(NamedTuple):
    """One name here, links not followed. A tuple, for there are many."""

    kind: EntryKind
    size_bytes: int
    modified_ns: int
    changed_ns: int
    mode: int
    user_id: int
    group_id: int
    inode: int
    links: int

    @property
    def modified_seconds(self) -> int:
        """The modification time as a destination holds it."""
        return storable_seconds(self.modified_ns // _NANOSECONDS)

    def attributes(self, *, with_owner: bool) -> FileAttributes:
        """Return what the destination is to hold besides the content."""
        owner = Owner(self.user_id, self.group_id) if with_owner else None
        return FileAttributes(self.mode, self.modified_seconds, owner)

    def differs(self, remote: Entry, *, with_owner: bool) -> bool:
        """Say whether the attributes at the destination are others."""
        if self.mode != remote.mode or self.modified_seconds != remote.modified_seconds:
            return True
        return with_owner and remote.owner is not None and remote.owner != Owner(self.user_id, self.group_id)


@dataclass(slots=True)
class FolderPlan:
    """Names in one folder, by what is to be done with them."""

    #: Files whose content is to be sent.
    send: list[str] = field(default_factory=list)
    #: Files that lack only attributes.
    adjust: list[str] = field(default_factory=list)
    #: Symbolic links to be made, and those that are links on both sides.
    link: list[str] = field(default_factory=list)
    compare_link: list[str] = field(default_factory=list)
    #: Folders that are missing at the destination.
    make: list[str] = field(default_factory=list)
    #: Folders on both sides; the value is what the destination lists.
    enter: dict[str, Entry] = field(default_factory=dict)
    #: At the destination only; the value says whether it is a folder.
    surplus: dict[str, bool] = field(default_factory=dict)
    #: Of another kind there, and no rename can replace it; the value says whether it is a folder there.
    blocked: dict[str, bool] = field(default_factory=dict)
    #: Sockets, pipes and devices here.
    special: list[str] = field(default_factory=list)
    #: Files here with several names; they are in other lists too.
    linked: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done or told, but with the folders in it."""
        return not (
            self.send
            or self.adjust
            or self.link
            or self.compare_link
            or self.make
            or self.surplus
            or self.blocked
            or self.special
            or self.linked
        )

    @property
    def changes_folder(self) -> bool:
        """Whether carrying it out may change the modification time of the folder."""
        return bool(self.send or self.link or self.compare_link or self.make or self.surplus or self.blocked)


def plan_folder(
    local: Mapping[str, LocalEntry],
    remote: Mapping[str, Entry],
    *,
    fresh: bool,
    with_owner: bool,
    is_excluded: Callable[[str, bool], bool] | None,
) -> FolderPlan:
    """Compare two listings of one folder. `local` has no excluded names; `is_excluded` is asked for remote ones.

    With `fresh`, files of equal size and time are sent all the same.
    """
    plan = FolderPlan()
    missing = dict(local)
    for name, entry in remote.items():
        ours = missing.pop(name, None)
        if ours is None or ours.kind is not EntryKind.FILE or entry.kind is not EntryKind.FILE:
            _add_other(plan, ours, entry, is_excluded=is_excluded)
            continue
        if ours.links > 1:
            plan.linked.append(name)
        if fresh or ours.size_bytes != entry.size_bytes or ours.modified_seconds != entry.modified_seconds:
            plan.send.append(name)
        elif ours.differs(entry, with_owner=with_owner):
            plan.adjust.append(name)
    for name, ours in missing.items():
        _add_missing(plan, name, ours)
    return plan


def _add_other(
    plan: FolderPlan,
    ours: LocalEntry | None,
    entry: Entry,
    *,
    is_excluded: Callable[[str, bool], bool] | None,
) -> None:
    """Place a name at the destination that is no file on both sides."""
    name, is_folder = entry.name, entry.kind is EntryKind.FOLDER
    if ours is None or ours.kind is EntryKind.OTHER:
        if is_excluded is None or not is_excluded(name, is_folder):
            plan.surplus[name] = is_folder
        if ours is not None:
            plan.special.append(name)
    elif ours.kind is EntryKind.FOLDER and is_folder:
        plan.enter[name] = entry
    elif ours.kind is EntryKind.FOLDER or is_folder:
        plan.blocked[name] = is_folder
        _note_links(plan, name, ours)
    elif ours.kind is EntryKind.SYMLINK and entry.kind is EntryKind.SYMLINK:
        plan.compare_link.append(name)
    else:
        _add_missing(plan, name, ours)


def _add_missing(plan: FolderPlan, name: str, ours: LocalEntry) -> None:
    """Place what is only here, or can take the place of what is there."""
    if ours.kind is EntryKind.FILE:
        plan.send.append(name)
        _note_links(plan, name, ours)
    elif ours.kind is EntryKind.OTHER:
        plan.special.append(name)
    else:
        (plan.link if ours.kind is EntryKind.SYMLINK else plan.make).append(name)


def _note_links(plan: FolderPlan, name: str, ours: LocalEntry) -> None:
    if ours.links > 1 and ours.kind is EntryKind.FILE:
        plan.linked.append(name)
