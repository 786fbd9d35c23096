"""Names of every kind on every way that they take to a real OpenSSH server: compared, noticed, moved, deleted."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import SMALL_FILE_BYTES
from tests.support.mirroring import mirrored
from tests.support.program import RunningProgram, run_program
from tests.support.trees import differences, look_at, wait_until_equal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mirroring import Mirrored

NAMES = [
    "-rf",
    "--",
    " ",
    " leading and trailing ",
    "new\nline",
    "\n",
    "\r\t\x01\x7f",
    "*",
    "[a]?",
    "a\\b",
    "'\"$`;|&",
    "..a",
    "...",
    ".part",
    "name.part",
    "\u00e9",  # one character
    "e\u0301",  # the same to the eye, in two
    "\u1e9b\u0323",
    "\u2028\u202e",
    "\U0001f600" * 63,
    "x" * 255,
    os.fsdecode(b"\xff\xfe"),
    os.fsdecode(b"\xc3\x28 half"),
    os.fsdecode(b"\xed\xa0\x80 a surrogate"),
    os.fsdecode(b"\x80" * 255),
]
LARGE_BYTES = SMALL_FILE_BYTES + 10_000


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirrored]:
    with mirrored(tmp_path) as found:
        yield found


def fill(top: Path) -> None:
    """Make files, links and folders of all names: side by side, and in folders of these names."""
    for kind in ("small", "large", "links", "folders"):
        (top / kind).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (top / "small" / name).write_text(f"{number}")
        (top / "large" / name).write_bytes(bytes([number]) * LARGE_BYTES)
        (top / "links" / name).symlink_to(f"../small/{name}"[:200])
        (top / "folders" / name).mkdir()
        (top / "folders" / name / name).write_text(f"{number} below")
        (top / "folders" / name / "empty").mkdir()


def test_a_comparison_finds_and_sends_and_removes_all_names(mirror: Mirrored) -> None:
    fill(mirror.source)
    run_program("run", "-c", mirror.config, "--once")
    assert differences(mirror.source, mirror.target) == []
    again = run_program("run", "-c", mirror.config, "--once").event("mirror.compared")
    assert (again["files"], again["deletes"]) == (0, 0)
    for number, name in enumerate(NAMES):
        if number % 2:
            (mirror.source / "small" / name).unlink()
            (mirror.source / "links" / name).unlink()
            shutil.rmtree(mirror.source / "folders" / name)
        else:
            (mirror.source / "large" / name).write_text("small now")
            (mirror.source / "small" / name).write_bytes(b"large now" * LARGE_BYTES)
    run_program("run", "-c", mirror.config, "--once")
    assert differences(mirror.source, mirror.target) == []
    assert "small/\u00e9" not in look_at(mirror.target)
    assert "small/e\u0301" in look_at(mirror.target)


def test_events_and_moves_and_deletes_of_all_names(mirror: Mirrored) -> None:
    with RunningProgram("run", "-c", mirror.config) as program:
        program.wait_for("mirror.compared")
        fill(mirror.source)
        wait_until_equal(mirror.source, mirror.target)
        for name in NAMES:
            with (mirror.source / "large" / name).open("ab") as file:
                file.write(b"more")
        wait_until_equal(mirror.source, mirror.target)
        # Each takes the place of the next one, whatever that was.
        for kind in ("small", "large", "links", "folders"):
            folder = mirror.source / kind
            (folder / NAMES[0]).rename(folder / "aside")
            for before, name in pairwise(NAMES):
                (folder / name).rename(folder / before)
        wait_until_equal(mirror.source, mirror.target)
        for name in NAMES[:-1]:
            (mirror.source / "small" / name).unlink()
            (mirror.source / "links" / name).unlink()
            shutil.rmtree(mirror.source / "folders" / name)
        wait_until_equal(mirror.source, mirror.target)
        assert len(program.events("mirror.compared")) == 1
        assert not program.events("mirror.incomplete")
        program.stop()
