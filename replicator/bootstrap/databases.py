"""From a configuration to all that replicates its databases."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicator.bootstrap.copy_checks import COPY_CHECKS
from replicator.bootstrap.drills import drill_loops
from replicator.bootstrap.retries import retrying_destination, single_try_destination
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.pinned import CheckpointPin
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.replica.retention import KeepPolicy
from replicator.service.checkpoint_roots import hold_mended
from replicator.service.database_loop import DatabaseLoop
from replicator.service.database_shipping import DatabaseShipping
from replicator.service.databases import Databases
from replicator.service.destination_worker import DestinationWorker
from replicator.service.reporter import Reporter
from replicator.service.shipper import Shipper
from replicator.service.space_watch import SpaceWatch
from replicator.service.transfer import Transfer, TransferSettings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from replicator.config.model import Config
    from replicator.destination.rate_limit import RateLimiter
    from replicator.progress import ProgressDisplay
    from replicator.replica.publish import PublishStep
    from replicator.service.board import StatusBoard
    from replicator.service.precedence import Precedence


def build_databases(  # noqa: PLR0913 - each is a part of its own that the caller owns
    config: Config,
    board: StatusBoard,
    limiters: Mapping[str, RateLimiter | None],
    precedences: Mapping[str, Precedence],
    *,
    stop: threading.Event,
    display: ProgressDisplay,
    take_over: bool,
    take_over_command: str,
    ship: bool,
    on_step: Callable[[str, str, PublishStep], None],
) -> Databases:
    """Put everything of the databases together; nothing is opened or contacted yet."""
    roots = {database.name: CheckpointRoot(database.checkpoint_root) for database in config.databases}
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
    workers = []
    shippers = []
    transfers_to: dict[str, list[Transfer]] = {}
    pins: dict[str, list[CheckpointPin]] = {database.name: [] for database in config.databases}
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
    return Databases(
        roots=[partial(hold_mended, root) for root in roots.values()],
        loops=loops,
        workers=workers,
        steady=[*log_loops, *shippers, *drill_loops(config, limiters, board, stop)],
        guards=[SpaceWatch(loop.guard) for loop in loops],
        reconfigurable=[*loops, *log_loops],
        transfers=transfers_to,
    )


def _step_reporter(
    on_step: Callable[[str, str, PublishStep], None], database: str, destination: str
) -> Callable[[PublishStep], None]:
    return lambda step: on_step(database, destination, step)
