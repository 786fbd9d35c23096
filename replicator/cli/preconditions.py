"""What `replicator check` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from replicator import reports
from replicator.bootstrap.destinations import connect
from replicator.cli.app import ExitCode, load, print_result
from replicator.service.check import CheckStatus, check_all

if TYPE_CHECKING:
    from pathlib import Path


def tell_preconditions(config: Path, *, as_json: bool) -> None:
    """Try every precondition, and print what came of it as it is known."""
    settings = load(config)
    results = []
    for result in check_all(settings, connect_to=lambda chosen: connect(chosen.url, config=chosen)):
        results.append(result)
        if not as_json:
            print_result(reports.check_line(result))
    if as_json:
        print_result(reports.to_json(reports.check_document(results)))
    if any(result.status is CheckStatus.FAILED for result in results):
        raise typer.Exit(ExitCode.FAILED)
