"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# readable=False: that it cannot be read is said when it is read, with a remedy.
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE", readable=False)
]
OptionalConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The configuration file, for DESTINATION:DATABASE.", metavar="FILE", readable=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        help="sftp://USER@HOST/BASE/DATABASE, file:///BASE/DATABASE, a path, or DESTINATION:DATABASE with -c.",
        metavar="SOURCE",
    ),
]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity-file", "-i", help="The private key for an sftp:// SOURCE.", metavar="FILE"),
]
KnownHostsOption = Annotated[
    Path | None,
    typer.Option("--known-hosts", help="The host keys to trust for an sftp:// SOURCE.", metavar="FILE"),
]
GenerationOption = Annotated[
    str | None,
    typer.Option("--generation", "-g", help="An id, 'current' or 'prev'; default: the current one.", metavar="ID"),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        help="The last state at or before then: 2026-11-24T22:01:02Z, or '10 minutes ago'.",
        metavar="TIME",
    ),
]
