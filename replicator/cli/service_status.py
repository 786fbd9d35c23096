"""What `replicator status` does."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import typer

from replicator import reports
from replicator.cli.app import ExitCode, load, print_result
from replicator.cli.status_report import StatusReport, judge, status_document, status_text
from replicator.interruption import Interruption
from replicator.service.mirror_status import mirrors_as_configured
from replicator.service.state_file import read_state
from replicator.service.status import as_configured
from replicator.service.watched import watched_databases, watched_mirrors

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.config.model import Config

_EVERY_SECONDS: Final = 1.0


def tell_status(config: Path, *, watch: bool, as_json: bool) -> None:
    """Print how the service fares, once or until Ctrl-C."""
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
    return StatusReport(verdict, state, as_configured(known, watched_databases(settings)), now_seconds, mirrors)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
