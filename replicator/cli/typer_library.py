"""Typer, without what it starts other programs with: no command has it open an editor or a browser."""

from __future__ import annotations

from replicator.lazy_imports import loaded_on_use

with loaded_on_use("subprocess"):
    import typer

__all__ = ["typer"]
