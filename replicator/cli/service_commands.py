"""Commands for the host of the primary: the service, single checkpoints, checks, the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replicator.cli.app import app
from replicator.cli.options import ConfigOption, JsonOption
from replicator.config.choices import Verification


@app.command()
def run(
    config: ConfigOption,
    *,
    once: Annotated[
        bool,
        typer.Option("--once", help="One checkpoint, transfer and mirror pass to every destination, then exit."),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Become the writer of replicas that belong to another writer.")
    ] = False,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Let mirrors remove more than max_delete in this pass.")
    ] = False,
) -> None:
    """Run the service in the foreground.

    Makes a checkpoint of each database on its interval and publishes it at every destination; keeps mirrors equal.
    SIGTERM finishes the current file and stops; a second one stops at once. SIGHUP reads the configuration anew.

    \b
    replicator run -c /etc/replicator/replicator.toml
    replicator run -c /etc/replicator/replicator.toml --once
    replicator run -c /etc/replicator/replicator.toml --once --take-over
    replicator run -c /etc/replicator/replicator.toml --once --allow-deletes
    """
    from replicator.cli.service_run import run_service

    run_service(config, once=once, take_over=take_over, allow_deletes=allow_deletes)


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

    \b
    replicator checkpoint /var/lib/conduwuit /var/lib/conduwuit/checkpoints
    replicator checkpoint /var/lib/conduwuit /var/lib/conduwuit/checkpoints --verify engine
    """
    from replicator.cli.single_checkpoint import make_checkpoint

    make_checkpoint(db_path, checkpoint_root, verify)


@app.command()
def check(config: ConfigOption, *, as_json: JsonOption = False) -> None:
    """Try every precondition, with remedies.

    One line each: OK, WARN or FAILED, and what to do. Ends with 1 if one FAILED. A running service is not
    disturbed.

    \b
    replicator check -c /etc/replicator/replicator.toml
    replicator check -c /etc/replicator/replicator.toml --json
    """
    from replicator.cli.preconditions import tell_preconditions

    tell_preconditions(config, as_json=as_json)
