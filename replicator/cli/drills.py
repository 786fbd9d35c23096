"""What `replicator drill` does."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from replicator import reports
from replicator.bootstrap.destinations import connect, rate_limiter
from replicator.bootstrap.drills import drill_pairs
from replicator.cli.app import ExitCode, load, print_result
from replicator.cli.drill_report import drills_document, drills_text
from replicator.errors import DamageError
from replicator.interruption import Interruption
from replicator.progress import ProgressDisplay
from replicator.service.destination_worker import StopObserver
from replicator.service.drill import Sound, drill, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from replicator.service.drill import Drilled, DrillPair


def drill_replicas(config: Path, destination: str | None, folder: Path | None, *, as_json: bool) -> None:
    """Drill every replica, or those at one destination, and print what came of it."""
    settings = load(config)
    if destination is not None:
        settings.destination(destination)  # raises if there is none of that name
    pairs = drill_pairs(
        settings,
        lambda chosen: connect(chosen.url, config=chosen, limiter=rate_limiter(chosen)),
        only=destination,
    )
    if not pairs:
        raise typer.BadParameter(f"no database of the configuration is sent to {destination}")
    drills = _drill_all(pairs, folder.absolute() if folder else settings.service.drill_folder)
    print_result(reports.to_json(drills_document(drills)) if as_json else drills_text(drills))
    _end_with(drills)


def _drill_all(pairs: Sequence[DrillPair], folder: Path | None) -> list[Drilled]:
    drills = []
    with Interruption() as interruption, ProgressDisplay() as display:

        @contextmanager
        def scratch() -> Iterator[Path]:
            with scratch_folder(folder) as path, interruption.heeded():
                yield path

        for pair in pairs:
            observer = StopObserver(threading.Event())
            with display.transfer(f"{pair.database} <- {pair.destination}", observer) as line:
                drills.append(
                    drill(
                        pair,
                        scratch,
                        line,
                        planned=lambda plan: line.expect(files=len(plan.fetch), size_bytes=plan.fetch_bytes),
                    )
                )
    return drills


def _end_with(drills: Sequence[Drilled]) -> None:
    failures = [drilled.outcome for drilled in drills if not isinstance(drilled.outcome, Sound)]
    if any(isinstance(failure, DamageError) for failure in failures):
        raise typer.Exit(ExitCode.DAMAGED)
    if failures:
        raise typer.Exit(ExitCode.PARTLY if len(failures) < len(drills) else ExitCode.FAILED)
