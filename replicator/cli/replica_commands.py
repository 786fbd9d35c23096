"""Commands that read replicas: what is there, is it sound, give it back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator import reports
from replicator.bootstrap import connect
from replicator.cli.app import ExitCode, app, load, print_result, say
from replicator.cli.options import (
    AtOption,
    GenerationOption,
    IdentityOption,
    JsonOption,
    KnownHostsOption,
    OptionalConfigOption,
    SourceArgument,
)
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


@app.command()
def generations(
    source: SourceArgument,
    *,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the generations at SOURCE, oldest first.

    \b
    replicator generations sftp://replica@standby.example.org/srv/replica/conduwuit
    replicator generations standby:conduwuit -c /etc/replicator/replicator.toml
    """
    destination, layout = _open_source(source, config, identity_file, known_hosts)
    with destination:
        found = list_generations(destination, layout)
    print_result(
        reports.to_json(reports.generations_document(found)) if as_json else reports.generations_text(found)
    )


@app.command()
def verify(  # noqa: PLR0913 - options of a command
    source: SourceArgument,
    *,
    generation: GenerationOption = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every generation.")] = False,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a generation and check every byte.

    Sizes, SHA-256 of every file and of all that was shipped, structure of MANIFEST and write-ahead logs. Ends
    with 4 if anything is damaged.

    \b
    replicator verify sftp://replica@standby.example.org/srv/replica/conduwuit
    replicator verify standby:conduwuit --all -c /etc/replicator/replicator.toml
    replicator verify /srv/replica/conduwuit --generation prev
    """
    if every and generation:
        raise typer.BadParameter("--all and --generation exclude each other")
    destination, layout = _open_source(source, config, identity_file, known_hosts)
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


@app.command("restore")
def restore_command(  # noqa: PLR0913 - options of a command
    source: SourceArgument,
    target: Annotated[Path, typer.Argument(help="The folder that becomes the database.", metavar="TARGET")],
    *,
    generation: GenerationOption = None,
    at: AtOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the database that is in TARGET.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a generation to TARGET, ready to be opened.

    Its newest state is restored, with all that was shipped to it; with --at an earlier one, of any generation.
    Every byte is checked against a SHA-256; CURRENT is written last. A restore that broke off goes on where it was
    when the same command is given again.

    \b
    replicator restore sftp://replica@standby.example.org/srv/replica/conduwuit /var/lib/conduwuit
    replicator restore /srv/replica/conduwuit /tmp/before --at "10 minutes ago"
    replicator restore /srv/replica/conduwuit /tmp/before --at 2026-11-24T22:01:02Z
    """
    if at is not None and generation is not None:
        raise typer.BadParameter("--at and --generation exclude each other")
    moment = None if at is None else _parse_at(at)
    destination, layout = _open_source(source, config, identity_file, known_hosts)
    with destination, ProgressDisplay() as display:
        plan = plan_restore(destination, layout, target.absolute(), wanted=generation, at=moment, force=force)
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


def _open_source(
    text: str, config_path: Path | None, identity_file: Path | None, known_hosts: Path | None
) -> tuple[Destination, ReplicaLayout]:
    try:
        source = parse_source(text, working_folder=Path.cwd())
    except ValueError as error:
        raise typer.BadParameter(f"SOURCE {hide_password(text)!r} {error}") from error
    if isinstance(source, LocatedSource):
        destination = connect(source.url, identity_file=identity_file, known_hosts=known_hosts)
        return destination, ReplicaLayout(source.database)
    return _open_named(source, config_path)


def _open_named(source: NamedSource, config_path: Path | None) -> tuple[Destination, ReplicaLayout]:
    if config_path is None:
        raise typer.BadParameter(
            f"{source.destination}:{source.database} names a destination of a configuration: add -c FILE"
        )
    chosen = load(config_path).destination(source.destination)
    return connect(chosen.url, config=chosen), ReplicaLayout(source.database)
