"""`replicator check`: every precondition of a configuration is tried, for real, and told in one line each.

What is tried for a database is in `check_source`, for a mirror in `check_mirror`, for a destination in
`check_destination`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.service.check_destination import check_destination
from replicator.service.check_mirror import check_mirror
from replicator.service.check_result import CheckResult, CheckStatus, Subject
from replicator.service.check_source import SourceFacts, check_database, check_open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.config.model import Config, DestinationConfig
    from replicator.destination.interface import Destination

__all__ = ["CheckResult", "CheckStatus", "check_all"]


def check_all(config: Config, *, connect_to: Callable[[DestinationConfig], Destination]) -> Iterator[CheckResult]:
    """Yield one result for each precondition, as it is known. What is wrong is a result, not an error.

    `connect_to` opens a destination once, and raises what it raises: nothing is tried again. A running service
    is not disturbed, and what a check makes it removes.
    """
    for warning in config.warnings:
        yield Subject("service").warn("configuration", warning, "remove the key, or live without its effect")
    facts: dict[str, SourceFacts | None] = {}
    for database in config.databases:
        facts[database.name] = yield from check_database(database)
    for mirror in config.mirrors:
        yield from check_mirror(mirror)
    yield check_open_files(found for found in facts.values() if found)
    for destination in config.destinations:
        sources = [
            (database, facts[database.name])
            for database in config.databases
            if destination in config.destinations_of(database)
        ]
        mirrors = [mirror for mirror in config.mirrors if destination in config.destinations_of(mirror)]
        yield from check_destination(destination, sources, mirrors, connect_to=connect_to)
