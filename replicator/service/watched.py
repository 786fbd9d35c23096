"""What there is to know about, by a configuration: every database and every mirror, and where each goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.service.mirror_status import WatchedMirror
from replicator.service.status import Watched

if TYPE_CHECKING:
    from replicator.config.model import Config


def watched_databases(config: Config) -> tuple[Watched, ...]:
    """Return every database, and its destinations."""
    return tuple(
        Watched(
            name=database.name,
            destinations=tuple(destination.name for destination in config.destinations_of(database)),
            shipping=database.tick_seconds is not None,
        )
        for database in config.databases
    )


def watched_mirrors(config: Config) -> tuple[WatchedMirror, ...]:
    """Return every mirror, and its destinations."""
    return tuple(
        WatchedMirror(mirror.name, tuple(destination.name for destination in config.destinations_of(mirror)))
        for mirror in config.mirrors
    )
