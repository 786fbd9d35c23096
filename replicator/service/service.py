"""The whole service: a thread for each database, a thread for each destination, and their orderly end.

What runs is put together in `bootstrap`; how the process is told to stop is the command line's affair.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from replicator.errors import InterruptedTransferError, ReplicatorError
from replicator.liveness import Vitals
from replicator.service.mirror_worker import PassResult
from replicator.service.mirrors import Mirrors
from replicator.service.systemd import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from replicator.config.model import Config
    from replicator.service.database_loop import DatabaseLoop
    from replicator.service.destination_worker import DestinationWorker

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PassSummary:
    """What one pass over all databases, mirrors and destinations came to: tasks done, in part, not at all."""

    done: int
    failed: int
    partly: int = 0


class Part(Protocol):
    """What works on a thread of its own."""

    @property
    def thread_name(self) -> str:
        """The name of that thread."""

    @property
    def is_watched(self) -> bool:
        """Whether it gives signs of life (`replicator.liveness`), without which the service counts as hung."""

    def run(self) -> None:
        """Work until stopped."""

    def wake(self) -> None:
        """Make `run` notice at once that it is to stop; from any thread."""


class Service:
    """Databases and destinations at work. `stop` is shared with all parts: setting it ends everything.

    `roots` take the checkpoint roots before anything else, and let go of them at the end.
    `steady` are the parts that have no place in a single pass. `guards` are at work as long as there is any work.
    `companions` are entered before the work of `run` begins, and left when all of it has ended. `manager` is told
    of both.
    """

    def __init__(  # noqa: PLR0913 - what there is to run
        self,
        roots: Sequence[Callable[[], AbstractContextManager[None]]],
        loops: Sequence[DatabaseLoop],
        workers: Sequence[DestinationWorker],
        *,
        stop: threading.Event,
        steady: Sequence[Part] = (),
        guards: Sequence[Part] = (),
        companions: Sequence[AbstractContextManager[object]] = (),
        vitals: Vitals | None = None,
        reconfigure: Callable[[Config], None] = lambda _config: None,
        manager: ServiceManager | None = None,
        mirrors: Mirrors | None = None,
    ) -> None:
        self._roots = roots
        self._loops = loops
        self._workers = workers
        self._steady = steady
        self._guards = guards
        self._mirrors = mirrors or Mirrors()
        self._stop = stop
        self._companions = companions
        self._vitals = vitals or Vitals()
        #: Makes all parts go by another configuration, as far as that can change; from any thread.
        self.reconfigure = reconfigure
        self._manager = manager or ServiceManager()
        self._failed = threading.Event()

    def run(self) -> None:
        """Work until `stop` is set.

        Raises `LockedError` and `CheckpointError` if a checkpoint root cannot be had, and `ReplicatorError` if a
        companion cannot be entered or a thread could not go on.
        """
        with ExitStack() as stack:
            self._take_roots(stack)
            for companion in self._companions:
                stack.enter_context(companion)
            stack.enter_context(self._guarded())
            mirrors = self._mirrors
            parts: tuple[Part, ...] = (
                *self._loops,
                *self._workers,
                *self._steady,
                *mirrors.watches,
                *mirrors.workers,
            )
            threads = [self._thread(part) for part in parts]
            _log.info(
                "service.started",
                databases=len(self._loops),
                mirrors=len(mirrors.watches),
                destinations=len(self._workers),
            )
            for thread in threads:
                thread.start()
            self._manager.ready()
            self._stop.wait()
            self._manager.stopping()
            for part in parts:
                part.wake()
            for thread in threads:
                thread.join()
        if self._failed.is_set():
            raise ReplicatorError("the service stopped because one of its threads failed; the log says why")
        _log.info("service.stopped")

    def run_once(self) -> PassSummary:
        """Make one checkpoint of each database, bring it to each of its destinations, side by side, and mirror.

        Raises `LockedError` and `CheckpointError` if a checkpoint root cannot be had, and
        `InterruptedTransferError` if `stop` was set.
        """
        with ExitStack() as stack:
            self._take_roots(stack)
            stack.enter_context(self._guarded())
            outcomes: list[bool] = []
            fresh: set[str] = set()
            for loop in self._loops:
                outcomes.append(self._attempt("checkpoint.failed", loop.make_checkpoint, database=loop.name))
                if outcomes[-1]:
                    fresh.add(loop.name)
            if self._workers:
                with ThreadPoolExecutor(len(self._workers), thread_name_prefix="destination") as pool:
                    for done in pool.map(lambda worker: self._transfer_all(worker, fresh), self._workers):
                        outcomes.extend(done)
            results = self._mirror_all()
        if self._stop.is_set():
            raise InterruptedTransferError("stopped before everything was transferred")
        return PassSummary(
            done=sum(outcomes) + results.count(PassResult.DONE),
            failed=outcomes.count(False) + results.count(PassResult.FAILED),
            partly=results.count(PassResult.PARTLY),
        )

    def _mirror_all(self) -> list[PassResult]:
        workers = self._mirrors.workers
        if not workers or self._stop.is_set():
            return []
        with ThreadPoolExecutor(len(workers), thread_name_prefix="mirror") as pool:
            return list(pool.map(lambda worker: worker.run_once(), workers))

    def _take_roots(self, stack: ExitStack) -> None:
        for hold in self._roots:
            stack.enter_context(hold())

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        threads = [self._thread(guard) for guard in self._guards]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for guard in self._guards:
                guard.wake()
            for thread in threads:
                thread.join()

    def _thread(self, part: Part) -> threading.Thread:
        name = part.thread_name

        def guarded() -> None:
            try:
                with self._vitals.watch(name) if part.is_watched else nullcontext():
                    part.run()
            # Half a service would look like a whole one: stop it, loudly.
            except ReplicatorError as error:
                _log.error("service.failed", thread=name, error=error)
                self._fail()
            except Exception:  # noqa: BLE001 - a thread has no caller that could handle more
                _log.exception("service.crashed", thread=name)
                self._fail()

        return threading.Thread(target=guarded, name=name)

    def _fail(self) -> None:
        self._failed.set()
        self._stop.set()

    def _transfer_all(self, worker: DestinationWorker, databases: set[str]) -> list[bool]:
        try:
            return [
                self._attempt(
                    "publish.failed",
                    lambda database=database: worker.transfer(database),  # type: ignore[misc]
                    database=database,
                    destination=worker.name,
                )
                for database in worker.databases
                if database in databases
            ]
        finally:
            worker.close()

    def _attempt(self, event: str, work: Callable[[], None], **names: str) -> bool:
        if self._stop.is_set():
            return False
        try:
            work()
        except InterruptedTransferError:
            return False
        except ReplicatorError as error:
            _log.error(event, **names, error=error)
            return False
        return True
