"""Databases that hold still: written by a real primary that has ended, and so the same at every look."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from tests.support.primaries import MEBIBYTE, Primary

if TYPE_CHECKING:
    from pathlib import Path

BATCHES_BEFORE = 1500
BATCHES_AFTER = 3000


@dataclass(frozen=True, slots=True)
class TwoStates:
    """One database at two times. The later one has all SSTs of the earlier one, and some more.

    Each has some 10 MiB in SSTs of up to 1 MiB more than the one before, and a write-ahead log.
    """

    before: Path
    after: Path

    def begin(self, path: Path) -> Path:
        """Make `path` the database as it was before."""
        shutil.copytree(self.before, path)
        return path

    def go_on(self, path: Path) -> None:
        """Make `path` the database as it is afterwards."""
        for source in self.after.iterdir():
            if not (source.suffix == ".sst" and (path / source.name).exists()):
                shutil.copyfile(source, path / source.name)
        for old in {entry.name for entry in path.iterdir()} - {entry.name for entry in self.after.iterdir()}:
            (path / old).unlink()


def make_two_states(folder: Path) -> TwoStates:
    """Let a primary write, stop, and write on."""
    settings = PrimarySettings(
        layout=Layout(value_bytes=2000),
        write_buffer_bytes=MEBIBYTE,
        family_options={"disable_auto_compactions": "true"},
    )
    states = TwoStates(folder / "before", folder / "after")
    write_batches(states.before, settings, BATCHES_BEFORE)
    shutil.copytree(states.before, states.after)
    write_batches(states.after, settings, BATCHES_AFTER)
    return states


def write_batches(path: Path, settings: PrimarySettings, count: int) -> None:
    """Let a primary write up to batch `count` and end in order."""
    limited = PrimarySettings(
        layout=settings.layout,
        write_buffer_bytes=settings.write_buffer_bytes,
        max_batches=count,
        compact_every=settings.compact_every,
        database_options=settings.database_options,
        family_options=settings.family_options,
        table_options=settings.table_options,
    )
    primary = Primary(path, limited)
    try:
        primary.start()
        primary.wait_for(count)
        primary.stop()
    finally:
        primary.close()
