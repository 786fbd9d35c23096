"""One mirror at one destination: a thread with a connection of its own.

It compares everything at the start, at each rescan and whenever something is in doubt, and does in between what
events ask for. However slow or dead the destination is, it holds up nobody else: what is to be done is kept as
paths.
"""

from __future__ import annotations

import math
import time
from enum import Enum
from typing import TYPE_CHECKING, Final

import structlog

from replicator.errors import (
    DestinationError,
    InterruptedTransferError,
    PermanentDestinationError,
    ReplicatorError,
    TransientDestinationError,
)
from replicator.liveness import beat
from replicator.mirror.coalesce import MOST_PATHS, Work
from replicator.mirror.paths import TOP
from replicator.service.precedence import BulkPace, SteadyPace
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from replicator.destination.interface import Destination
    from replicator.mirror.backlog import Backlog
    from replicator.mirror.deletes import DeleteBudget
    from replicator.mirror.remove import Refused
    from replicator.mirror.rules import Outcome
    from replicator.mirror.session import MirrorSession
    from replicator.service.mirror_board import MirrorBoard
    from replicator.service.precedence import Precedence

_log = structlog.get_logger()

_MOST_DOUBTS: Final = 256
_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
_REST_SECONDS: Final = 0.2
_MOST_TRIES: Final = 6
_MOST_NAMED: Final = 5
_MOST_SPECIAL: Final = 10_000


class PassResult(Enum):
    """What a single pass came to."""

    DONE = "done"
    #: Some files failed, or deletes were refused.
    PARTLY = "partly"
    FAILED = "failed"


