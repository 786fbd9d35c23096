"""Thousands of random changes by several writers at once, mirrored to a real OpenSSH server: both trees are equal.

In quiet, with connections cut, with the service killed, with inotify's queue overflowing, with too few watches.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.mirroring import SFTP_ALONE, inotify_limit, mirrored
from tests.support.openssh import with_shell
from tests.support.program import RunningProgram, run_program
from tests.support.trees import differences, look_at, wait_until_equal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mirroring import Mirrored
    from tests.support.openssh import ServerOptions

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

OPERATIONS = 5_000
SEEDS = [20261125, 20261126, 20261127]
#: So many, for no transfer of a whole tree gets done if it never has a moment.
FIRST_CUTS = 10
#: When a connection is cut matters more than in all other cases.
CUT_SEEDS = [*SEEDS, 20261128, 20261129]


def account(seed: int) -> ServerOptions:
    """Return one with a shell for every other seed, which unpacks archives then."""
    return with_shell() if seed % 2 else SFTP_ALONE


@contextmanager
def running(tmp_path: Path, seed: int) -> Iterator[tuple[Mirrored, RunningProgram]]:
    """Yield a mirror, and the service that has compared it once."""
    with (
        mirrored(tmp_path, options=account(seed)) as mirror,
        RunningProgram("run", "-c", mirror.config) as program,
    ):
        program.wait_for("mirror.compared")
        yield mirror, program


def report(title: str, source: Path, begun: float) -> None:
    print(f"\n{title}: {len(look_at(source))} paths in the end, {time.monotonic() - begun:.0f} s")  # noqa: T201


@pytest.mark.parametrize("seed", SEEDS)
def test_both_trees_are_equal_after_many_changes(tmp_path: Path, seed: int) -> None:
    begun = time.monotonic()
    with running(tmp_path, seed) as (mirror, program):
        mirror.write(seed=seed, operations=OPERATIONS).wait()
        wait_until_equal(mirror.source, mirror.target)
        # Nothing of it was the work of a comparison.
        assert len(program.events("mirror.compared")) == 1
        program.stop()
        report(f"seed {seed}", mirror.source, begun)


@pytest.mark.parametrize("seed", CUT_SEEDS)
def test_the_same_with_connections_cut(tmp_path: Path, seed: int) -> None:
    begun, cuts, random_ = time.monotonic(), 0, random.Random(seed)
    with running(tmp_path, seed) as (mirror, program):
        writers = mirror.write(seed=seed, operations=OPERATIONS)
        while writers.are_writing:
            time.sleep(random_.uniform(0.2, 3))
            cuts += bool(mirror.server.kill_sessions())
        writers.wait()
        wait_until_equal(mirror.source, mirror.target)
        program.stop()
        report(f"{cuts} cuts", mirror.source, begun)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_first_transfer_with_connections_cut(tmp_path: Path, seed: int) -> None:
    """Thousands of small files, so that many are on their way at each cut."""
    begun, cuts, random_ = time.monotonic(), 0, random.Random(seed)
    # The writers remove folders with more files than they make: that is not to be taken for an accident.
    with mirrored(tmp_path, options=account(seed), max_delete="100%") as mirror:
        for number in range(3_000):
            folder = mirror.source / f"{number % 30}" / f"{number}"
            folder.mkdir(parents=True)
            for name in range(random_.randrange(20)):
                (folder / f"{name}").write_bytes(random_.randbytes(random_.choice((0, 10, 512, 3_000, 20_000))))
                os.utime(folder / f"{name}", (10**9, 10**9))
        with RunningProgram("run", "-c", mirror.config) as program:
            writers = mirror.write(seed=seed, operations=OPERATIONS)
            while cuts < FIRST_CUTS:
                time.sleep(random_.uniform(0.3, 1.5))
                cuts += bool(mirror.server.kill_sessions())
            writers.wait()
            wait_until_equal(mirror.source, mirror.target)
            program.stop()
        report(f"{cuts} cuts", mirror.source, begun)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_same_with_the_service_killed(tmp_path: Path, seed: int) -> None:
    begun, kills, random_ = time.monotonic(), 0, random.Random(seed)
    with mirrored(tmp_path, options=account(seed)) as mirror:
        writers = mirror.write(seed=seed, operations=OPERATIONS)
        while writers.are_writing:
            with RunningProgram("run", "-c", mirror.config) as program:
                time.sleep(random_.uniform(0.5, 5))
                program.send(signal.SIGKILL)
                program.process.wait()
                kills += 1
        writers.wait()
        run_program("run", "-c", mirror.config, "--once")
        assert differences(mirror.source, mirror.target) == []
        left = list(mirror.target.parent.glob(".replicator-mirror-media/parts-*/*"))
        assert left == []
        report(f"{kills} kills", mirror.source, begun)


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_the_same_with_the_queue_of_inotify_overflowing(tmp_path: Path, seed: int) -> None:
    assert os.geteuid() == 0, "only root may set the limit"
    begun = time.monotonic()
    with (
        inotify_limit("max_queued_events", 8),
        mirrored(tmp_path) as mirror,
        RunningProgram("run", "-c", mirror.config) as program,
    ):
        program.wait_for("mirror.compared")
        mirror.write(seed=seed, operations=OPERATIONS).wait()
        wait_until_equal(mirror.source, mirror.target)
        overflows = len(program.events("mirror.overflow"))
        assert overflows > 0
        program.stop()
        report(f"{overflows} overflows noticed", mirror.source, begun)


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_the_same_with_too_few_watches(tmp_path: Path, seed: int) -> None:
    assert os.geteuid() == 0, "only root may set the limit"
    begun = time.monotonic()
    with (
        inotify_limit("max_user_watches", 3),
        mirrored(tmp_path, rescan="3s") as mirror,
        RunningProgram("run", "-c", mirror.config) as program,
    ):
        program.wait_for("mirror.compared")
        mirror.write(seed=seed, operations=OPERATIONS).wait()
        wait_until_equal(mirror.source, mirror.target)
        told = program.wait_for("mirror.watch_limit")
        assert told["limit"] == 3
        assert told["need"] > 3
        assert "fs.inotify.max_user_watches" in told["hint"]
        program.stop()
        report("too few watches", mirror.source, begun)
