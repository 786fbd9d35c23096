"""Comparing a tree with the one at the destination, folder by folder, and making it equal.

Many folders are listed at a time; what is found in them is carried out in batches, so that neither tree is ever
held in memory. What is only at the destination is not removed here, but collected for whoever knows how much may
go.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.errors import ReplicatorError
from replicator.mirror.apply import WORKABLE_MODE
from replicator.mirror.paths import join, parent_of, parents_first
from replicator.mirror.plan import FolderPlan, LocalEntry, plan_folder
from replicator.mirror.scan import UnreadableError
from replicator.mirror.visits import Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from replicator.destination.interface import Entry
    from replicator.mirror.apply import Applier
    from replicator.mirror.excludes import Excludes
    from replicator.mirror.sending import Pace
    from replicator.mirror.small_files import Parcel, Shipment

#: A batch is carried out when it has so many items, or files of so many bytes, or from so many folders, which are
#: all open then. Each ends with waiting for the last answers, so it is not to be small. But events wait for its
#: end: if it has more than the least of items, it is to take no longer than a moment.
_LEAST_BATCH_ITEMS: Final = 4_000
_MOST_BATCH_ITEMS: Final = 32_000
_BATCH_SECONDS: Final = 1.0
_BATCH_BYTES: Final = 64 << 20
_BATCH_FOLDERS: Final = 300


class Asked:
    """What a function returns, until that is None; unlike a generator it may have more later."""

    def __init__(self, next_one: Callable[[], str | None]) -> None:
        self._next_one = next_one

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        found = self._next_one()
        if found is None:
            raise StopIteration
        return found


@dataclass(slots=True)
class Findings:
    """What a comparison leaves to others."""

    #: Only at the destination, or of another kind there; the value says whether it is a folder.
    surplus: dict[str, bool] = field(default_factory=dict)
    #: Of these there is something else here, which is to take its place.
    blocked: set[str] = field(default_factory=set)
    #: Files and links that the destination had in the folders that were compared.
    files: int = 0
    #: Those that it did not have.
    added: int = 0


@dataclass(slots=True)
class _Batch:
    """What is to be done with the folders that were compared since the last batch."""

    #: A set in the order of its making.
    make: dict[str, None] = field(default_factory=dict)
    #: Folders that are missing or empty there, with all that is in them.
    whole: list[Parcel] = field(default_factory=list)
    send: list[tuple[str, LocalEntry]] = field(default_factory=list)
    adjust: list[tuple[str, LocalEntry]] = field(default_factory=list)
    link: list[str] = field(default_factory=list)
    compare_link: list[str] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)
    send_files: int = 0
    send_bytes: int = 0
    #: Folders whose entries are in `send` or the links.
    sources: int = 0

    @property
    def is_whole_folders(self) -> bool:
        """Whether it has nothing but whole folders, and what is to be done before and after them."""
        return not (self.send or self.adjust or self.link or self.compare_link)

    @property
    def items(self) -> int:
        """How many things are to be done."""
        others = len(self.make) + len(self.adjust) + len(self.link) + len(self.compare_link) + len(self.finish)
        return self.send_files + others


class Comparison:
    """Makes trees equal, as far as nothing has to be removed for that."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self,
        applier: Applier,
        excludes: Excludes,
        pace: Pace,
        *,
        on_special: Callable[[str], None],
        on_entry: Callable[[str, LocalEntry], None],
        between: Callable[[], None],
    ) -> None:
        """`on_special` is told sockets and the like, `on_entry` files with several names.

        `between` is called between batches.
        """
        self._applier = applier
        self._local = applier.local
        self._excludes = excludes
        self._pace = pace
        self._on_special = on_special
        self._on_entry = on_entry
        self._between = between
        self._waiting: list[Visit] = []
        self._visits: dict[str, Visit] = {}
        self._closed: list[Visit] = []
        self._batch = _Batch()
        #: Of the batch before, its whole folders, while the next one is put together; and since when.
        self._under_way: tuple[Shipment, _Batch, float] | None = None
        #: How many items make a batch.
        self._batch_items = _LEAST_BATCH_ITEMS

    def run(self, start: Iterable[Visit], *, fresh: bool = False) -> Findings:
        """Compare these folders, and all below them."""
        findings = Findings()
        self._waiting = list(start)
        try:
            while self._waiting or self._closed:
                self._take_new(findings, fresh=fresh)
                self._finish_batch()
                self._open_closed()
                for folder, entries in self._applier.destination.list_folders(Asked(self._next_folder)):
                    self._visit(self._visits.pop(folder), entries, findings, fresh=fresh)
                self._carry_out()
            self._finish_batch()
        finally:
            if self._under_way is not None:  # something else failed
                with suppress(ReplicatorError):
                    self._under_way[0].wait()
        return findings

    def _next_folder(self) -> str | None:
        """Return the next folder to be listed; None if there is enough to do for now."""
        while self._waiting and not self._waiting[-1].is_new and not self._is_large():
            visit = self._waiting.pop()
            if visit.mode_there & WORKABLE_MODE != WORKABLE_MODE:
                self._closed.append(visit)
                continue
            there = self._applier.text_there(visit.path)
            self._visits[there] = visit
            return there
        return None

    def _open_closed(self) -> None:
        """Make it possible to work in folders that do not allow it."""
        closed, self._closed = self._closed, []
        looked = [(visit, self._local.look(visit.path)) for visit in closed]
        self._applier.open_folders_as([(visit.path, entry) for visit, entry in looked if entry])
        self._waiting.extend(visit._replace(mode_there=WORKABLE_MODE, differs=True) for visit in closed)

    def _take_new(self, findings: Findings, *, fresh: bool) -> None:
        """Visit folders of which it is known that they are empty there."""
        while self._waiting and self._waiting[-1].is_new:
            self._visit(self._waiting.pop(), [], findings, fresh=fresh)
            if self._is_large() or self._local.must_hand_over:
                self._carry_out()

    def _visit(self, visit: Visit, entries: list[Entry] | None, findings: Findings, *, fresh: bool) -> None:
        names, with_owner = visit.names, self._applier.with_owner
        there = {entry[0]: entry for entry in entries or () if names is None or entry[0] in names}
        files_there = len(there)
        try:
            if names is None:
                # Files that are equal are taken out of it, where that says anything.
                local = self._local.scan(visit.path, None if fresh else there, with_owner=with_owner)
            else:
                local = self._look_at(visit)
        except UnreadableError as error:
            self._applier.fail(visit.path, error)
            return
        if local is None:
            return
        if visit.is_new and self._takes_whole(visit, local):
            findings.added += len(local)
            return
        if entries is None:  # gone meanwhile, or never there
            if not local and names is not None:
                return
            chain = [*parents_first(visit.path), visit.path]
            self._batch.make.update(dict.fromkeys(chain))
            self._batch.finish.extend(chain)
        findings.files += files_there
        # Of most folders nothing is left by now.
        changes_folder = bool(local or there) and self._plan(visit, local, there, findings, fresh=fresh)
        # Where one name was told of, more may have come and gone.
        if visit.is_new or visit.differs or names is not None or changes_folder:
            self._batch.finish.append(visit.path)
        if self._local.is_full and not self._batch.send_files:
            self._local.forget()

    def _plan(
        self,
        visit: Visit,
        local: dict[str, LocalEntry],
        there: dict[str, Entry],
        findings: Findings,
        *,
        fresh: bool,
    ) -> bool:
        """Take what is not equal into the batch; say whether that may change the folder's own time."""
        plan = plan_folder(
            local,
            there,
            fresh=fresh,
            with_owner=self._applier.with_owner,
            is_excluded=self._is_excluded(visit.path) if self._excludes else None,
        )
        findings.files -= len(plan.enter)
        if not plan.is_done:
            self._find(visit, plan, there, findings)
            self._note(visit, plan, local)
        self._enter(visit, plan, local)
        return plan.changes_folder

    def _find(self, visit: Visit, plan: FolderPlan, there: dict[str, Entry], findings: Findings) -> None:
        """Tell what is left to others."""
        findings.files -= sum(plan.surplus.values()) + sum(plan.blocked.values())
        if plan.send or plan.link:
            findings.added += sum(name not in there for name in (*plan.send, *plan.link))
        for names in (plan.surplus, plan.blocked):
            findings.surplus.update((join(visit.path, name), is_folder) for name, is_folder in names.items())
        findings.blocked.update(join(visit.path, name) for name in plan.blocked)

    def _enter(self, visit: Visit, plan: FolderPlan, local: dict[str, LocalEntry]) -> None:
        """Let the folders in it be visited."""
        with_owner = self._applier.with_owner
        for name, entry in plan.enter.items():
            differs = local[name].differs(entry, with_owner=with_owner)
            self._waiting.append(Visit(join(visit.path, name), differs=differs, mode_there=entry.mode))

    def _takes_whole(self, visit: Visit, local: dict[str, LocalEntry]) -> bool:
        """Put a new folder into the batch as one piece, if that can be done."""
        path, batch = visit.path, self._batch
        try:
            own = self._local.look(path)  # after its names: it has the time of the last of them then
        except UnreadableError:
            return False
        if own is None or own.kind is not EntryKind.FOLDER:
            return False
        # Only what can be worked in can be put in its place.
        may_work = own.mode & WORKABLE_MODE == WORKABLE_MODE
        if (parcel := self._applier.new_folder(path, local, own if may_work else None)) is None:
            return False
        batch.make.pop(path, None)
        batch.whole.append(parcel)
        batch.finish.append(parent_of(path))  # again, if it was finished with a batch before
        if not may_work:
            batch.finish.append(path)
        batch.send_files += len(local)
        batch.send_bytes += parcel.size_bytes
        return True

    def _note(self, visit: Visit, plan: FolderPlan, local: dict[str, LocalEntry]) -> None:
        """Put what is to be done into the batch."""
        path, batch = visit.path, self._batch
        batch.send.extend((join(path, name), local[name]) for name in plan.send)
        batch.send_files += len(plan.send)
        batch.send_bytes += sum(local[name].size_bytes for name in plan.send)
        batch.adjust.extend((join(path, name), local[name]) for name in plan.adjust)
        batch.link.extend(join(path, name) for name in plan.link)
        batch.compare_link.extend(join(path, name) for name in plan.compare_link)
        batch.sources += bool(plan.send or plan.link or plan.compare_link)
        batch.make.update((join(path, name), None) for name in plan.make)
        self._waiting.extend(Visit(join(path, name), is_new=True) for name in plan.make)
        for name in plan.special:
            self._on_special(join(path, name))
        for name in plan.linked:
            self._on_entry(join(path, name), local[name])

    def _look_at(self, visit: Visit) -> dict[str, LocalEntry]:
        """Return those of the names that are here."""
        found = ((name, self._local.look(join(visit.path, name))) for name in visit.names or ())
        return {
            name: entry
            for name, entry in found
            if entry is not None
            and not self._excludes.covers_any(join(visit.path, name), is_folder=entry.kind is EntryKind.FOLDER)
        }

    def _is_excluded(self, folder: str) -> Callable[[str, bool], bool]:
        return lambda name, is_folder: self._excludes.covers(join(folder, name), is_folder=is_folder)

    def _carry_out(self) -> None:
        """Carry out the batch; whole folders may be under way when it returns."""
        self._finish_batch()
        batch, self._batch = self._batch, _Batch()
        if not self._pace.may_begin():
            self._pace.wait()
        self._applier.make_folders(list(batch.make))
        self._under_way = self._applier.begin(batch.whole), batch, time.monotonic()
        if not batch.is_whole_folders:
            self._finish_batch()

    def _finish_batch(self) -> None:
        """Do what comes after whole folders, if any are under way."""
        if self._under_way is None:
            return
        shipment, batch, begun_at = self._under_way
        self._under_way = None
        applier = self._applier
        left = shipment.wait()
        folders_left = dict.fromkeys(parent_of(path) for path, _ in left)
        applier.make_folders(list(folders_left))
        applier.send([*left, *batch.send])
        applier.make_links(batch.link)
        applier.compare_links(batch.compare_link)
        applier.adjust(batch.adjust)
        applier.finish_folders([*batch.finish, *folders_left])
        in_a_moment = _BATCH_SECONDS * batch.items / (time.monotonic() - begun_at)
        self._batch_items = min(max(_LEAST_BATCH_ITEMS, int(in_a_moment)), _MOST_BATCH_ITEMS)
        self._between()

    def _is_large(self) -> bool:
        batch = self._batch
        if not (
            batch.send_files or batch.finish or batch.make or batch.adjust or batch.link or batch.compare_link
        ):
            return False  # so it is all the time where both trees are equal
        return (
            batch.items >= self._batch_items or batch.send_bytes >= _BATCH_BYTES or batch.sources >= _BATCH_FOLDERS
        )
