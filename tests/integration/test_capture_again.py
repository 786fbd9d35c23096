"""Capturing again and again from one process: what is known is not listed or linked again, and stays right."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.rotation import CheckpointRoot
from tests.support.handmade import Calls, HandmadeDatabase

if TYPE_CHECKING:
    from pathlib import Path


class Captures:
    """A database that grows by a table before each checkpoint."""

    def __init__(self, tmp_path: Path) -> None:
        self.database = HandmadeDatabase(tmp_path / "db")
        self.database.flush(10, (1, 1), 4)
        self.database.sequence = 1
        self.database.create_wal(4)
        self.root = CheckpointRoot(tmp_path / "root")
        self.root.create()
        self.capture = Capture(tmp_path / "db", self.root)
        self._table = 10

    def flush(self) -> None:
        self._table += 1
        self.database.write(4)
        self.database.flush(self._table, (self.database.sequence, self.database.sequence), 4)

    def make(self) -> None:
        """Make a checkpoint, and compare it with the database."""
        self.capture.make()
        inspect_checkpoint(self.root.current)
        live = {path.name for path in self.database.path.glob("*.sst")}
        assert {path.name for path in self.root.current.glob("*.sst")} == live
        assert all((self.root.current / name).samefile(self.database.path / name) for name in live)


@pytest.fixture
def captures(tmp_path: Path) -> Captures:
    captures = Captures(tmp_path)
    for _ in range(4):
        captures.flush()
        captures.make()
    return captures


def test_a_database_that_rests_is_not_listed_again_nor_is_staging(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = time.time() - 5
    os.utime(captures.database.path, (long_ago, long_ago))
    for _ in range(3):
        captures.make()
    listed = Calls(monkeypatch, os, "scandir")
    linked = Calls(monkeypatch, os, "link")
    captures.capture.make()
    assert (listed.count, linked.count) == (0, 0)
    monkeypatch.undo()
    captures.flush()
    captures.make()


def test_a_new_table_is_linked_to_each_folder_once(captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    """The links stay in three folders, which take turns."""
    for _ in range(3):
        captures.make()
    captures.flush()
    linked = Calls(monkeypatch, os, "link")
    for _ in range(5):
        captures.capture.make()
    assert linked.count == 3


@pytest.mark.parametrize("meddling", ["removed", "replaced", "added"])
@pytest.mark.parametrize("folder", ["checkpoint_current", "checkpoint_prev", "checkpoint_staging"])
def test_what_somebody_did_to_a_checkpoint_does_not_get_into_a_later_one(
    captures: Captures, folder: str, meddling: str
) -> None:
    place = captures.root.path / folder
    if meddling == "removed":
        (place / "000010.sst").unlink()
    elif meddling == "replaced":
        (place / "000010.sst").unlink()
        (place / "000010.sst").write_bytes(b"not a table")
    else:
        (place / "000777.sst").write_bytes(b"not a table")
        (place / "notes.txt").write_bytes(b"not a database file")
    captures.capture.close() if folder == "checkpoint_staging" else None
    for _ in range(4):
        captures.make()
        assert not (captures.root.current / "notes.txt").exists()


def test_a_table_that_is_replaced_by_another_of_its_name_is_linked_anew(captures: Captures) -> None:
    """As when an older state of the database is put back."""
    table = captures.database.path / "000011.sst"
    content = table.read_bytes()
    table.unlink()
    table.write_bytes(content)
    for _ in range(4):
        captures.make()


def test_an_output_of_a_compaction_that_goes_live_later_is_there(captures: Captures) -> None:
    """Its file was there before, and let go of again: nothing in the folder changes when the MANIFEST names it."""
    early = captures.database.path / "000050.sst"
    early.write_bytes((captures.database.path / "000012.sst").read_bytes())
    long_ago = time.time() - 5
    os.utime(captures.database.path, (long_ago, long_ago))
    captures.capture.make()
    assert not (captures.root.current / early.name).exists()
    captures.database.write(4)
    captures.database.flush(50, (captures.database.sequence, captures.database.sequence), 4)
    assert captures.database.path.stat().st_mtime == pytest.approx(long_ago)
    captures.make()
    assert (captures.root.current / early.name).exists()
