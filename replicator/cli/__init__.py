"""The command line. The only place that exits: everything else raises, and here errors become exit codes."""

from __future__ import annotations

from replicator.cli.main import main

__all__ = ["main"]
