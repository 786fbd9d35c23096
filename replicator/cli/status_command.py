"""The command that tells how the running service fares."""

from __future__ import annotations

import os
import time

import typer

from replicator import reports
from replicator.bootstrap import watched
from replicator.cli.app import ExitCode, app, load, print_result
from replicator.cli.options import ConfigOption, JsonOption
from replicator.cli.status_report import StatusReport, judge, status_document, status_text
from replicator.service.mirror_status import mirrors_as_configured
from replicator.service.mirrors import watched_mirrors
from replicator.service.state_file import read_state
from replicator.service.status import as_configured


@app.command()
def status(config: ConfigOption, *, as_json: JsonOption = False) -> None:
    """Show what the service does, and how old the replicas are.

    A line for each database or mirror, and destination; what failed stands below, with the next try. Ends with 1
    if the service does not run; what it told last is shown all the same.
    """
    settings = load(config)
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
    report = StatusReport(verdict, state, as_configured(known, watched(settings)), now_seconds, mirrors)
    print_result(reports.to_json(status_document(report)) if as_json else status_text(report))
    if not verdict.running:
        raise typer.Exit(ExitCode.FAILED)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
