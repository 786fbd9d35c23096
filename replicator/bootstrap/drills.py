"""From a configuration to restore drills: of a command, and of the service on its schedule."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from replicator.bootstrap.destinations import connect
from replicator.destination.retrying import RetryingDestination
from replicator.errors import ReplicatorError
from replicator.service.drill import DrillPair
from replicator.service.drill_loop import DrillLoop
from replicator.service.state_file import read_state

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from replicator.config.model import Config, DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.destination.rate_limit import RateLimiter
    from replicator.service.board import StatusBoard


def drill_pairs(
    config: Config, connect_to: Callable[[DestinationConfig], Destination], *, only: str | None = None
) -> list[DrillPair]:
    """Return every database at each of its destinations, or at the one that is named `only`."""
    return [
        DrillPair(database.name, destination.name, partial(connect_to, destination))
        for database in config.databases
        for destination in config.destinations_of(database)
        if only in {None, destination.name}
    ]


def drill_loops(
    config: Config, limiters: Mapping[str, RateLimiter | None], board: StatusBoard, stop: threading.Event
) -> list[DrillLoop]:
    """Return what drills all of `drill_pairs` on the configured schedule, if there is one."""
    interval_seconds = config.service.drill_seconds
    if interval_seconds is None:
        return []
    with suppress(ReplicatorError):  # a state file that cannot be read is about to be written anew
        if state := read_state(config.service.state_dir):
            board.remember_drills(state.databases)
    pairs = drill_pairs(
        config,
        lambda destination: RetryingDestination(
            lambda: connect(destination.url, config=destination, limiter=limiters[destination.name]),
            label=str(destination.url),
            stop=stop,
        ),
    )
    folder = config.service.drill_folder
    return [DrillLoop(pairs, board, interval_seconds=interval_seconds, folder=folder, stop=stop)]