class MirrorWorker:
    """Keeps one mirror equal at one destination. `ready` is set once changes are noticed."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        name: str,
        destination_name: str,
        destination: Destination,
        session: MirrorSession,
        *,
        backlog: Backlog,
        budget: DeleteBudget,
        board: MirrorBoard,
        precedence: Precedence,
        rescan_seconds: float,
        ready: threading.Event,
        stop: threading.Event,
    ) -> None:
        self.name = name
        self.destination_name = destination_name
        self.thread_name = f"mirror {name} to {destination_name}"
        self.is_watched = True
        self._names = {"mirror": name, "destination": destination_name}
        self._destination = destination
        self._session = session
        self._backlog = backlog
        self._budget = budget
        self._board = board
        self._bulk = BulkPace(precedence, stop, self._work_meanwhile)
        self._steady = SteadyPace(precedence, stop)
        self._rescan_seconds = rescan_seconds
        self._ready = ready
        self._stop = stop
        self._compare_at = 0.0
        self._is_comparing = False
        #: What was done while a comparison goes on, which may have plans that are older. A set in order.
        self._done_meanwhile: dict[tuple[str, bool, bool], None] = {}
        #: How many paths were taken out of the backlog and are not done.
        self._under_way = 0
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._is_failing = False
        #: What was told last of what is wrong with single files.
        self._problem = ""
        self._special: set[str] = set()
        board.follow_backlog(name, destination_name, lambda: len(backlog) + self._under_way)

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop; from any thread."""
        self._backlog.wake()

    def run(self) -> None:
        """Work until stopped. What fails is logged once, and tried again until it works."""
        try:
            while not self._ready.wait(1.0) and not self._stop.is_set():
                beat()
            while not self._stop.is_set():
                try:
                    self._turn()
                except InterruptedTransferError:
                    _log.info("mirror.interrupted", **self._names)
                except ReplicatorError as error:
                    self._note_failure(error)
                    beat(self._wait_seconds)
                    self._stop.wait(self._wait_seconds)
                    self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
        finally:
            self._destination.close()

    def run_once(self) -> PassResult:
        """Make everything equal once."""
        try:
            for left in reversed(range(_MOST_TRIES)):
                try:
                    self._compare(rest_seconds=_REST_SECONDS)
                    while self._do_events(early=True):
                        pass
                    while (wait_seconds := self._session.settles_in_seconds) is not None:
                        time.sleep(wait_seconds)
                        self._session.tidy(self._steady)
                except TransientDestinationError as error:
                    if not left:
                        raise
                    self._note_failure(error)
                    if self._stop.wait(self._wait_seconds):
                        return PassResult.FAILED
                    self._wait_seconds *= 2
                else:
                    partly = self._session.failures or self._session.refused
                    return PassResult.PARTLY if partly else PassResult.DONE
        except InterruptedTransferError:
            pass
        except ReplicatorError as error:
            self._is_failing = False
            self._note_failure(error, is_last=True)
        finally:
            self._destination.close()
        return PassResult.FAILED

    # --- turns ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Do the next thing, or wait for it."""
        beat()
        now = time.monotonic()
        if now >= self._compare_at:
            self._compare()
        elif self._do_events():
            return
        elif self._session.tidies_in_seconds == 0:
            self._session.tidy(self._steady)
        else:
            times = [self._compare_at - now]
            if (tidies := self._session.tidies_in_seconds) is not None:
                times.append(tidies)
            wait_seconds = max(0.0, min(times))
            beat(wait_seconds)
            self._backlog.wait(wait_seconds)

    def _between(self) -> None:
        """While a comparison goes on, small changes do not wait for its end."""
        self._note_counts()
        self._do_events_meanwhile()

    def _work_meanwhile(self, seconds: float) -> None:
        """Nor do they while it waits for a publish."""
        self._backlog.wait(seconds)
        self._do_events_meanwhile()

    def _do_events_meanwhile(self) -> None:
        """Do what is due; it is looked at again after the comparison, which goes on with what it saw before."""
        while work := self._do_events():
            self._done_meanwhile.update(((doubt.path, doubt.tree, doubt.fresh), None) for doubt in work.doubts)
            if len(self._done_meanwhile) > MOST_PATHS:
                self._done_meanwhile = {(TOP, True, True): None}

    def _look_again(self) -> None:
        done, self._done_meanwhile = self._done_meanwhile, {}
        for path, tree, fresh in done:
            self._backlog.touch(path, tree=tree, fresh=fresh)

    def _do_events(self, *, early: bool = False) -> Work:
        """Do what is due, or with `early` what will be, and return it."""
        work = self._backlog.take(most=_MOST_DOUBTS, early=early)
        if any(doubt.path == TOP and doubt.tree for doubt in work.doubts):
            self._compare_at = 0.0
            if not self._is_comparing:  # else it is occupied until that ends
                self._backlog.release([TOP])
            work = Work(work.moves, tuple(doubt for doubt in work.doubts if doubt.path != TOP))
        if not work:
            return work
        self._under_way = len(work.moves) + len(work.doubts)
        try:
            outcome = self._session.apply(work, self._steady)
        finally:
            self._under_way = 0
        self._note(outcome)
        if work.doubts:
            delay_seconds = time.monotonic() - min(doubt.since_seconds for doubt in work.doubts)
            self._board.delayed(**self._names, delay_seconds=delay_seconds)
        return work

    def _compare(self, *, rest_seconds: float = 0.0) -> None:
        begun = time.monotonic()
        # Whoever asks for a comparison from now on means another one.
        self._compare_at, self._is_comparing = math.inf, True
        try:
            outcome = self._session.compare_all(self._bulk, between=self._between, rest_seconds=rest_seconds)
        except BaseException:
            self._compare_at = 0.0
            raise
        finally:
            self._is_comparing = False
            self._look_again()
        self._compare_at = min(self._compare_at, time.monotonic() + self._rescan_seconds)
        self._note(outcome)
        self._budget.end_exception()
        self._board.compared(**self._names)
        _log.info(
            "mirror.compared",
            **self._names,
            files=outcome.tally.files,
            sent=format_size(outcome.tally.sent_bytes),
            deletes=outcome.tally.deletes,
            took=format_duration(time.monotonic() - begun),
        )

    # --- telling -------------------------------------------------------------------------------------

    def _note(self, outcome: Outcome) -> None:
        """Tell what a pass came to; that it went through means that the destination works."""
        failures, refused = self._session.failures, self._session.refused
        self._note_counts()
        self._board.incomplete(
            **self._names, failed_files=len(failures), refused_deletes=refused.files if refused else 0
        )
        self._wait_seconds = _FIRST_WAIT_SECONDS
        if self._is_failing:
            self._is_failing = False
            _log.info("mirror.resumed", **self._names)
        for path in outcome.special:
            self._note_special(path)
        problem = _problem_of(failures, refused)
        if str(problem) == self._problem:
            return
        self._problem = str(problem)
        if problem is None:
            self._board.recovered(**self._names)
            return
        self._board.failed(self.name, self.destination_name, error=problem, kind="file", next_try_at_seconds=None)
        _log.error(
            "mirror.incomplete",
            **self._names,
            error=problem,
            failed_files=len(failures),
            first=[f"{path}: {reason}" for path, reason in list(failures.items())[:_MOST_NAMED]],
        )

    def _note_counts(self) -> None:
        self._board.counted(**self._names, counts=self._session.counts)

    def _note_special(self, path: str) -> None:
        if path not in self._special and len(self._special) < _MOST_SPECIAL:
            self._special.add(path)
            _log.warning("mirror.left_out", **self._names, path=path, reason="neither file, folder nor link")

    def _note_failure(self, error: ReplicatorError, *, is_last: bool = False) -> None:
        """Tell what broke off; it is tried again unless `is_last`."""
        self._session.reset()
        self._note_counts()
        self._problem = ""
        kind = error.kind if isinstance(error, DestinationError) else "source"
        if isinstance(error, PermanentDestinationError):
            self._wait_seconds = _LONGEST_WAIT_SECONDS
        self._board.failed(
            self.name,
            self.destination_name,
            error=error,
            kind=kind,
            next_try_at_seconds=None if is_last else time.time() + self._wait_seconds,
            will_heal=not is_last
            and isinstance(error, TransientDestinationError)
            and self._wait_seconds < _LONGEST_WAIT_SECONDS,
        )
        if not self._is_failing:
            self._is_failing = True
            log = _log.warning if isinstance(error, TransientDestinationError) else _log.error
            more = {} if is_last else {"next_try_in": format_duration(self._wait_seconds)}
            log("mirror.failed", **self._names, error=error, **more)


def _problem_of(failures: Mapping[str, str], refused: Refused | None) -> ReplicatorError | None:
    """Return what is wrong although the destination works."""
    if refused and refused.empty:
        return ReplicatorError(
            "the source is empty: nothing is removed",
            hint="is its filesystem mounted? If it is meant to be empty, empty the mirror there by hand",
        )
    if refused:
        return ReplicatorError(
            f"{refused.files} deletes refused: max_delete allows {refused.most} in one pass",
            hint="if they are right: stop the service, run once with --allow-deletes, and start it again",
        )
    if failures:
        path, reason = next(iter(failures.items()))
        return ReplicatorError(f"{len(failures)} files could not be mirrored, first of them {path}: {reason}")
    return None
