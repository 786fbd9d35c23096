"""Shipping write-ahead logs: what it costs the primary, what it costs while idle, how far behind the replica is.

The real service ships a real primary's logs to a real OpenSSH server on loopback, so all three share the cores:
with standbys of their own there is more left for the primary than here. The databases are in memory, for the
server syncs what it gets to a disk that no primary would share with it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from far_end import memory_folder
from report import Figure, Row

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from replicator.replica.shipped import SHIPPED_NAME
from tests.support.openssh import OpenSshServer
from tests.support.primaries import MEBIBYTE, Primary
from tests.support.program import ConfigFile, RunningProgram
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TICKS = ("1s", "100ms")
SPAN_SECONDS = 4.0
SPANS_OF_A_RUN = 4
FULL_SPEED_LAG_SECONDS = 20.0
RATE = 2000
#: Between checkpoints: short, so that the lag is also sampled while a new generation takes over.
PACED_INTERVAL = "20s"
IDLE_SECONDS = 30.0
IDLE_TABLES = 1000
#: Between one measurement of the lag and the next.
SAMPLE_SECONDS = 0.05

#: Large memtables: the primary is held up by its writes, not by flushes.
_FULL_SPEED = PrimarySettings(write_buffer_bytes=16 * MEBIBYTE)
_PACED = PrimarySettings(write_buffer_bytes=16 * MEBIBYTE, batches_per_second=RATE)
#: Tables of the least size that there is, and all of them stay.
_MANY_TABLES = PrimarySettings(
    layout=Layout(value_bytes=1000),
    write_buffer_bytes=1,
    family_options={
        "disable_auto_compactions": "true",
        "level0_slowdown_writes_trigger": "1000000",
        "level0_stop_writes_trigger": "1000000",
    },
)
#: Primaries are that old when they are measured.
_AGE_SECONDS = 6.0
#: What the service still had under way when it was stopped is over by then.
_STANDSTILL_SECONDS = 0.5
#: A service that is no more than that behind does what it does all the time.
_CAUGHT_UP_SECONDS = 1.2
_SETTLE_SECONDS = 10.0
_DATABASE = "bench"
#: More than two lines of a journal.
_JOURNAL_END_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Measured:
    """What happened in a span of time, per second: batches written, and CPU seconds of each of the three."""

    batches: float
    primary: float
    service: float
    server: float

    @property
    def batch_microseconds(self) -> float:
        """How long a batch took."""
        return 1e6 / self.batches

    @property
    def batch_cpu_microseconds(self) -> float:
        """How much of a core's time a batch took: hardly touched by what else the cores have to do."""
        return 1e6 * self.primary / self.batches


@dataclass(frozen=True, slots=True)
class _Shipped:
    """A database that is being shipped: by which process, through which server, to where."""

    service: psutil.Process
    server: OpenSshServer
    replica: Path

    def has_caught_up(self) -> bool:
        """Whether the service does no more than it has to do for what is written now."""
        behind_seconds = self.behind_seconds()
        return behind_seconds is not None and behind_seconds < _CAUGHT_UP_SECONDS

    def behind_seconds(self) -> float | None:
        """Return how long ago the newest instant was that can be restored; None if nothing was shipped yet."""
        with (
            suppress(FileNotFoundError),
            (self.replica / "checkpoint_current" / SHIPPED_NAME).open("rb") as journal,
        ):
            journal.seek(max(0, journal.seek(0, 2) - _JOURNAL_END_BYTES))
            lines = journal.read().split(b"\n")
            if len(lines) > 1:
                return time.time() - datetime.fromisoformat(json.loads(lines[-2])["at"]).timestamp()
        return None


_COSTS = {
    "a batch": attrgetter("batch_microseconds"),
    "its CPU time": attrgetter("batch_cpu_microseconds"),
}


def bench_shipping(runs: int, *, lag_seconds: float) -> Sequence[Row | Figure]:
    """Measure the primary at full speed, then at a steady pace, then not writing at all."""
    with OpenSshServer() as server:
        return [*_at_full_speed(runs, server), *_at_a_pace(lag_seconds, server), *_idle(server)]


def _at_full_speed(runs: int, server: OpenSshServer) -> Iterator[Row | Figure]:
    """Time one primary while it is shipped and while the service stands still, in turn.

    From one primary to the next, and from one minute to the next, a shared machine differs by more than shipping
    costs: so there is one primary, the spans are short, and there are many of them.
    """
    for tick in TICKS:
        alone: list[_Measured] = []
        shipped: list[_Measured] = []
        behind: list[float] = []
        with (
            _folder() as folder,
            Primary(folder / "db", _FULL_SPEED) as primary,
            _shipping(primary, server, tick, interval="1h") as shipping,
        ):
            time.sleep(_AGE_SECONDS)
            for _ in range(SPANS_OF_A_RUN * runs):
                shipping.service.suspend()
                time.sleep(_STANDSTILL_SECONDS)
                alone.append(_measure(primary, SPAN_SECONDS))
                shipping.service.resume()
                wait_until(shipping.has_caught_up, "caught up")
                shipped.append(_measure(primary, SPAN_SECONDS, shipping))
            # Afterwards: looking takes time of the cores, which the primary alone has not to share.
            _measure(primary, FULL_SPEED_LAG_SECONDS, shipping, behind)
        case = f"primary at full speed, ship_wal {tick}"
        for what, sample in _COSTS.items():
            ours, theirs = tuple(map(sample, shipped)), tuple(map(sample, alone))
            yield Row(f"{case}: {what}", "service stopped", ours, theirs, "us")
        yield from _shares(case, shipped)
        yield from _lags(case, behind)


