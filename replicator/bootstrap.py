"""From a configuration to running parts: the only place that names concrete destinations."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.pinned import CheckpointPin
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.verification import check_nothing, check_structure, check_with_engine
from replicator.config import DEFAULT_CONNECTIONS, Verification, passed_on
from replicator.destination.directory import DirectoryDestination
from replicator.destination.rate_limit import RateLimiter
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_helpers import Sharing
from replicator.destination.sftp_route import SftpSettings
from replicator.errors import ReplicatorError
from replicator.locator import DirectoryUrl
from replicator.replica.retention import KeepPolicy
from replicator.service.check import check_all
from replicator.service.database_loop import DatabaseLoop
from replicator.service.database_shipping import DatabaseShipping
from replicator.service.destination_worker import DestinationWorker
from replicator.service.drill import DrillPair
from replicator.service.drill_loop import DrillLoop
from replicator.service.mirrors import MirrorExceptions, build_mirrors, watched_mirrors
from replicator.service.precedence import Precedence
from replicator.service.reconfiguration import Reconfiguration
from replicator.service.reporter import Reporter
from replicator.service.reporting import Reporting
from replicator.service.service import Service
from replicator.service.shipper import Shipper
from replicator.service.space_watch import SpaceWatch
from replicator.service.start_check import StartCheck
from replicator.service.state_file import read_state
from replicator.service.status import Watched
from replicator.service.systemd import ServiceManager
from replicator.service.transfer import Transfer, TransferSettings
from replicator.units import format_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from replicator.checkpoint.verification import CopyCheck
    from replicator.config import Config, DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.errors import DestinationError
    from replicator.locator import DestinationUrl
    from replicator.progress import ProgressDisplay
    from replicator.replica.publish import PublishStep
    from replicator.service.board import StatusBoard

_log = structlog.get_logger()

COPY_CHECKS: Mapping[Verification, CopyCheck] = {
    Verification.OFF: check_nothing,
    Verification.STRUCTURE: check_structure,
    Verification.ENGINE: check_with_engine,
}


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
    on_step: Callable[[str, str, PublishStep], None] = lambda _database, _destination, _step: None,
) -> Service:
    """Put the whole service together; nothing is opened or contacted yet.

    `ship` is off for a single pass, in which alone `allow_deletes` makes sense. `manager` is told how the service
    fares. `on_step` is told the database, the destination and the step of every publish.
    """
    roots = {database.name: CheckpointRoot(database.checkpoint_root) for database in config.databases}
    manager = manager or ServiceManager()
    reporting = Reporting(config.service, watched(config), watched_mirrors(config), manager)
    board = reporting.board
    shippings = {
        database.name: DatabaseShipping(
            database,
            database.tick_seconds,
            [destination.name for destination in config.destinations_of(database)],
            board,
            stop=stop,
        )
        for database in config.databases
        if ship and database.tick_seconds is not None
    }
    take_over_command = f"replicator run -c {shlex.quote(str(config_path))} --once --take-over"
    workers = []
    shippers = []
    transfers_to: dict[str, list[Transfer]] = {}
    pins: dict[str, list[CheckpointPin]] = {database.name: [] for database in config.databases}
    limiters = {destination.name: rate_limiter(destination) for destination in config.destinations}
    precedences = {destination.name: Precedence() for destination in config.destinations}
    for destination in config.destinations:
        settings = TransferSettings(
            destination_name=destination.name,
            keep=KeepPolicy(**destination.keep.model_dump()),
            reupload=destination.allow_full_upload,
            take_over=take_over,
            take_over_command=take_over_command,
        )
        lines = {
            name: shipping.lines[destination.name]
            for name, shipping in shippings.items()
            if destination.name in shipping.lines
        }
        transfers = {}
        for database in config.databases:
            if destination in config.destinations_of(database):
                pin = CheckpointPin(roots[database.name], destination.name)
                pins[database.name].append(pin)
                transfers[database.name] = Transfer(
                    database,
                    pin,
                    settings,
                    on_step=_step_reporter(on_step, database.name, destination.name),
                    board=board,
                    line=lines.get(database.name),
                    once=not ship,
                )
        transfers_to[destination.name] = list(transfers.values())
        limiter = limiters[destination.name]
        if lines:
            connection = single_try_destination(destination, limiter, stop=stop)
            shippers.append(Shipper(destination.name, connection, list(lines.values()), board, stop=stop))
        if transfers:
            reporter = Reporter(board, destination.name)
            connection = retrying_destination(destination, limiter, stop=stop, reporter=reporter)
            workers.append(
                DestinationWorker(
                    destination.name,
                    connection,
                    transfers,
                    stop=stop,
                    display=display,
                    reporter=reporter,
                    precedence=precedences[destination.name],
                    break_off=connection.break_off,
                )
            )

    def tell_workers(database: str) -> None:
        for worker in workers:
            worker.submit(database)

    loops = [
        DatabaseLoop(
            database,
            roots[database.name],
            Capture(database.path, roots[database.name], COPY_CHECKS[database.verification]),
            stop=stop,
            on_checkpoint=tell_workers,
            board=board,
            logs=shippings.get(database.name),
            pins=pins[database.name],
        )
        for database in config.databases
    ]
    log_loops = [
        shippings[loop.name].log_loop(loop.ask_for_checkpoint, shippers)
        for loop in loops
        if loop.name in shippings
    ]
    mirrors = build_mirrors(
        config,
        reporting.mirrors,
        lambda destination: single_try_destination(destination, limiters[destination.name], stop=stop),
        precedences,
        stop=stop,
        exceptions=MirrorExceptions(take_over=take_over, all_deletes=allow_deletes),
        take_over_command=take_over_command,
    )
    reconfiguration = Reconfiguration(reporting, [*loops, *log_loops], transfers_to, limiters)
    return Service(
        list(roots.values()),
        loops,
        workers,
        stop=stop,
        steady=[*log_loops, *shippers, *_drill_loops(config, limiters, board, stop)],
        guards=[SpaceWatch(loop.guard) for loop in loops],
        companions=[*reporting.companions, StartCheck(partial(check_all, config, connect_to=_connect_once))],
        vitals=reporting.vitals,
        manager=manager,
        reconfigure=reconfiguration.apply,
        mirrors=mirrors,
    )


def watched(config: Config) -> tuple[Watched, ...]:
    """Return what there is to know about: every database and where it goes."""
    return tuple(
        Watched(
            name=database.name,
            destinations=tuple(destination.name for destination in config.destinations_of(database)),
            shipping=database.tick_seconds is not None,
        )
        for database in config.databases
    )


def _drill_loops(
    config: Config, limiters: Mapping[str, RateLimiter | None], board: StatusBoard, stop: threading.Event
) -> list[DrillLoop]:
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


def rate_limiter(config: DestinationConfig) -> RateLimiter | None:
    """Return what holds all connections to a destination that share it down to its limit; None without one."""
    return RateLimiter(config.limit_bytes_per_second) if config.limit_bytes_per_second else None


def single_try_destination(
    config: DestinationConfig, limiter: RateLimiter | None, *, stop: threading.Event
) -> Destination:
    """Return the configured destination, which connects when it is used, and leaves trying again to its user."""
    return RetryingDestination(
        lambda: connect(config.url, config=config, limiter=limiter),
        label=str(config.url),
        policy=RetryPolicy(attempts=1),
        stop=stop,
    )


def retrying_destination(
    config: DestinationConfig, limiter: RateLimiter | None, *, stop: threading.Event, reporter: Reporter
) -> RetryingDestination:
    """Return the configured destination, which connects when it is first used and tries again what may heal."""

    def tell_retry(error: DestinationError, attempt: int, wait_seconds: float) -> None:
        reporter.failed(error, next_try_in_seconds=wait_seconds, will_heal=True)
        _log.warning(
            "destination.retry",
            destination=config.name,
            error=error,
            attempt=attempt,
            next_try_in=format_duration(wait_seconds),
        )

    return RetryingDestination(
        lambda: connect(config.url, config=config, limiter=limiter),
        label=str(config.url),
        stop=stop,
        on_retry=tell_retry,
    )


def connect(
    url: DestinationUrl,
    *,
    config: DestinationConfig | None = None,
    limiter: RateLimiter | None = None,
    identity_file: Path | None = None,
    known_hosts: Path | None = None,
) -> Destination:
    """Open the destination behind a URL, once. What `config` says of keys goes before the other arguments.

    Raises `DestinationError`.
    """
    if isinstance(url, DirectoryUrl):
        return DirectoryDestination(url.base, label=str(url), limiter=limiter)
    settings = SftpSettings(
        host=url.host,
        port=url.port,
        user=url.user,
        base=url.base,
        label=str(url),
        identity_file=passed_on(config.identity_file) if config else identity_file,
        known_hosts=config.known_hosts if config else known_hosts,
    )
    if config:
        settings = replace(settings, timeout_seconds=config.timeout_seconds, compression=config.compression)
    connections = config.connections if config else DEFAULT_CONNECTIONS
    return SftpDestination.connect(settings, limiter, Sharing(connections))


def _connect_once(config: DestinationConfig) -> Destination:
    return connect(config.url, config=config)


def _step_reporter(
    on_step: Callable[[str, str, PublishStep], None], database: str, destination: str
) -> Callable[[PublishStep], None]:
    return lambda step: on_step(database, destination, step)
