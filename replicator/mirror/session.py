"""One mirror at one destination: whole comparisons, and what events asked for.

Used by one thread. Raises what destinations raise; what concerns single files is told in the outcome.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.errors import PermanentDestinationError, SourceError
from replicator.mirror.apply import Applier
from replicator.mirror.coalesce import Work
from replicator.mirror.compare import Comparison, Findings
from replicator.mirror.counting import Counting
from replicator.mirror.hard_links import HardLinks
from replicator.mirror.name_search import NameSearch
from replicator.mirror.paths import TOP, parent_of, parents_first
from replicator.mirror.remove import Remover
from replicator.mirror.rules import Outcome
from replicator.mirror.scan import LocalTree, UnreadableError
from replicator.mirror.second_tries import SecondTries
from replicator.mirror.sent_files import SentFiles
from replicator.mirror.sorting import SortedDoubts
from replicator.mirror.staging import Staging
from replicator.mirror.visits import visits_of, whole_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from replicator.destination.interface import Destination
    from replicator.mirror.apply import Tentative
    from replicator.mirror.backlog import Backlog
    from replicator.mirror.coalesce import Doubt, Move
    from replicator.mirror.counting import Counts
    from replicator.mirror.deletes import DeleteBudget
    from replicator.mirror.plan import LocalEntry
    from replicator.mirror.remove import Refused
    from replicator.mirror.rules import MirrorRules
    from replicator.mirror.sending import Pace


class MirrorSession:
    """Keeps the mirror equal. `backlog` is told what has to be looked at again."""

    def __init__(
        self,
        rules: MirrorRules,
        destination: Destination,
        backlog: Backlog,
        budget: DeleteBudget,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._destination = destination
        self._backlog = backlog
        self._budget = budget
        self._clock = clock
        self._top = PurePosixPath(rules.name)
        self._staging: Staging | None = None
        self._with_owner = False
        self._device: int | None = None
        self._hard_links = HardLinks()
        self._tentative: dict[str, Tentative] = {}
        self._sent = SentFiles(clock)
        self._second_tries = SecondTries(backlog)
        self._search = NameSearch(self._hard_links, backlog, clock)
        self._moves_done = 0
        self._counting = Counting()
        #: What is gone, and may not be removed until the first comparison is over.
        self._put_off: set[str] = set()
        #: Paths that are not as they are here, with the reason.
        self.failures: dict[str, str] = {}
        #: Why something was not removed since the last comparison began.
        self.refused: Refused | None = None

    def reset(self) -> None:
        """Say that the connection was lost: begin anew, whoever writes there now."""
        self._staging = None

    @property
    def counts(self) -> Counts:
        """What was done since this object was made."""
        return self._counting.counts

    # --- passes --------------------------------------------------------------------------------------

    def compare_all(self, pace: Pace, *, between: Callable[[], None], rest_seconds: float = 0.0) -> Outcome:
        """Compare everything and make it equal; `between` is called between batches.

        Files that change meanwhile are left to the backlog; with `rest_seconds` they are tried again after a rest.
        """
        self._backlog.release(self.failures)
        self._second_tries.begin_anew()
        self.failures, self.refused = {}, None
        # A later move would rely on what is being looked at; an earlier one would come after what followed it.
        moves = self._backlog.begin_comparison()
        try:
            if moves:
                self.apply(moves, pace)
            with self._open(pace) as applier:
                outcome = Outcome(applier.tally)
                comparison = self._comparison(applier, pace, outcome, between)
                findings = comparison.run([whole_tree()])
                self._remove(applier, comparison, findings, outcome, files_there=findings.files)
                self._budget.grow(findings.added)
                self._finish(applier, outcome, rest_seconds)
        finally:
            self._backlog.release([TOP])
            while self._put_off:
                self._backlog.touch(self._put_off.pop(), tree=True, fresh=True)
        return outcome

    def apply(self, work: Work, pace: Pace) -> Outcome:
        """Do what events asked for; a doubt about the top with all below it is not for here."""
        for doubt in work.doubts:
            self.failures.pop(doubt.path, None)
        self._moves_done = 0
        try:
            with self._open(pace) as applier:
                outcome = Outcome(applier.tally)
                comparison = self._comparison(applier, pace, outcome, lambda: None)
                self._move(applier, work.moves)
                self._look(applier, comparison, work.doubts, outcome)
                self._finish(applier, outcome, 0.0)
        except BaseException:
            # What was sent may lie in folders that have not got their times: it is to be looked at again.
            self._sent.clear()
            self._backlog.give_back(Work(work.moves[self._moves_done :], work.doubts))
            done = [path for move in work.moves[: self._moves_done] for path in (move.source, move.target)]
            self._backlog.release(done)
            for path in done:  # their folders may not have got their times
                self._backlog.touch(parent_of(path))
            raise
        unsettled = self.failures.keys() | self._tentative.keys()
        self._backlog.release(doubt.path for doubt in work.doubts if doubt.path not in unsettled)
        self._backlog.release(path for move in work.moves for path in (move.source, move.target))
        return outcome

    def tidy(self, pace: Pace) -> None:
        """Give files their own time whose second is over, and look for names that are not known."""
        with self._open(pace) as applier:
            self._settle(applier)
            for path in applier.tally.failures:
                self._sent.forget(path)
                self._backlog.touch(path, fresh=True)
            if self._search.due_in_seconds == 0:
                self._search.run(applier.local)

    @property
    def settles_in_seconds(self) -> float | None:
        """After how long `tidy` has a time to set; None if there is none."""
        if not self._tentative:
            return None
        return max(0.0, min(item.over_at_seconds for item in self._tentative.values()) - self._clock())

    @property
    def tidies_in_seconds(self) -> float | None:
        """After how long `tidy` has anything to do; None if there is nothing."""
        settles = self.settles_in_seconds
        searches = self._search.due_in_seconds
        return min((seconds for seconds in (settles, searches) if seconds is not None), default=None)

    # --- beginning and end ---------------------------------------------------------------------------

    @contextmanager
    def _open(self, pace: Pace) -> Iterator[Applier]:
        with LocalTree(self._rules.path, self._rules.excludes) as local:
            self._check_source(local)
            staging = self._staging or self._prepare()
            applier = Applier(
                self._destination,
                self._top,
                local,
                staging,
                with_owner=self._with_owner,
                pace=pace,
                tentative=self._tentative,
                sent=self._sent,
                clock=self._clock,
            )
            with self._counting.of(applier.tally):
                yield applier

    def _check_source(self, local: LocalTree) -> None:
        device, _ = local.identity
        if self._device is None:
            self._device = device
        elif device != self._device:
            raise SourceError(
                f"{self._rules.path} lies on another filesystem than before: nothing is mirrored",
                hint="is its filesystem mounted? If it was moved to another one, restart the service",
            )

    def _prepare(self) -> Staging:
        staging = Staging(self._destination, self._rules.name)
        rules = self._rules
        staging.prepare(rules.source, take_over=rules.take_over, take_over_command=rules.take_over_command)
        self._with_owner = staging.may_set_owner()
        self._destination.make_folder(self._top)
        self._staging = staging
        return staging

    def _comparison(
        self, applier: Applier, pace: Pace, outcome: Outcome, between: Callable[[], None]
    ) -> Comparison:
        return Comparison(
            applier,
            self._rules.excludes,
            pace,
            on_special=outcome.special.append,
            on_entry=self._hard_links.note,
            between=between,
        )

    def _finish(self, applier: Applier, outcome: Outcome, rest_seconds: float) -> None:
        self._second_tries.after_changes(applier, rest_seconds)
        self._second_tries.after_rejections(applier)
        applier.close_folders()
        self._settle(applier)
        self.failures.update(outcome.tally.failures)
        self.refused = outcome.refused or self.refused
        self._backlog.occupy(outcome.tally.failures)
        self._backlog.occupy(self._tentative)

    def _settle(self, applier: Applier) -> None:
        over = applier.settle()
        for path in applier.tally.changed:
            self._backlog.touch(path, fresh=True)
        applier.tally.changed.clear()
        self._backlog.release(over)

    # --- events --------------------------------------------------------------------------------------

    def _move(self, applier: Applier, moves: tuple[Move, ...]) -> None:
        """Rename what was renamed here. After the first that cannot be, all others are in doubt too."""
        applier.open_folders(parent_of(path) for move in moves for path in (move.source, move.target))
        for index, move in enumerate(moves):
            if not self._rename(applier, move):
                for failed in moves[index:]:
                    for path in (failed.source, failed.target):
                        self._backlog.touch(path, tree=True, fresh=True)
                self._moves_done = len(moves)
                break
            self._moves_done = index + 1
            self._sent.clear()
        applier.finish_folders({parent_of(path) for move in moves for path in (move.source, move.target)})

    def _rename(self, applier: Applier, move: Move) -> bool:
        source, target = applier.there(move.source), applier.there(move.target)
        try:
            self._destination.rename(source, target)
        except PermanentDestinationError:
            # Its folder may be so new that it is not there yet.
            try:
                self._destination.make_folders([applier.there(path) for path in parents_first(move.target)])
                self._destination.rename(source, target)
            except PermanentDestinationError:
                return False
        return True

    def _look(self, applier: Applier, comparison: Comparison, doubts: tuple[Doubt, ...], outcome: Outcome) -> None:
        found = self._sort(applier, doubts)
        outcome.special.extend(found.special)
        direct = {path for path, _ in found.send}.union(found.links, found.gone)
        applier.open_folders({parent_of(path) for path in direct.union(*found.listed.values())} | found.finish)
        for fresh, paths in found.listed.items():
            self._compare_names(applier, comparison, paths, outcome, fresh=fresh)
        applier.send([(path, entry) for path, entry in found.send if not self._sent.has(path, entry)])
        applier.make_links(found.links)
        self._budget.earn(len(found.born))
        if found.gone and self._rules.delete and self._may_remove(found.gone):
            refused = self._remover(applier).run(dict.fromkeys(found.gone, False))
            outcome.refused = refused or outcome.refused
            for path in found.gone:
                self._sent.forget(path)
        applier.finish_folders(found.finish | {parent_of(path) for path in direct})
        # A folder above may be missing, or another kind of thing in the way.
        rejected = applier.rejected & direct
        for path in rejected:
            del applier.tally.failures[path]
        self._compare_names(applier, comparison, rejected, outcome, fresh=True)

    def _sort(self, applier: Applier, doubts: tuple[Doubt, ...]) -> SortedDoubts:
        """Look at what there is here now."""
        found = SortedDoubts()
        for doubt in doubts:
            self._hard_links.seek(doubt.shared)
        for doubt in doubts:
            path = doubt.path
            try:
                entry = applier.local.look(path)
            except UnreadableError as error:
                applier.fail(path, error)
                continue
            if self._is_excluded(path, entry, doubt):
                continue
            for other in self._hard_links.others(path, entry):
                self._backlog.touch(other, fresh=True)
            if entry is not None and doubt.fresh:
                self._hard_links.found(entry)
            if entry is None or not self._sent.has(path, entry):
                found.add(doubt, entry)
        found.prune()
        return found

    def _is_excluded(self, path: str, entry: LocalEntry | None, doubt: Doubt) -> bool:
        is_folder = doubt.tree if entry is None else entry.kind is EntryKind.FOLDER
        return self._rules.excludes.covers_any(path, is_folder=is_folder)

    def _compare_names(
        self, applier: Applier, comparison: Comparison, paths: set[str], outcome: Outcome, *, fresh: bool
    ) -> None:
        if paths:
            findings = comparison.run(visits_of(paths), fresh=fresh)
            self._remove(applier, comparison, findings, outcome)

    # --- removal -------------------------------------------------------------------------------------

    def _remove(
        self,
        applier: Applier,
        comparison: Comparison,
        findings: Findings,
        outcome: Outcome,
        *,
        files_there: int | None = None,
    ) -> None:
        if self._rules.delete:
            if files_there is None and not self._may_remove(findings.surplus):
                return
            refused = self._remover(applier).run(
                findings.surplus, blocked=findings.blocked, files_there=files_there
            )
            outcome.refused = refused or outcome.refused
            if findings.surplus:
                self._sent.clear()
            if findings.blocked and refused is None:
                findings = comparison.run(visits_of(findings.blocked), fresh=True)
        for path in findings.blocked:
            reason = "is another kind of thing at the destination, which may not be removed"
            applier.tally.failures[path] = reason

    def _may_remove(self, paths: Iterable[str]) -> bool:
        """Say whether it is known how much may go; if not, have these looked at when the comparison is over."""
        if not self._budget.is_known:
            self._put_off.update(paths)
        return self._budget.is_known

    def _remover(self, applier: Applier) -> Remover:
        return Remover(applier, self._rules.excludes, self._budget)
