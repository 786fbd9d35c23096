"""Publishing a checkpoint: it becomes a generation, complete and durable, before any link names it.

The order of the steps is what keeps the promise that `checkpoint_current` always names a complete database:
everything is put together in `incoming/`, becomes a generation by one rename, and only then the links are
flipped. A publish that breaks off leaves a folder in `incoming/` whose finished files the next one uses.
Connecting, retrying and pacing belong to the destination; which files are sent is decided in `plan`.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from replicator.errors import NotFoundError, ProtocolError
from replicator.replica.decision import decide
from replicator.replica.memory import ReplicaMemory
from replicator.replica.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.catalog import Catalog
    from replicator.replica.decision import PublishRequest
    from replicator.replica.layout import GenerationId
    from replicator.replica.plan import Plan


class PublishStep(StrEnum):
    """What a publish is about to do, in this order."""

    INSPECT = "inspect"
    PREPARE = "prepare"
    REUSE = "reuse"
    UPLOAD = "upload"
    CATALOG = "catalog"
    COMPLETE = "complete"
    FLIP_PREVIOUS = "flip_previous"
    FLIP_CURRENT = "flip_current"
    RETIRE = "retire"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Published:
    """A generation that `checkpoint_current` names now.

    `bytes_sent` is what crossed the wire for database files. `problems` are failures to tidy up afterwards: the
    next publish tries again.
    """

    generation: GenerationId
    files_sent: int
    files_reused: int
    bytes_sent: int
    bytes_reused: int
    duration_seconds: float
    problems: tuple[str, ...]


def publish(  # noqa: PLR0913 - what, where, and hooks for different purposes
    request: PublishRequest,
    destination: Destination,
    observer: TransferObserver,
    *,
    memory: ReplicaMemory | None = None,
    progress: Callable[[PublishStep], None] = lambda _step: None,
    planned: Callable[[Plan], None] = lambda _plan: None,
    handover: Callable[[Catalog], AbstractContextManager[None]] = lambda _catalog: nullcontext(),
) -> Published:
    """Publish one checkpoint.

    With a `memory` of the publishes before, what they left is not looked at again; without one nothing is known.
    `progress` is called before each step, `planned` once it is known what must be sent; both may raise, which
    breaks the publish off as a crash would. So may `handover`, which gets the catalog of the complete generation:
    the links are flipped inside of the context that it returns.

    Raises `WrongWriterError` if the replica belongs to another writer, `MissingCapabilityError`, `NoSpaceError`,
    `SourceChangedError` if a file of the checkpoint is gone, `InterruptedTransferError`, and whatever else the
    destination raises. The links are as they were then, or name the new generation.
    """
    started = time.monotonic()
    known = ReplicaMemory(wants_seeds=False) if memory is None else memory
    put_together = partial(
        _put_together, request, destination, observer, memory=known, progress=progress, planned=planned
    )
    try:
        publication = put_together()
    except (NotFoundError, ProtocolError):
        if not known.was_recalled:
            raise
        # Somebody changed what was left there: now that is looked at, all of it.
        publication = put_together()
    progress(PublishStep.COMPLETE)
    publication.complete()
    with handover(publication.catalog()):
        progress(PublishStep.FLIP_PREVIOUS)
        publication.flip_previous()
        progress(PublishStep.FLIP_CURRENT)
        publication.flip_current()
    progress(PublishStep.RETIRE)
    problems = publication.retire()
    progress(PublishStep.CLEAN)
    problems += publication.clean()
    return Published(
        generation=publication.generation,
        files_sent=len(publication.plan.send),
        files_reused=len(request.inventory.files) - len(publication.plan.send),
        bytes_sent=publication.transfer.bytes_sent,
        bytes_reused=request.inventory.size_bytes - publication.plan.send_bytes,
        duration_seconds=time.monotonic() - started,
        problems=problems,
    )


def _put_together(  # noqa: PLR0913 - as `publish`
    request: PublishRequest,
    destination: Destination,
    observer: TransferObserver,
    *,
    memory: ReplicaMemory,
    progress: Callable[[PublishStep], None],
    planned: Callable[[Plan], None],
) -> Publication:
    """Take the steps after which all of the generation is there, in `incoming/`."""
    progress(PublishStep.INSPECT)
    decision = decide(request, destination, memory)
    planned(decision.plan)
    publication = Publication(decision, destination, observer, memory)
    progress(PublishStep.PREPARE)
    publication.prepare()
    progress(PublishStep.REUSE)
    publication.reuse()
    progress(PublishStep.UPLOAD)
    publication.upload()
    progress(PublishStep.CATALOG)
    publication.write_catalog()
    return publication
