"""The command that tells how the running service fares."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.app import app
from replicator.cli.options import ConfigOption, JsonOption


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
    from replicator.cli.service_status import tell_status

    if watch and as_json:
        raise typer.BadParameter("--watch is for people: ask for --json as often as you need it")
    tell_status(config, watch=watch, as_json=as_json)
