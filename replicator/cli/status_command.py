"""The command that tells how the running service fares."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Annotated, Final

import typer

from replicator import reports
from replicator.bootstrap import watched
from replicator.cli.app import ExitCode, app, load, print_result
from replicator.cli.options import ConfigOption, JsonOption
from replicator.cli.status_report import StatusReport, judge, status_document, status_text
from replicator.config import Config
from replicator.interruption import Interruption
from replicator.service.mirror_status import mirrors_as_configured
from replicator.service.mirrors import watched_mirrors
from replicator.service.state_file import read_state
from replicator.service.status import as_configured

_EVERY_SECONDS: Final = 1.0


@app.command()
def status(
    config: ConfigOption,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the service does, and how old the replicas are.

    A line for each database or mirror, and destination; what failed stands below, with the next try. Ends with 1
    if the service does not run; what it told last is shown all the same.

    \b
    replicator status -c /etc/replicator/replicator.toml
    replicator status -c /etc/replicator/replicator.toml --watch
    replicator status -c /etc/replicator/replicator.toml --json
    """
    if watch and as_json:
        raise typer.BadParameter("--watch is for people: ask for --json as often as you need it")
    settings = load(config)
    if watch:
        _watch(settings)
        return
    report = _report(settings)
    print_result(reports.to_json(status_document(report)) if as_json else status_text(report))
    if not report.verdict.running:
        raise typer.Exit(ExitCode.FAILED)


def _watch(settings: Config) -> None:
    is_terminal = sys.stdout.isatty()
    with Interruption() as interruption, suppress(KeyboardInterrupt):
        while True:
            text = status_text(_report(settings))
            # From the top left on; what is left of the last one, line by line and below, is cleared.
            shown = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J" if is_terminal else f"{text}\n"
            print_result(shown)
            interruption.pause(_EVERY_SECONDS)


def _report(settings: Config) -> StatusReport:
    state_dir = settings.service.state_dir
    state = read_state(state_dir)
    now_seconds = time.time()
    verdict = judge(
        state,
        state_dir,
        now_seconds=now_seconds,
        process_exists=state is not None and _process_exists(state.pid),
    )
    known = state.databases if state else ()
    mirrors = mirrors_as_configured(state.mirrors if state else (), watched_mirrors(settings))
    return StatusReport(verdict, state, as_configured(known, watched(settings)), now_seconds, mirrors)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
