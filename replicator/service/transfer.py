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
from replicator.replica.decision import PublishRequest
from replicator.replica.memory import ReplicaMemory
from replicator.replica.publish import Published, publish
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from replicator.checkpoint.inspection import Checkpoint
    from replicator.checkpoint.pinned import CheckpointPin
    from replicator.config import DatabaseConfig
    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.catalog import Catalog
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
    ) -> None:
        """With a `line` the generation is shipped to from the moment on at which it becomes current."""
        self._database = database
        self._pin = pin
        self._settings = settings
        self._on_step = on_step
        self._board = board
        self._line = line
        self._memory = ReplicaMemory()

    def keep(self, policy: KeepPolicy) -> None:
        """Retire generations by this policy from now on; from any thread."""
        self._settings = replace(self._settings, keep=policy)

    def run(
        self, destination: Destination, observer: TransferObserver, *, planned: Callable[[Plan], None]
    ) -> Published:
        """Publish. Raises what `CheckpointPin.held` and `publish` raise."""
        settings = self._settings
        with self._pin.held() as checkpoint:
            published = publish(
                PublishRequest(
                    database=self._database.name,
                    folder=checkpoint.folder,
                    inventory=checkpoint.inventory,
                    captured_at=datetime.fromtimestamp(checkpoint.captured_at_seconds, UTC),
                    writer=writer_of(self._database, checkpoint.inventory.database_id),
                    keep=settings.keep,
                    take_over=settings.take_over,
                    reupload=settings.reupload,
                    take_over_command=settings.take_over_command,
                ),
                destination,
                observer,
                memory=self._memory,
                progress=self._on_step,
                planned=planned,
                handover=lambda catalog: self._handover(checkpoint, catalog, destination),
            )
        self._board.published(
            self._database.name,
            settings.destination_name,
            generation=str(published.generation),
            captured_at_seconds=checkpoint.captured_at_seconds,
            sent_bytes=published.bytes_sent,
            reused_files=published.files_reused,
            reused_bytes=published.bytes_reused,
        )
        if self._line:
            self._line.report()
        self._report(published)
        return published

    def _handover(
        self, checkpoint: Checkpoint, catalog: Catalog, destination: Destination
    ) -> AbstractContextManager[None]:
        return self._line.taking_over(checkpoint, catalog, destination) if self._line else nullcontext()

    def _report(self, published: Published) -> None:
        names = {"database": self._database.name, "destination": self._settings.destination_name}
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
