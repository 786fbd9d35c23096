"""One process per checkpoint root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from replicator.errors import CheckpointError, LockedError
from replicator.service.lock import LOCK_NAME, hold_checkpoint_root, hold_state_dir

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import subprocess, sys
from pathlib import Path
from replicator.service.lock import hold_checkpoint_root

with hold_checkpoint_root(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def test_it_can_be_held_again_after_its_release(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_checkpoint_root(tmp_path):
            assert (tmp_path / LOCK_NAME).exists()


def test_it_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), hold_checkpoint_root(tmp_path):
        raise RuntimeError("inside")
    with hold_checkpoint_root(tmp_path):
        pass


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with (
        hold_checkpoint_root(tmp_path),
        pytest.raises(LockedError, match=f"held by process {os.getpid()} "),
        hold_checkpoint_root(tmp_path),
    ):
        pass


def test_another_process_is_named_and_its_death_releases_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(LockedError) as caught, hold_checkpoint_root(tmp_path):
                pass
            message = str(caught.value)
            assert f"checkpoint root {tmp_path} is held by process {holder.pid} (" in message
            assert f"{sys.executable} -c" in message
            assert ", since 2" in message

            # A crash; a program that the holder started lives on, and does not hold the lock on.
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            with hold_checkpoint_root(tmp_path):
                assert json.loads((tmp_path / LOCK_NAME).read_bytes())["pid"] == os.getpid()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"3", b"\xff"])
def test_a_holder_that_has_not_written_its_name_is_another_process(tmp_path: Path, content: bytes) -> None:
    with hold_checkpoint_root(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(content)
        with pytest.raises(LockedError, match="held by another process"), hold_checkpoint_root(tmp_path):
            pass


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="No such file") as caught,
        hold_checkpoint_root(tmp_path / "missing"),
    ):
        pass
    assert "existing folder" in caught.value.hint


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / LOCK_NAME).symlink_to(victim)
    with pytest.raises(CheckpointError), hold_checkpoint_root(tmp_path):
        pass
    assert victim.read_text() == "precious"


# --- the folder of the state file ----------------------------------------------------------------------


def test_one_service_for_each_state_dir(tmp_path: Path) -> None:
    folder = tmp_path / "below" / "state"
    for _ in range(2):
        with hold_state_dir(folder):
            message = f"state_dir {folder} is held by process {os.getpid()} "
            with pytest.raises(LockedError, match=message) as caught, hold_state_dir(folder):
                pass
            assert "one service for each state_dir" in caught.value.hint


def test_a_state_dir_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with hold_state_dir(tmp_path / "state"):
        pass
    assert (tmp_path / "state").read_bytes() == b""
