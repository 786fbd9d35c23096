"""What `replicator checkpoint` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from replicator import reports
from replicator.bootstrap.copy_checks import COPY_CHECKS
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.cli.app import print_result
from replicator.service.lock import hold_checkpoint_root

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.config.choices import Verification


def make_checkpoint(db_path: Path, checkpoint_root: Path, verify: Verification) -> None:
    """Make one checkpoint, and say what it consists of."""
    if db_path.resolve().is_relative_to(checkpoint_root.resolve()):
        raise typer.BadParameter(
            f"CHECKPOINT_ROOT {checkpoint_root} must not be the database's folder or one above it"
        )
    DatabaseFolder(db_path).manifest_name()  # nothing is made for a path that is not a database's
    root = CheckpointRoot(checkpoint_root.absolute())
    root.create()
    with hold_checkpoint_root(root.path):
        root.recover()
        captured = Capture(db_path.absolute(), root, COPY_CHECKS[verify]).make()
        root.discard_staging()
    print_result(reports.captured_text(captured, str(root.current)))
