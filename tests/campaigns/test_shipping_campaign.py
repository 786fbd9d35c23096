"""Minutes of shipping: how far behind the replica is at every look, and that nothing is ever wrong with it.

Time is part of what is promised here, and so it is asserted. Each test prints what it measured.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from replicator.demo.oracle import Recovery, judge
from replicator.demo.settings import PrimarySettings
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.positions import Positions
from tests.support.primaries import STORMS, Primary
from tests.support.program import ConfigFile, RunningProgram
from tests.support.published import growing_position_of, position_of, restored_position, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

SEED = 20261124
#: How far behind the replica may be at 99 of 100 looks, by what `ship_wal` says; in seconds.
PROMISED_SECONDS = {"1s": 1.5, "100ms": 0.3}
BATCHES_PER_SECOND = 2000


@contextmanager
def configured(tmp_path: Path, **more: object) -> Iterator[tuple[ConfigFile, Path]]:
    """Yield a configuration that ships to a server, and where the replica is."""
    with OpenSshServer(ServerOptions(chroot=True, forwarding=False)) as server:
        server.make_folder("account")
        config = ConfigFile(tmp_path / "replicator.toml").database("app", tmp_path / "db", **more)
        config.sftp("standby", server, "account", keep={"last": 30}, timeout="5s").write()
        yield config, server.local_base / "account" / "app"


def look(replica: Path, copy: Path, positions: Positions) -> float:
    """Judge the replica as it lies there at this instant; return how far it is behind, in seconds."""
    current = (replica / "checkpoint_current").resolve(strict=True)
    copy.mkdir()
    # Logs first, the newest of them first: they grow oldest first.
    for log in sorted(current.glob("*.log"), reverse=True):
        shutil.copyfile(log, copy / log.name)
    looked_at = time.time()
    for path in current.iterdir():
        if path.suffix != ".log":
            shutil.copyfile(path, copy / path.name)
    verdict = judge(copy, recovery=Recovery.POINT_IN_TIME)
    shutil.rmtree(copy)
    assert verdict.exact, f"{current.name}: {verdict}"
    return positions.age_seconds(verdict.position, looked_at)


def report(title: str, seconds: list[float]) -> float:
    """Print figures; return the one that 99 of 100 do not exceed."""
    ordered = sorted(seconds)
    percentile = ordered[max(0, -(-99 * len(ordered) // 100) - 1)]
    print(  # noqa: T201 - what a campaign is for
        f"{title}: {len(ordered)} looks, behind by {ordered[len(ordered) // 2]:.3f} s in the median,"
        f" {percentile:.3f} s at 99 of 100, {ordered[-1]:.3f} s at the most"
    )
    return percentile


@pytest.mark.parametrize("tick", PROMISED_SECONDS)
def test_five_minutes_of_looks(tmp_path: Path, tick: str) -> None:
    settings = PrimarySettings(batches_per_second=BATCHES_PER_SECOND)
    positions = Positions()
    with (
        configured(tmp_path, ship_wal=tick, interval="1m") as (config, replica),
        Primary(tmp_path / "db", settings) as primary,
        positions.sampled(primary),
        RunningProgram("run", "-c", config.path) as service,
    ):
        service.wait_for("publish.done")
        end = time.monotonic() + 300
        behind = []
        while time.monotonic() < end:
            begun = time.monotonic()
            behind.append(look(replica, tmp_path / "copy", positions))
            time.sleep(max(0.0, 1 - (time.monotonic() - begun)))
        service.stop()
        assert not service.events("publish.failed")
        assert not service.events("shipping.interrupted")
    assert report(f"ship_wal = {tick}", behind) <= PROMISED_SECONDS[tick]


@pytest.mark.parametrize("storm", ["small_memtables", "recycled_wals", "everything"])
def test_twenty_kills_of_the_primary(tmp_path: Path, storm: str) -> None:
    """What a standby would go on from, had the host been lost with the primary."""
    chance = random.Random(SEED)
    positions = Positions()
    with (
        configured(tmp_path, interval="1h") as (config, replica),
        Primary(tmp_path / "db", replace(STORMS[storm], batches_per_second=500)) as primary,
        positions.sampled(primary),
        RunningProgram("run", "-c", config.path) as service,
    ):
        service.wait_for("publish.done")
        lost = []
        for _ in range(20):
            time.sleep(chance.uniform(1.0, 4.0))
            primary.kill()
            lost.append(look(replica, tmp_path / "copy", positions))
            primary.start()
            service.wait_for_more("publish.done")
        primary.kill()
        last = primary.position
        wait_until(lambda: growing_position_of(replica / "checkpoint_current") >= last, "the last batch")
        service.stop()
        assert position_of(replica / "checkpoint_current") >= last
        # Events that no log carries end a generation: until the next one is there, it falls behind further.
    report(f"killed in {storm}", lost)
    if storm == "small_memtables":
        assert max(lost) <= PROMISED_SECONDS["1s"]


def test_fifty_kills_of_the_service(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with (
        configured(tmp_path, ship_wal="100ms", interval="2s") as (config, replica),
        Primary(tmp_path / "db", PrimarySettings(batches_per_second=500)) as primary,
    ):
        with RunningProgram("run", "-c", config.path) as service:
            service.wait_for("publish.done")
        position = 0
        for _ in range(50):
            with RunningProgram("run", "-c", config.path) as service:
                time.sleep(chance.uniform(0.3, 3.0))
                service.send(signal.SIGKILL)
                service.process.wait()
            found = growing_position_of(replica / "checkpoint_current")
            assert found >= position
            assert restored_position(replica, tmp_path / "restored") >= position
            position = found
        with RunningProgram("run", "-c", config.path) as service:
            service.wait_for("publish.done")
            last = primary.position
            wait_until(lambda: growing_position_of(replica / "checkpoint_current") >= last, "the last batch")
            service.stop()
        assert restored_position(replica, tmp_path / "restored") >= last


def test_fifty_instants(tmp_path: Path) -> None:
    """Each is restored to what had been written by then, but for what its last tick brought."""
    chance = random.Random(SEED)
    positions = Positions()
    tick_seconds, slack_seconds = 0.1, 0.5
    with configured(tmp_path, ship_wal="100ms", interval="5s") as (config, replica):
        with (
            Primary(tmp_path / "db", PrimarySettings(batches_per_second=1000)) as primary,
            positions.sampled(primary),
            RunningProgram("run", "-c", config.path) as service,
        ):
            service.wait_for("publish.done")
            begun = time.time()
            time.sleep(60)
            ended = time.time()
            service.stop()
        behind = []
        for _ in range(50):
            instant = chance.uniform(begun + 1, ended - 1)
            found = restored_position(replica, tmp_path / "restored", at=datetime.fromtimestamp(instant, UTC))
            assert found <= positions.at(instant + slack_seconds)
            behind.append(positions.age_seconds(found, instant))
    report("restored instants", behind)
    assert max(behind) <= tick_seconds + slack_seconds
