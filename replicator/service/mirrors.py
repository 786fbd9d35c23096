"""All mirrors of a configuration, put together: a watch for each, and a worker for each of its destinations."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.mirror.backlog import Backlog
from replicator.mirror.coalesce import Coalescer
from replicator.mirror.deletes import DeleteBudget
from replicator.mirror.excludes import Excludes
from replicator.mirror.rules import MirrorRules
from replicator.mirror.session import MirrorSession
from replicator.mirror.staging import MirrorSource
from replicator.service.mirror_watch import MirrorWatch
from replicator.service.mirror_worker import MirrorWorker

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from replicator.config.model import Config, DestinationConfig, MirrorConfig
    from replicator.destination.interface import Destination
    from replicator.service.mirror_board import MirrorBoard
    from replicator.service.precedence import Precedence


@dataclass(frozen=True, slots=True)
class Mirrors:
    """The parts of the service that mirror."""

    watches: tuple[MirrorWatch, ...] = ()
    workers: tuple[MirrorWorker, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorExceptions:
    """What is allowed in a single pass."""

    take_over: bool = False
    all_deletes: bool = False


def source_of(mirror: MirrorConfig) -> MirrorSource:
    """Return as whom this host writes a mirror."""
    # A path need not be UTF-8, what is written down must be.
    return MirrorSource(
        host=socket.gethostname(), path=os.fsencode(mirror.path).decode("utf-8", "backslashreplace")
    )


def build_mirrors(  # noqa: PLR0913 - each is a part of its own that the caller owns
    config: Config,
    board: MirrorBoard,
    connect_to: Callable[[DestinationConfig], Destination],
    precedences: Mapping[str, Precedence],
    *,
    stop: threading.Event,
    exceptions: MirrorExceptions,
    take_over_command: str,
) -> Mirrors:
    """Put all mirrors together; nothing is opened or contacted yet. `connect_to` gives each its own connection."""
    watches, workers = [], []
    for mirror in config.mirrors:
        excludes = Excludes(mirror.exclude)
        destinations = config.destinations_of(mirror)
        backlogs = [Backlog(Coalescer(mirror.quiet_seconds, mirror.max_delay_seconds)) for _ in destinations]
        watch = MirrorWatch(
            mirror.name,
            mirror.path,
            excludes,
            backlogs,
            board,
            rescan_seconds=mirror.rescan_seconds,
            stop=stop,
        )
        watches.append(watch)
        rules = MirrorRules(
            name=mirror.name,
            path=mirror.path,
            source=source_of(mirror),
            excludes=excludes,
            delete=mirror.delete,
            take_over=exceptions.take_over,
            take_over_command=take_over_command,
        )
        for destination, backlog in zip(destinations, backlogs, strict=True):
            connection = connect_to(destination)
            budget = DeleteBudget(mirror.max_delete.files_of, unlimited=exceptions.all_deletes)
            workers.append(
                MirrorWorker(
                    mirror.name,
                    destination.name,
                    connection,
                    MirrorSession(rules, connection, backlog, budget),
                    backlog=backlog,
                    budget=budget,
                    board=board,
                    precedence=precedences[destination.name],
                    rescan_seconds=mirror.rescan_seconds,
                    ready=watch.ready,
                    stop=stop,
                )
            )
    return Mirrors(tuple(watches), tuple(workers))
