"""`replicator demo`: it shows an exact restore, and however it ends, nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(sys.executable).with_name("replicator")
INTERRUPTED = 130


@contextmanager
def running_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start it with a folder for all that it makes, and end it with the block."""
    with subprocess.Popen(
        [PROGRAM, "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_a_publish(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any("published" in line for line in process.stdout)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that work somewhere in `folder`."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        cwd = process.info["cwd"]
        if cwd and Path(cwd).is_relative_to(folder):
            found.append(process)
    return found


def figure(output: str, name: str) -> int:
    match = re.search(rf"^  {name} +([\d,]+)(?: |$)", output, re.MULTILINE)
    assert match, f"no {name!r} in:\n{output}"
    return int(match[1].replace(",", ""))


def test_it_ends_with_an_exact_restore_and_leaves_nothing(tmp_path: Path) -> None:
    with running_demo(tmp_path) as process:
        output, errors = process.communicate()

    assert process.returncode == 0, output + errors
    assert errors == ""
    assert output.isascii()
    assert "\x1b" not in output

    assert figure(output, "batches written") > 1000
    assert figure(output, "batches restored") == figure(output, "batches written")
    assert figure(output, "torn") == 0
    assert figure(output, "holes") == 0
    assert figure(output, "checkpoints published") >= 3
    assert figure(output, "files sent") > 0
    assert figure(output, "files reused") > 0
    assert re.search(r"^  bytes sent +[\d.]+ MiB", output, re.MULTILINE)
    assert re.search(r"^  WAL shipped +[\d.]+ MiB", output, re.MULTILINE)
    assert figure(output, "replica judged") == len(re.findall("judged: exact", output)) >= 2

    assert re.search(r"restore .* as-of-the-kill --at \d{4}-\d\d-\d\dT", output)
    lag = re.search(r"^  lag at the kill +(\d+ ms|\d+\.\d s|\d+ m \d\d s) ", output, re.MULTILINE)
    assert lag
    assert f"the state of {lag[1]} before" in output
    assert figure(output, "at risk at the kill") < figure(output, "batches written")

    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with running_demo(tmp_path) as process:
        wait_for_a_publish(process)
        assert len(processes_in(tmp_path)) >= 3
        process.send_signal(number)
        _, errors = process.communicate()

    assert process.returncode == INTERRUPTED, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_when_a_part_fails_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with running_demo(tmp_path) as process:
        wait_for_a_publish(process)
        [primary] = [part for part in processes_in(tmp_path) if "replicator.demo.primary" in part.cmdline()]
        primary.kill()
        _, errors = process.communicate()

    assert process.returncode == 1, errors
    assert "the demo's primary ended unexpectedly, killed by SIGKILL" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_killed_it_leaves_no_process(tmp_path: Path) -> None:
    with running_demo(tmp_path) as process:
        wait_for_a_publish(process)
        parts = processes_in(tmp_path)
        assert len(parts) >= 3
        process.kill()
        _, alive = psutil.wait_procs(parts, timeout=60)
        assert alive == []
