"""What a destination refuses, and what a source lacks, by the program: told, and nothing is removed for it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.filesystems import another_filesystem
from tests.support.mirroring import Mirrored, mirrored
from tests.support.program import RunningProgram, run_program
from tests.support.published import wait_until
from tests.support.trees import differences, look_at, wait_until_equal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirrored]:
    with mirrored(tmp_path) as found:
        yield found


def fill(source: Path, folders: int = 5) -> None:
    for number in range(folders):
        (source / f"{number}").mkdir()
        (source / f"{number}" / "file").write_text(f"{number}")


# --- the far end -------------------------------------------------------------------------------------


def test_what_the_account_may_not_write_is_told_and_the_others_go_on(mirror: Mirrored) -> None:
    fill(mirror.source, 3)
    mirror.server.make_folder("account/media")
    (mirror.target / "1").mkdir()  # root's
    finished = run_program("run", "-c", mirror.config, "--once", code=3)
    told = finished.event("mirror.incomplete")
    assert "1/file" in told["error"]
    assert (mirror.target / "0" / "file").exists()
    assert (mirror.target / "2" / "file").exists()


def test_the_same_while_the_service_runs_until_it_may(mirror: Mirrored) -> None:
    fill(mirror.source, 3)
    mirror.server.make_folder("account/media")
    (mirror.target / "1").mkdir()
    with RunningProgram("run", "-c", mirror.config) as program:
        assert "1/file" in program.wait_for("mirror.incomplete")["error"]
        mirror.server.give(mirror.target / "1")
        (mirror.source / "1" / "file").write_text("changed")
        wait_until((mirror.target / "1" / "file").exists, "it is sent")
        program.stop()


# --- the source --------------------------------------------------------------------------------------


def test_a_source_that_is_unmounted_while_the_service_runs_empties_nothing(mirror: Mirrored) -> None:
    with ExitStack() as mount, RunningProgram("run", "-c", mirror.config) as program:
        mount.enter_context(another_filesystem(mirror.source))
        fill(mirror.source)
        program.wait_for("mirror.compared")
        wait_until_equal(mirror.source, mirror.target)
        before = look_at(mirror.target)
        mount.close()
        (mirror.source / "written below the mount point").touch()
        told = program.wait_for("mirror.failed")
        assert "another filesystem" in told["error"]
        assert "mounted" in told["hint"]
        program.stop()
        assert look_at(mirror.target) == before


def test_another_filesystem_over_the_source_empties_nothing(tmp_path: Path) -> None:
    with mirrored(tmp_path, rescan="1s") as mirror:
        fill(mirror.source)
        with RunningProgram("run", "-c", mirror.config) as program:
            program.wait_for("mirror.compared")
            with another_filesystem(mirror.source):
                (mirror.source / "something else").touch()
                assert "another filesystem" in program.wait_for("mirror.failed")["error"]
                assert (mirror.target / "0" / "file").exists()
            program.wait_for("mirror.resumed")
            assert differences(mirror.source, mirror.target) == []
            program.stop()


def test_deletes_one_by_one_stop_at_the_limit_too(tmp_path: Path) -> None:
    with mirrored(tmp_path, max_delete="50%") as mirror:
        fill(mirror.source, 6)
        with RunningProgram("run", "-c", mirror.config) as program:
            program.wait_for("mirror.compared")
            wait_until_equal(mirror.source, mirror.target)
            files = [f"{number}/file" for number in range(6)]
            for file in files[:3]:
                (mirror.source / file).unlink()
                wait_until_equal(mirror.source, mirror.target)
            (mirror.source / files[3]).unlink()
            told = program.wait_for("mirror.incomplete")
            assert "1 deletes refused: max_delete allows 3 in one pass" in told["error"]
            assert "--allow-deletes" in told["hint"]
            assert len(list(mirror.target.glob("*/file"))) == 3
            program.stop()
        run_program("run", "-c", mirror.config, "--once", "--allow-deletes")
        assert differences(mirror.source, mirror.target) == []
