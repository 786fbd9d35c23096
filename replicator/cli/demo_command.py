"""The command that shows it all."""

from __future__ import annotations

import typer

from replicator.cli.app import ExitCode, app


@app.command()
def demo() -> None:
    """Show it all on this machine.

    A primary, an SFTP server and the service for half a minute, then a kill and a restore. Nothing to configure,
    everything is removed afterwards.

    \b
    replicator demo
    """
    from replicator.demo.demo import run_demo

    if not run_demo():
        raise typer.Exit(ExitCode.FAILED)
