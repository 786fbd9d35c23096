"""What `replicator run` does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog
import typer

from replicator.bootstrap.ahead import ConnectionsAhead
from replicator.cli.app import ExitCode, load
from replicator.service.signals import SignalWatcher

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger()


def run_service(config: Path, *, once: bool, take_over: bool, allow_deletes: bool) -> None:
    """Run the service until it is stopped, or for one pass."""
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
    with ConnectionsAhead.of_mirrors(settings) if once else ConnectionsAhead() as ahead:
        # What this loads takes about as long as a login.
        from replicator.bootstrap.service import build_service
        from replicator.progress import ProgressDisplay
        from replicator.service.systemd import ServiceManager

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
                ahead=ahead,
            )
            if once:
                summary = service.run_once()
                if summary.failed or summary.partly:
                    raise typer.Exit(ExitCode.PARTLY if summary.done or summary.partly else ExitCode.FAILED)
            else:
                from replicator.service.reload import Reloader

                reloader = Reloader(settings, config, apply=service.reconfigure, manager=manager)
                signals.on_reload = reloader.reload
                service.run()
    if signals.received is not None and signals.received.name == "SIGINT":
        raise typer.Exit(ExitCode.INTERRUPTED)
