"""What would be free if links were removed: of files that have all their names there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.held_space import solely_held_bytes

if TYPE_CHECKING:
    from pathlib import Path

SIZE_BYTES = 1 << 20


@pytest.fixture(name="folders")
def make_folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A database with one file, and two folders with links to it."""
    database, one, other = tmp_path / "db", tmp_path / "one", tmp_path / "other"
    for folder in (database, one, other):
        folder.mkdir()
    (database / "000001.sst").write_bytes(os.urandom(SIZE_BYTES))
    for folder in (one, other):
        (folder / "000001.sst").hardlink_to(database / "000001.sst")
    return database, one, other


def test_what_the_primary_has_is_not_held(folders: tuple[Path, Path, Path]) -> None:
    _, one, other = folders
    assert solely_held_bytes([one, other]) == 0


def test_what_the_primary_has_deleted_is_held_by_all_its_links_together(folders: tuple[Path, Path, Path]) -> None:
    database, one, other = folders
    (database / "000001.sst").unlink()
    assert solely_held_bytes([one]) == 0
    assert solely_held_bytes([one, other]) == SIZE_BYTES
    (other / "000001.sst").unlink()
    assert solely_held_bytes([one]) == SIZE_BYTES


def test_copies_are_held(folders: tuple[Path, Path, Path]) -> None:
    _, one, _ = folders
    (one / "000002.log").write_bytes(os.urandom(SIZE_BYTES))
    assert solely_held_bytes([one]) == SIZE_BYTES


def test_a_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert solely_held_bytes([tmp_path / "missing"]) == 0
