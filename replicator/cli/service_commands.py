"""Commands for the host of the primary: the service, single checkpoints, checks, the demo."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import structlog
import typer

from replicator import reports
from replicator.bootstrap import COPY_CHECKS, build_service, connect
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.cli.app import ExitCode, app, load, print_result
from replicator.cli.options import ConfigOption, JsonOption
from replicator.config import Verification
from replicator.progress import ProgressDisplay
from replicator.service.check import CheckStatus, check_all
from replicator.service.lock import hold_checkpoint_root
from replicator.service.reload import Reloader
from replicator.service.signals import SignalWatcher
from replicator.service.systemd import ServiceManager

_log = structlog.get_logger()


@app.command()
def run(
    config: ConfigOption,
    *,
    once: Annotated[
        bool,
        typer.Option("--once", help="One checkpoint, transfer and mirror pass to every destination, then exit."),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Become the writer of replicas that belong to another writer.")
    ] = False,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Let mirrors remove more than max_delete in this pass.")
    ] = False,
) -> None:
    """Run the service in the foreground.

    Makes a checkpoint of each database on its interval and publishes it at every destination; keeps mirrors equal.
    SIGTERM finishes the current file and stops; a second one stops at once. SIGHUP reads the configuration anew.

    \b
    replicator run -c /etc/replicator/replicator.toml
    replicator run -c /etc/replicator/replicator.toml --once
    replicator run -c /etc/replicator/replicator.toml --once --take-over
    replicator run -c /etc/replicator/replicator.toml --once --allow-deletes
    """
    settings = load(config)
    if take_over and not once:
        raise typer.BadParameter("--take-over goes with --once: take over once, then run the service as always")
    if allow_deletes and not once:
        raise typer.BadParameter(
            "--allow-deletes goes with --once: allow them once, then run the service as always"
        )
    for warning in settings.warnings:
        _log.warning("config.no_effect", key=warning)
    stop = threading.Event()
    signals = SignalWatcher(stop.set)
    manager = ServiceManager.from_environment()
    with ProgressDisplay() as display:
        service = build_service(
            settings,
            config,
            stop=stop,
            display=display,
            take_over=take_over,
            allow_deletes=allow_deletes,
            ship=not once,
            manager=manager,
        )
        if once:
            summary = service.run_once()
            if summary.failed or summary.partly:
                raise typer.Exit(ExitCode.PARTLY if summary.done or summary.partly else ExitCode.FAILED)
        else:
            reloader = Reloader(settings, config, apply=service.reconfigure, manager=manager)
            signals.on_reload = reloader.reload
            service.run()
    if signals.received is not None and signals.received.name == "SIGINT":
        raise typer.Exit(ExitCode.INTERRUPTED)


@app.command()
def checkpoint(
    db_path: Annotated[Path, typer.Argument(help="The live database directory.", metavar="DB_PATH")],
    checkpoint_root: Annotated[
        Path, typer.Argument(help="Where checkpoint_current and checkpoint_prev go.", metavar="CHECKPOINT_ROOT")
    ],
    verify: Annotated[
        Verification, typer.Option("--verify", help="How to check the checkpoint before it becomes current.")
    ] = Verification.STRUCTURE,
) -> None:
    """Make one checkpoint of a live database.

    Needs no configuration. The new checkpoint is CHECKPOINT_ROOT/checkpoint_current, the one before becomes
    checkpoint_prev. The database is listed, read and hard-linked, never opened.

    \b
    replicator checkpoint /var/lib/conduwuit /var/lib/conduwuit/checkpoints
    replicator checkpoint /var/lib/conduwuit /var/lib/conduwuit/checkpoints --verify engine
    """
    if db_path.resolve().is_relative_to(checkpoint_root.resolve()):
        raise typer.BadParameter(
            f"CHECKPOINT_ROOT {checkpoint_root} must not be the database's folder or one above it"
        )
    DatabaseFolder(db_path).manifest_name()  # nothing is made for a path that is not a database's
    root = CheckpointRoot(checkpoint_root.absolute())
    root.create()
    with hold_checkpoint_root(root.path):
        root.recover()
        captured = Capture(db_path.absolute(), root, COPY_CHECKS[verify]).make()
        root.discard_staging()
    print_result(reports.captured_text(captured, str(root.current)))


@app.command()
def check(config: ConfigOption, *, as_json: JsonOption = False) -> None:
    """Try every precondition, with remedies.

    One line each: OK, WARN or FAILED, and what to do. Ends with 1 if one FAILED. A running service is not
    disturbed.

    \b
    replicator check -c /etc/replicator/replicator.toml
    replicator check -c /etc/replicator/replicator.toml --json
    """
    settings = load(config)
    results = []
    for result in check_all(settings, connect_to=lambda chosen: connect(chosen.url, config=chosen)):
        results.append(result)
        if not as_json:
            print_result(reports.check_line(result))
    if as_json:
        print_result(reports.to_json(reports.check_document(results)))
    if any(result.status is CheckStatus.FAILED for result in results):
        raise typer.Exit(ExitCode.FAILED)
