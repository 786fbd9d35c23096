"""From a configuration to the whole service."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from replicator.bootstrap.destinations import connect, rate_limiter
from replicator.bootstrap.retries import single_try_destination
from replicator.service.databases import Databases
from replicator.service.mirrors import MirrorExceptions, build_mirrors
from replicator.service.precedence import Precedence
from replicator.service.reconfiguration import Reconfiguration
from replicator.service.reporting import Reporting
from replicator.service.service import Service
from replicator.service.start_check import StartCheck
from replicator.service.systemd import ServiceManager
from replicator.service.watched import watched_databases, watched_mirrors

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.bootstrap.ahead import ConnectionsAhead
    from replicator.config.model import Config, DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.progress import ProgressDisplay
    from replicator.replica.publish import PublishStep
    from replicator.service.check_result import CheckResult


def build_service(  # noqa: PLR0913 - each is a part of its own that the caller owns
    config: Config,
    config_path: Path,
    *,
    stop: threading.Event,
    display: ProgressDisplay,
    take_over: bool = False,
    allow_deletes: bool = False,
    ship: bool = True,
    manager: ServiceManager | None = None,
    ahead: ConnectionsAhead | None = None,
    on_step: Callable[[str, str, PublishStep], None] = lambda _database, _destination, _step: None,
) -> Service:
    """Put the whole service together; nothing is opened or contacted yet.

    `ship` is off for a single pass, in which alone `allow_deletes` makes sense. `manager` is told how the service
    fares. Mirrors begin with the connections that are made `ahead`. `on_step` is told the database, the
    destination and the step of every publish.
    """
    manager = manager or ServiceManager()
    reporting = Reporting(config.service, watched_databases(config), watched_mirrors(config), manager)
    take_over_command = f"replicator run -c {shlex.quote(str(config_path))} --once --take-over"
    limiters = {destination.name: rate_limiter(destination) for destination in config.destinations}
    precedences = {destination.name: Precedence() for destination in config.destinations}
    databases = Databases()
    if config.databases:
        from replicator.bootstrap.databases import build_databases

        databases = build_databases(
            config,
            reporting.board,
            limiters,
            precedences,
            stop=stop,
            display=display,
            take_over=take_over,
            take_over_command=take_over_command,
            ship=ship,
            on_step=on_step,
        )

    def connect_to(destination: DestinationConfig) -> Destination:
        name, limiter = destination.name, limiters[destination.name]
        if ahead is None:
            return single_try_destination(destination, limiter, stop=stop)
        return single_try_destination(destination, limiter, stop=stop, first=lambda: ahead.take(name))

    mirrors = build_mirrors(
        config,
        reporting.mirrors,
        connect_to,
        precedences,
        stop=stop,
        exceptions=MirrorExceptions(take_over=take_over, all_deletes=allow_deletes),
        take_over_command=take_over_command,
    )
    reconfiguration = Reconfiguration(reporting, databases.reconfigurable, databases.transfers, limiters)
    return Service(
        databases.roots,
        databases.loops,
        databases.workers,
        stop=stop,
        steady=databases.steady,
        guards=databases.guards,
        companions=[*reporting.companions, StartCheck(lambda: _check(config))],
        vitals=reporting.vitals,
        manager=manager,
        reconfigure=reconfiguration.apply,
        mirrors=mirrors,
    )


def _check(config: Config) -> Iterator[CheckResult]:
    from replicator.service.check import check_all

    return check_all(config, connect_to=lambda chosen: connect(chosen.url, config=chosen))
