"""The command that finds out whether a restore would work."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator import reports
from replicator.bootstrap import connect, drill_pairs, rate_limiter
from replicator.cli.app import ExitCode, app, load, print_result
from replicator.cli.drill_report import drills_document, drills_text
from replicator.cli.options import ConfigOption, JsonOption
from replicator.errors import DamageError
from replicator.interruption import Interruption
from replicator.progress import ProgressDisplay
from replicator.service.destination_worker import StopObserver
from replicator.service.drill import Sound, drill, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicator.service.drill import Drilled, DrillPair


@app.command("drill")
def drill_command(
    config: ConfigOption,
    *,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", help="Only what is at this one.", metavar="NAME")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Where to restore to; default: drill_folder, or as for temporary files.",
            metavar="DIR",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Restore each replica to a temporary folder, and check it.

    Checks every SHA-256 and every record of MANIFEST and write-ahead logs, and has RocksDB open it, unless a newer
    one wrote it. LOSS is what would be gone if the source had died when the drill began. A running service is not
    disturbed, and nothing is left behind. Ends with 3 if some drills failed, 1 if all did, 4 if there is damage.

    \b
    replicator drill -c /etc/replicator/replicator.toml
    replicator drill -c /etc/replicator/replicator.toml --destination standby --folder /var/tmp
    """
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
