"""Commands that read replicas: what is there, is it sound, give it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replicator.cli.app import app
from replicator.cli.options import (
    AtOption,
    GenerationOption,
    IdentityOption,
    JsonOption,
    KnownHostsOption,
    OptionalConfigOption,
    SourceArgument,
)


@app.command()
def generations(
    source: SourceArgument,
    *,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the generations at SOURCE, oldest first.

    \b
    replicator generations sftp://replica@standby.example.org/srv/replica/conduwuit
    replicator generations standby:conduwuit -c /etc/replicator/replicator.toml
    """
    from replicator.cli.replicas import Source, tell_generations

    tell_generations(Source(source, config, identity_file, known_hosts), as_json=as_json)


@app.command()
def verify(  # noqa: PLR0913 - options of a command
    source: SourceArgument,
    *,
    generation: GenerationOption = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every generation.")] = False,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a generation and check every byte.

    Sizes, SHA-256 of every file and of all that was shipped, structure of MANIFEST and write-ahead logs. Ends
    with 4 if anything is damaged.

    \b
    replicator verify sftp://replica@standby.example.org/srv/replica/conduwuit
    replicator verify standby:conduwuit --all -c /etc/replicator/replicator.toml
    replicator verify /srv/replica/conduwuit --generation prev
    """
    from replicator.cli.replicas import Source, verify_replica

    if every and generation:
        raise typer.BadParameter("--all and --generation exclude each other")
    verify_replica(Source(source, config, identity_file, known_hosts), generation, every=every, as_json=as_json)


@app.command("restore")
def restore_command(  # noqa: PLR0913 - options of a command
    source: SourceArgument,
    target: Annotated[Path, typer.Argument(help="The folder that becomes the database.", metavar="TARGET")],
    *,
    generation: GenerationOption = None,
    at: AtOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the database that is in TARGET.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    config: OptionalConfigOption = None,
    identity_file: IdentityOption = None,
    known_hosts: KnownHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a generation to TARGET, ready to be opened.

    Its newest state is restored, with all that was shipped to it; with --at an earlier one, of any generation.
    Every byte is checked against a SHA-256; CURRENT is written last. A restore that broke off goes on where it was
    when the same command is given again.

    \b
    replicator restore sftp://replica@standby.example.org/srv/replica/conduwuit /var/lib/conduwuit
    replicator restore /srv/replica/conduwuit /tmp/before --at "10 minutes ago"
    replicator restore /srv/replica/conduwuit /tmp/before --at 2026-11-24T22:01:02Z
    """
    from replicator.cli.replicas import Source, restore_replica

    if at is not None and generation is not None:
        raise typer.BadParameter("--at and --generation exclude each other")
    restore_replica(
        Source(source, config, identity_file, known_hosts),
        target,
        wanted=generation,
        at=at,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
    )
