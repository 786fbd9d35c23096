"""Mirrors of many small files, by the program, to a real OpenSSH server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.mirroring import mirrored
from tests.support.program import run_program
from tests.support.trees import differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mirroring import Mirrored


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirrored]:
    with mirrored(tmp_path) as found:
        yield found


def fill(folder: Path, folders: int, files: int = 3) -> None:
    """Make folders of small files, one below the other and side by side."""
    for number in range(folders):
        inner = folder / f"{number}" / "inner"
        inner.mkdir(parents=True)
        for name in range(files):
            (inner / f"{name}").write_text(f"{number} {name}")
        (folder / f"lowest {number}").mkdir()
        (folder / f"lowest {number}" / "file").write_text("at the top")


def age(top: Path) -> None:
    """Give all names a time long ago, the lowest first: nothing is equal by chance."""
    for folder, folders, files in os.walk(top, topdown=False):
        for name in (*files, *folders):
            os.utime(Path(folder) / name, (10**9, 10**9))
    os.utime(top, (10**9, 10**9))


def test_folders_above_those_that_come_as_a_whole_keep_their_times(mirror: Mirrored) -> None:
    fill(mirror.source, 5)
    age(mirror.source)
    run_program("run", "-c", mirror.config, "--once")
    assert differences(mirror.source, mirror.target) == []
    fill(mirror.source / "3" / "inner" / "more", 2)
    age(mirror.source)
    run_program("run", "-c", mirror.config, "--once")
    assert differences(mirror.source, mirror.target) == []


def test_a_file_that_was_not_sent_leaves_no_folder_half_there(mirror: Mirrored) -> None:
    fill(mirror.source, 2)
    secret = mirror.source / "1" / "inner" / "2"
    secret.unlink()
    os.mkfifo(secret)
    age(mirror.source)
    run_program("run", "-c", mirror.config, "--once")
    secret.unlink()
    assert {path.name for path in (mirror.target / "1" / "inner").iterdir()} == {"0", "1"}
    assert not list(mirror.target.parent.glob(".replicator-mirror-*/parts-*/*"))
