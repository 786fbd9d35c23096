"""While a primary writes flat out, what lies at the destination is exact at every look."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.demo.oracle import judge
from replicator.replica.layout import GenerationId
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

GENERATIONS = 8
_SAMPLE_SECONDS = 0.005


class Positions:
    """What the primary had surely written, and when (seconds since the epoch)."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._positions: list[int] = []

    @contextmanager
    def sampled(self, primary: Primary) -> Iterator[None]:
        """Sample for as long as the context lasts."""
        stop = threading.Event()

        def sample() -> None:
            while not stop.wait(_SAMPLE_SECONDS):
                # In this order: the position is older than the time that stands beside it.
                self._positions.append(primary.position)
                self._times.append(time.time())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def at(self, when: float) -> int:
        """Return what had been written for sure at that time."""
        index = bisect_right(self._times, when)
        return self._positions[index - 1] if index else 0


def watch_replica(replica: Path, positions: Positions, *, generations: int = 0, seconds: float = 0) -> list[str]:
    """Judge `checkpoint_current` every second, for so many generations and so long; return those seen."""
    seen: list[str] = []
    position = 0
    end = time.monotonic() + seconds
    while len(seen) < generations or time.monotonic() < end:
        current = (replica / "checkpoint_current").resolve(strict=True)
        verdict = judge(current)
        assert verdict.exact, f"{current.name}: {verdict}"
        captured_at = GenerationId.parse(current.name).time.timestamp()
        assert verdict.position >= positions.at(captured_at), f"{current.name} is behind its own capture"
        assert verdict.position >= position
        assert not seen or current.name >= seen[-1]
        position = verdict.position
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
