"""The program as Typer sees it, its exit codes, and how commands speak to whoever called them."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer

from replicator import __version__
from replicator.config.choices import LogFormat, LogLevel
from replicator.errors import ReplicatorError

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.config.model import Config


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
    from replicator.service.logs import configure_logging

    configure_logging(LogFormat.AUTO, LogLevel.INFO)


def print_result(text: str) -> None:
    """Write a result. A full disk behind a redirection is no bug of ours, and no silent success either."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise ReplicatorError(f"cannot write to standard output: {error.strerror}") from error


def drop_output() -> None:
    """Let the end of the process find no fault in what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str, hint: str = "") -> None:
    """Write to standard error, which is for everything but results."""
    for line in lines:
        typer.echo(line, err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)


def load(path: Path) -> Config:
    """Read the configuration, and log as it says from now on. Raises `ConfigError`."""
    from replicator.config.load import load_config
    from replicator.service.logs import configure_logging

    config = load_config(path)
    configure_logging(config.service.log_format, config.service.log_level)
    return config
