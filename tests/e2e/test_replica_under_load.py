"""While a primary writes flat out, what lies at the destination is exact at every look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicator.replica.layout import GenerationId
from tests.support.positions import Positions
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram
from tests.support.published import growing_position_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

GENERATIONS = 8


def watch_replica(replica: Path, positions: Positions, *, generations: int = 0, seconds: float = 0) -> list[str]:
    """Judge `checkpoint_current` every second, for so many generations and so long; return those seen."""
    seen: list[str] = []
    position = 0
    end = time.monotonic() + seconds
    while len(seen) < generations or time.monotonic() < end:
        current = (replica / "checkpoint_current").resolve(strict=True)
        # It is being shipped to.
        found = growing_position_of(current)
        captured_at = GenerationId.parse(current.name).time.timestamp()
        assert found >= positions.at(captured_at), f"{current.name} is behind its own capture"
        assert found >= position
        assert not seen or current.name >= seen[-1]
        position = found
        if not seen or current.name != seen[-1]:
            seen.append(current.name)
        time.sleep(1)
    return seen


def replicate_under_load(
    config: ConfigFile, server: OpenSshServer, account: str, *, generations: int = 0, seconds: float = 0
) -> list[str]:
    """Start a primary and the service, and watch; return the generations seen."""
    positions = Positions()
    database = config.path.with_name("db")
    config.database("app", database, interval="1s")
    config.sftp("standby", server, account, keep={"last": 12})
    with (
        Primary(database) as primary,
        positions.sampled(primary),
        RunningProgram("run", "-c", config.write()) as service,
    ):
        service.wait_for("publish.done")
        seen = watch_replica(
            server.local_base / account / "app", positions, generations=generations, seconds=seconds
        )
        finished = service.stop()
        written = primary.position
    assert written > 1000
    for failure in ("checkpoint.failed", "publish.failed", "destination.retry"):
        assert finished.events(failure) == []
    return seen


def test_the_replica_is_exact_at_every_look(config: ConfigFile, server: OpenSshServer, account: str) -> None:
    assert len(replicate_under_load(config, server, account, generations=GENERATIONS)) >= GENERATIONS