def _at_a_pace(lag_seconds: float, server: OpenSshServer) -> Iterator[Figure]:
    for tick in TICKS:
        behind: list[float] = []
        with (
            _folder() as folder,
            Primary(folder / "db", _PACED) as primary,
            _shipping(primary, server, tick, interval=PACED_INTERVAL) as shipping,
        ):
            time.sleep(_SETTLE_SECONDS)
            measured = _measure(primary, lag_seconds, shipping, behind)
        case = f"primary at {RATE}/s, ship_wal {tick}"
        yield from _shares(case, [measured])
        yield from _lags(case, behind)


def _idle(server: OpenSshServer) -> Iterator[Figure]:
    with _folder() as folder, Primary(folder / "db", _MANY_TABLES) as primary:
        wait_until(lambda: len(list(primary.path.glob("*.sst"))) >= IDLE_TABLES, f"{IDLE_TABLES} tables")
        primary.stop()
        primary.start(
            PrimarySettings(layout=_MANY_TABLES.layout, max_batches=1, family_options=_MANY_TABLES.family_options)
        )
        for tick in TICKS:
            with _shipping(primary, server, tick) as shipping:
                time.sleep(_SETTLE_SECONDS)
                measured = _measure(primary, IDLE_SECONDS, shipping)
            yield from _shares(f"idle, {IDLE_TABLES} tables, ship_wal {tick}", [measured])


def _shares(case: str, measured: Sequence[_Measured]) -> Iterator[Figure]:
    yield Figure(f"{case}: service", tuple(100 * one.service for one in measured), "% of a core")
    yield Figure(f"{case}: sshd", tuple(100 * one.server for one in measured), "% of a core")


def _lags(case: str, behind: Sequence[float]) -> Iterator[Figure]:
    yield Figure(f"{case}: lag, median", (statistics.median(behind),), "s")
    yield Figure(f"{case}: lag, 99 of 100", (statistics.quantiles(behind, n=100, method="inclusive")[-1],), "s")
    yield Figure(f"{case}: lag, longest", (max(behind),), "s")


def _measure(
    primary: Primary, seconds: float, shipping: _Shipped | None = None, behind: list[float] | None = None
) -> _Measured:
    """Let so much time pass; into `behind`, if it is given, go samples of the lag."""
    position, begun, before = primary.position, time.monotonic(), _cpu_seconds(primary, shipping)
    while (left_seconds := begun + seconds - time.monotonic()) > 0:
        if shipping is None or behind is None:
            time.sleep(left_seconds)
            continue
        sample = shipping.behind_seconds()
        assert sample is not None, "what was shipped has gone"
        behind.append(sample)
        time.sleep(min(SAMPLE_SECONDS, left_seconds))
    written, took_seconds = primary.position - position, time.monotonic() - begun
    after = _cpu_seconds(primary, shipping)
    shares = [(end - start) / took_seconds for start, end in zip(before, after, strict=True)]
    return _Measured(written / took_seconds, *shares)


@contextmanager
def _shipping(primary: Primary, server: OpenSshServer, tick: str, *, interval: str = "5m") -> Iterator[_Shipped]:
    """Run the service; inside of the context the database is being shipped."""
    account = server.make_folder("replicas")
    config = ConfigFile(primary.path.with_name("replicator.toml"))
    config.database(_DATABASE, primary.path, ship_wal=tick, interval=interval)
    config.sftp("standby", server, account.name)
    with RunningProgram("run", "--config", config.write()) as program:
        shipped = _Shipped(psutil.Process(program.process.pid), server, account / _DATABASE)
        wait_until(lambda: shipped.behind_seconds() is not None, "shipped")
        yield shipped
        program.stop()
    shutil.rmtree(account)
    shutil.rmtree(primary.path.with_name(f"{primary.path.name}.checkpoints"))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        yield Path(name)


def _cpu_seconds(primary: Primary, shipping: _Shipped | None) -> list[float]:
    """Return what the primary, the service and the server's sessions have taken so far."""
    service, sessions = ([shipping.service], shipping.server.sessions()) if shipping else ([], [])
    return [sum(map(_taken_seconds, party)) for party in ([psutil.Process(primary.pid)], service, sessions)]


def _taken_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0
