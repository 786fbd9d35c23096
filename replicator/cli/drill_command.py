"""The command that finds out whether a restore would work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replicator.cli.app import app
from replicator.cli.options import ConfigOption, JsonOption


@app.command("drill")
def drill_command(
    config: ConfigOption,
    *,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", help="Only what is at this one.", metavar="NAME")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Where to restore to; default: drill_folder, or as for temporary files.",
            metavar="DIR",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Restore each replica to a temporary folder, and check it.

    Checks every SHA-256 and every record of MANIFEST and write-ahead logs, and has RocksDB open it, unless a newer
    one wrote it. LOSS is what would be gone if the source had died when the drill began. A running service is not
    disturbed, and nothing is left behind. Ends with 3 if some drills failed, 1 if all did, 4 if there is damage.

    \b
    replicator drill -c /etc/replicator/replicator.toml
    replicator drill -c /etc/replicator/replicator.toml --destination standby --folder /var/tmp
    """
    from replicator.cli.drills import drill_replicas

    drill_replicas(config, destination, folder, as_json=as_json)
