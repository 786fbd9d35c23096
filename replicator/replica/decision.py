"""What a publish has to do: refuse, or name the new generation and say which of its files are sent.

Reads the destination and the local logs; changes nothing. `publish` carries the decision out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.errors import NoSpaceError, ProtocolError, WrongWriterError
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.local_digest import sha256_of_prefixes
from replicator.replica.plan import LogDigests, Plan, log_lengths, make_plan
from replicator.replica.retention import KeepPolicy

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Writer
    from replicator.replica.inspect_replica import Replica
    from replicator.replica.memory import ReplicaMemory
    from replicator.rocksdb.inventory import Inventory

TAKE_OVER_COMMAND = "replicator run -c FILE --once --take-over"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """One checkpoint to be published, and how.

    `folder` holds the files of `inventory` and does not change meanwhile. `captured_at` has a time zone.
    `take_over` makes `writer` the writer of a replica that belongs to another; `reupload` allows destinations
    that can neither link nor copy. `take_over_command` is what an operator would type to do that.
    """

    database: str
    folder: Path
    inventory: Inventory
    captured_at: datetime
    writer: Writer
    keep: KeepPolicy = field(default_factory=KeepPolicy)
    take_over: bool = False
    reupload: bool = False
    take_over_command: str = TAKE_OVER_COMMAND


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that is known before the first change; `log_digests` has every write-ahead log in full."""

    request: PublishRequest
    replica: Replica
    generation: GenerationId
    log_digests: LogDigests
    plan: Plan


def decide(request: PublishRequest, destination: Destination, memory: ReplicaMemory) -> Decision:
    """Look at the replica, as far as it is not known, and decide.

    Raises `WrongWriterError`, `MissingCapabilityError`, `NoSpaceError`, `SourceChangedError` if a log is gone.
    """
    replica = memory.replica(destination, ReplicaLayout(request.database), request.writer)
    if not request.take_over:
        refuse_other_writer(
            destination, request.database, replica, request.writer, take_over_command=request.take_over_command
        )
    log_digests = LogDigests(
        {
            name: sha256_of_prefixes(request.folder / name, lengths)
            for name, lengths in log_lengths(request.inventory, replica.stored).items()
        }
    )
    plan = make_plan(
        request.inventory,
        replica.stored,
        destination.capabilities(),
        log_digests,
        reupload=request.reupload,
    )
    _check_free_space(destination, plan)
    return Decision(request, replica, _new_id(request, destination, replica), log_digests, plan)


def refuse_other_writer(
    destination: Destination,
    database: str,
    replica: Replica,
    writer: Writer,
    *,
    take_over_command: str = TAKE_OVER_COMMAND,
) -> None:
    """Raise `WrongWriterError` if the replica of `database` belongs to another writer than `writer`."""
    if not replica.ids:
        return
    if replica.newest is None:
        who = "generations whose catalogs are all damaged, so that nobody can tell who wrote them"
    elif replica.newest.writer != writer:
        who = (
            f"a replica that belongs to another writer: {replica.newest.writer},"
            f" which published {replica.newest.generation} last"
        )
    else:
        return
    raise WrongWriterError(
        f"{destination.label}: {database} holds {who}; this is {writer}",
        hint=f"if this database is to be replicated there from now on: {take_over_command}",
    )


def _new_id(request: PublishRequest, destination: Destination, replica: Replica) -> GenerationId:
    try:
        return GenerationId.at(request.captured_at).after(max(replica.taken_ids, default=None))
    except ValueError as error:
        raise ProtocolError(
            f"{destination.label}: {request.database} has no id left above {max(replica.taken_ids)}",
            hint="a clock was far in the future: remove that generation",
        ) from error


def _check_free_space(destination: Destination, plan: Plan) -> None:
    needed_bytes = plan.send_bytes + sum(item.file.size_bytes for item in plan.copy)
    free_bytes = destination.free_bytes()
    if free_bytes is not None and free_bytes < needed_bytes:
        raise NoSpaceError(
            f"{destination.label}: {needed_bytes} bytes are to be stored, {free_bytes} are free",
            hint="make room there, or keep fewer generations",
        )
