"""Bringing the current checkpoint of one database to one destination."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from replicator.replica.catalog import Writer
from replicator.replica.confirming import confirm, unchanged_generation
from replicator.replica.decision import PublishRequest
from replicator.replica.memory import ReplicaMemory
from replicator.replica.publish import Published, publish
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from replicator.checkpoint.inspection import Checkpoint
    from replicator.checkpoint.pinned import CheckpointPin
    from replicator.config.model import DatabaseConfig
    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.catalog import Catalog
    from replicator.replica.layout import GenerationId
    from replicator.replica.plan import Plan
    from replicator.replica.publish import PublishStep
    from replicator.replica.retention import KeepPolicy
    from replicator.service.board import StatusBoard
    from replicator.service.shipping_line import ShippingLine

_log = structlog.get_logger()


def writer_of(database: DatabaseConfig, database_id: str) -> Writer:
    """Return as whom this host publishes a database."""
    # A path need not be UTF-8, a catalog must be.
    path = os.fsencode(database.path).decode("utf-8", "backslashreplace")
    return Writer(host=socket.gethostname(), database_path=path, database_id=database_id)


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """What is the same for all databases of a destination."""

    destination_name: str
    keep: KeepPolicy
    reupload: bool
    take_over: bool
    take_over_command: str


class Transfer:
    """Publishes the newest checkpoint in a checkpoint root at a destination, as often as it is asked to."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        database: DatabaseConfig,
        pin: CheckpointPin,
        settings: TransferSettings,
        *,
        on_step: Callable[[PublishStep], None],
        board: StatusBoard,
        line: ShippingLine | None = None,
        once: bool = False,
    ) -> None:
        """With a `line` the generation is shipped to from the moment on at which it becomes current.

        `once` says that each publish may be the last: it makes a generation, and leaves nothing for the next one.
        """
        self._database = database
        self._pin = pin
        self._settings = settings
        self._on_step = on_step
        self._board = board
        self._line = line
        self._once = once
        self._memory = ReplicaMemory(wants_seeds=not once)

    def keep(self, policy: KeepPolicy) -> None:
        """Retire generations by this policy from now on; from any thread."""
        self._settings = replace(self._settings, keep=policy)

    def run(
        self,
        destination: Destination,
        observer: TransferObserver,
        *,
        planned: Callable[[Plan], None],
        break_off: Callable[[], None] = lambda: None,
    ) -> Published | None:
        """Publish, unless nothing is new: then None. Raises what `CheckpointPin.held` and `publish` raise.

        `break_off` makes what `destination` is doing fail, and is called from another thread.
        """
        with self._pin.held(break_off) as checkpoint:
            request = self._request(checkpoint)
            unchanged = None if self._once else unchanged_generation(request, destination, self._memory)
            if unchanged is not None and self._confirmed(checkpoint, request, destination, unchanged):
                published = None
            else:
                published = publish(
                    request,
                    destination,
                    observer,
                    memory=self._memory,
                    progress=self._on_step,
                    planned=planned,
                    handover=lambda catalog: self._handover(checkpoint, catalog, destination),
                )
        generation = published.generation if published else unchanged
        self._board.published(
            self._database.name,
            self._settings.destination_name,
            generation=str(generation),
            captured_at_seconds=checkpoint.captured_at_seconds,
            sent_bytes=published.bytes_sent if published else 0,
            reused_files=published.files_reused if published else 0,
            reused_bytes=published.bytes_reused if published else 0,
        )
        if self._line:
            self._line.report()
        if published:
            self._report(published)
        else:
            _log.info("publish.unchanged", **self._names, generation=str(generation))
        return published

    def _request(self, checkpoint: Checkpoint) -> PublishRequest:
        settings = self._settings
        return PublishRequest(
            database=self._database.name,
            folder=checkpoint.folder,
            inventory=checkpoint.inventory,
            captured_at=datetime.fromtimestamp(checkpoint.captured_at_seconds, UTC),
            writer=writer_of(self._database, checkpoint.inventory.database_id),
            keep=settings.keep,
            take_over=settings.take_over,
            reupload=settings.reupload,
            take_over_command=settings.take_over_command,
        )

    def _confirmed(
        self,
        checkpoint: Checkpoint,
        request: PublishRequest,
        destination: Destination,
        unchanged: GenerationId,
    ) -> bool:
        """Whether the generation says by now that it is as new as the checkpoint; who ships to it says so."""
        if self._line:
            return self._line.has_it(checkpoint, unchanged)
        return confirm(request, destination, self._memory)

    @property
    def _names(self) -> dict[str, str]:
        return {"database": self._database.name, "destination": self._settings.destination_name}

    def _handover(
        self, checkpoint: Checkpoint, catalog: Catalog, destination: Destination
    ) -> AbstractContextManager[None]:
        return self._line.taking_over(checkpoint, catalog, destination) if self._line else nullcontext()

    def _report(self, published: Published) -> None:
        names = self._names
        for problem in published.problems:
            _log.warning("publish.tidying_failed", **names, problem=problem)
        _log.info(
            "publish.done",
            **names,
            generation=str(published.generation),
            files_sent=published.files_sent,
            files_reused=published.files_reused,
            bytes_sent=published.bytes_sent,
            bytes_reused=published.bytes_reused,
            took=format_duration(published.duration_seconds),
        )
