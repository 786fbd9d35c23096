"""The program from its arguments to its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

# Libraries, before any other part loads them whole.
from replicator.config import validation_library  # isort: skip
from replicator.cli import typer_library  # isort: skip

# In the order of the help.
from replicator.cli import service_commands  # isort: skip
from replicator.cli import status_command  # isort: skip
from replicator.cli import replica_commands  # isort: skip
from replicator.cli import drill_command  # isort: skip
from replicator.cli import demo_command  # isort: skip
from replicator.cli.app import ExitCode, app, drop_output, say
from replicator.errors import ConfigError, DamageError, InterruptedTransferError, ReplicatorError
from replicator.service.collector import collect_seldom

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "demo_command",
    "drill_command",
    "main",
    "replica_commands",
    "service_commands",
    "status_command",
    "typer_library",
    "validation_library",
]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit."""
    collect_seldom()
    try:
        app(args=arguments, prog_name="replicator")
    except ConfigError as error:
        problems = [problem for problem in error.problems if problem != str(error)]
        say(f"error: {error}", *(f"  {problem}" for problem in problems), hint=error.hint)
        sys.exit(ExitCode.BAD_CONFIG)
    except DamageError as error:
        say(f"error: {error}", *(f"  {finding}" for finding in error.findings), hint=error.hint)
        sys.exit(ExitCode.DAMAGED)
    except (InterruptedTransferError, KeyboardInterrupt):
        say("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except SystemExit as end:
        # What Typer makes of a KeyboardInterrupt, without a word.
        if end.code == ExitCode.INTERRUPTED:
            say("interrupted")
        raise
    except ReplicatorError as error:
        say(f"error: {error}", hint=error.hint)
        sys.exit(ExitCode.FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        drop_output()
        sys.exit(ExitCode.FAILED)
    sys.exit(ExitCode.DONE)
