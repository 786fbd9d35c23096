"""The command line. The only place that exits: everything else raises, and here errors become exit codes."""

from __future__ import annotations

import os
import sys
import threading
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import structlog
import typer

from replicator import __version__, reports
from replicator.bootstrap import COPY_CHECKS, build_service, connect
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.cli_options import (
    ConfigOption,
    GenerationOption,
    IdentityOption,
    JsonOption,
    KnownHostsOption,
    OptionalConfigOption,
    SourceArgument,
)
from replicator.config import Config, LogFormat, LogLevel, Verification, load_config
from replicator.errors import (
    ConfigError,
    DamageError,
    InterruptedTransferError,
    NotFoundError,
    ReplicatorError,
)
from replicator.locator import LocatedSource, NamedSource, hide_password, parse_source
from replicator.progress import ProgressDisplay
from replicator.replica.generations import choose_generation, generation_ids, list_generations
from replicator.replica.layout import ReplicaLayout
from replicator.replica.restore import plan_restore, restore
from replicator.replica.verify import verify_generation
from replicator.service.check import CheckStatus, check_all
from replicator.service.destination_worker import StopObserver
from replicator.service.lock import hold_checkpoint_root
from replicator.service.logs import configure_logging
from replicator.service.signals import SignalWatcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.destination.interface import Destination

_log = structlog.get_logger()


class ExitCode(IntEnum):
    """What the exit codes mean; scripts rely on them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    DAMAGED = 4
    BAD_CONFIG = 78
    INTERRUPTED = 130


app = typer.Typer(
    name="replicator",
    help="Continuous replication for the RocksDB databases of applications that nobody wants to modify.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"replicator {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Continuous replication for the RocksDB databases of applications that nobody wants to modify."""


@app.command()
def run(
    config: ConfigOption,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="One checkpoint and transfer to every destination, then exit.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Become the writer of replicas that belong to another writer.")
    ] = False,
) -> None:
    """Run the service in the foreground.

    Makes a checkpoint of each database on its interval and publishes it at every destination. SIGTERM finishes
    the current file and stops; a second one stops at once.
    """
    settings = _load(config)
    if take_over and not once:
        raise typer.BadParameter("--take-over goes with --once: take over once, then run the service as always")
    for warning in settings.warnings:
        _log.warning("config.no_effect", key=warning)
    stop = threading.Event()
    signals = SignalWatcher(stop.set)
    with ProgressDisplay() as display:
        service = build_service(settings, config, stop=stop, display=display, take_over=take_over)
        if once:
            summary = service.run_once()
            if summary.failed:
                raise typer.Exit(ExitCode.PARTLY if summary.done else ExitCode.FAILED)
        else:
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
    _print(reports.captured_text(captured, str(root.current)))


@app.command()
def check(config: ConfigOption, *, as_json: JsonOption = False) -> None:
    """Try every precondition, with remedies.

    One line each: OK, WARN or FAILED, and what to do. Ends with 1 if one FAILED. A running service is not
    disturbed.
    """
    settings = _load(config)
    results = []
    for result in check_all(settings, connect_to=lambda chosen: connect(chosen.url, config=chosen)):
        results.append(result)
        if not as_json:
            _print(reports.check_line(result))
    if as_json:
        _print(reports.to_json(reports.check_document(results)))
    if any(result.status is CheckStatus.FAILED for result in results):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def generations(
    source: SourceArgument,
    *,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""List the generations at SOURCE, oldest first.

    \b
    replicator generations sftp://replica@standby.example.org/srv/replica/conduwuit
    replicator generations standby:conduwuit -c /etc/replicator/replicator.toml
    """
    destination, layout = _open_source(source, config, identity_file, known_hosts)
    with destination:
        found = list_generations(destination, layout)
    _print(reports.to_json(reports.generations_document(found)) if as_json else reports.generations_text(found))


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

    Sizes, SHA-256 of every file, structure of MANIFEST and write-ahead logs. Ends with 4 if anything is damaged.
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
                _say(f"note: generation {chosen} was retired meanwhile")
    _print(reports.to_json(reports.verified_document(results)) if as_json else reports.verified_text(results))
    if any(result.findings for result in results):
        raise typer.Exit(ExitCode.DAMAGED)


@app.command("restore")
def restore_command(  # noqa: PLR0913 - options of a command
    source: SourceArgument,
    target: Annotated[Path, typer.Argument(help="The folder that becomes the database.", metavar="TARGET")],
    *,
    generation: GenerationOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the database that is in TARGET.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Restore a generation to TARGET, ready to be opened.

    Every byte is checked against the catalog's SHA-256; CURRENT is written last. A restore that broke off goes on
    where it was when the same command is given again.

    \b
    replicator restore sftp://replica@standby.example.org/srv/replica/conduwuit /var/lib/conduwuit
    """
    destination, layout = _open_source(source, config, identity_file, known_hosts)
    with destination, ProgressDisplay() as display:
        plan = plan_restore(destination, layout, target.absolute(), wanted=generation, force=force)
        if plan.note:
            _say(f"note: {plan.note}")
        if dry_run:
            _print(
                reports.to_json(reports.restore_plan_document(plan))
                if as_json
                else reports.restore_plan_text(plan)
            )
            return
        with display.transfer("restore", StopObserver(threading.Event())) as line:
            line.expect(files=len(plan.fetch), size_bytes=plan.fetch_bytes)
            restored = restore(plan, destination, line)
    _print(reports.to_json(reports.restored_document(restored)) if as_json else reports.restored_text(restored))


@app.command()
def demo() -> None:
    """Show it all on this machine.

    A primary, an SFTP server and the service for half a minute, then a kill and a restore. Nothing to configure,
    everything is removed afterwards.
    """
    from replicator.demo.demo import run_demo  # noqa: PLC0415 - loads an engine and a server that nothing else needs

    if not run_demo():
        raise typer.Exit(ExitCode.FAILED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit."""
    configure_logging(LogFormat.AUTO, LogLevel.INFO)
    try:
        app(args=arguments, prog_name="replicator")
    except ConfigError as error:
        problems = [problem for problem in error.problems if problem != str(error)]
        _say(f"error: {error}", *(f"  {problem}" for problem in problems), hint=error.hint)
        sys.exit(ExitCode.BAD_CONFIG)
    except DamageError as error:
        _say(f"error: {error}", *(f"  {finding}" for finding in error.findings), hint=error.hint)
        sys.exit(ExitCode.DAMAGED)
    except (InterruptedTransferError, KeyboardInterrupt):
        _say("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except SystemExit as end:
        # What Typer makes of a KeyboardInterrupt, without a word.
        if end.code == ExitCode.INTERRUPTED:
            _say("interrupted")
        raise
    except ReplicatorError as error:
        _say(f"error: {error}", hint=error.hint)
        sys.exit(ExitCode.FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        _drop_output()
        sys.exit(ExitCode.FAILED)
    sys.exit(ExitCode.DONE)


def _print(text: str) -> None:
    """Write a result. A full disk behind a redirection is no bug of ours, and no silent success either."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise ReplicatorError(f"cannot write to standard output: {error.strerror}") from error


def _drop_output() -> None:
    """Let the end of the process find no fault in what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(*lines: str, hint: str = "") -> None:
    for line in lines:
        typer.echo(line, err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)


def _load(path: Path) -> Config:
    config = load_config(path)
    configure_logging(config.service.log_format, config.service.log_level)
    return config


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
    chosen = _load(config_path).destination(source.destination)
    return connect(chosen.url, config=chosen), ReplicaLayout(source.database)
