"""What the commands that read replicas do."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from replicator import reports
from replicator.bootstrap.destinations import connect
from replicator.cli.app import ExitCode, load, print_result, say
from replicator.errors import NotFoundError
from replicator.locator import LocatedSource, NamedSource, hide_password, parse_source
from replicator.moments import parse_moment
from replicator.progress import ProgressDisplay
from replicator.replica.generations import choose_generation, generation_ids, list_generations
from replicator.replica.layout import ReplicaLayout
from replicator.replica.restore import plan_restore, restore
from replicator.replica.verify import verify_generation
from replicator.service.destination_worker import StopObserver

if TYPE_CHECKING:
    from replicator.destination.interface import Destination


@dataclass(frozen=True, slots=True)
class Source:
    """Where a replica is, as given on the command line, and how to get there."""

    text: str
    config: Path | None
    identity_file: Path | None
    known_hosts: Path | None

    def open(self) -> tuple[Destination, ReplicaLayout]:
        """Connect; return the destination, and where the replica is there."""
        try:
            source = parse_source(self.text, working_folder=Path.cwd())
        except ValueError as error:
            raise typer.BadParameter(f"SOURCE {hide_password(self.text)!r} {error}") from error
        if isinstance(source, LocatedSource):
            destination = connect(source.url, identity_file=self.identity_file, known_hosts=self.known_hosts)
            return destination, ReplicaLayout(source.database)
        return self._open_named(source)

    def _open_named(self, source: NamedSource) -> tuple[Destination, ReplicaLayout]:
        if self.config is None:
            raise typer.BadParameter(
                f"{source.destination}:{source.database} names a destination of a configuration: add -c FILE"
            )
        chosen = load(self.config).destination(source.destination)
        return connect(chosen.url, config=chosen), ReplicaLayout(source.database)


def tell_generations(source: Source, *, as_json: bool) -> None:
    """Print all generations."""
    destination, layout = source.open()
    with destination:
        found = list_generations(destination, layout)
    print_result(
        reports.to_json(reports.generations_document(found)) if as_json else reports.generations_text(found)
    )


def verify_replica(source: Source, generation: str | None, *, every: bool, as_json: bool) -> None:
    """Read one generation, or every one, and print what is wrong with it."""
    destination, layout = source.open()
    observer = StopObserver(threading.Event())
    with destination, ProgressDisplay() as display:
        ids = (
            generation_ids(destination, layout.generations)
            if every
            else [choose_generation(destination, layout, generation).id]
        )
        results = []
        for chosen in ids:
            try:
                with display.transfer(f"verify {chosen}", observer) as line:
                    results.append(verify_generation(destination, layout, chosen, line))
            except NotFoundError:
                if not every:
                    raise
                say(f"note: generation {chosen} was retired meanwhile")
    print_result(
        reports.to_json(reports.verified_document(results)) if as_json else reports.verified_text(results)
    )
    if any(result.findings for result in results):
        raise typer.Exit(ExitCode.DAMAGED)


def restore_replica(  # noqa: PLR0913 - options of a command
    source: Source,
    target: Path,
    *,
    wanted: str | None,
    at: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restore to `target`, or say what would be done."""
    moment = None if at is None else _parse_at(at)
    destination, layout = source.open()
    with destination, ProgressDisplay() as display:
        plan = plan_restore(destination, layout, target.absolute(), wanted=wanted, at=moment, force=force)
        if plan.note:
            say(f"note: {plan.note}")
        if dry_run:
            print_result(
                reports.to_json(reports.restore_plan_document(plan))
                if as_json
                else reports.restore_plan_text(plan)
            )
            return
        with display.transfer("restore", StopObserver(threading.Event())) as line:
            line.expect(files=len(plan.fetch), size_bytes=plan.fetch_bytes)
            restored = restore(plan, destination, line)
    print_result(
        reports.to_json(reports.restored_document(restored)) if as_json else reports.restored_text(restored)
    )


def _parse_at(text: str) -> datetime:
    try:
        return parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(f"--at {text!r} {error}") from error
