"""A generation of a real primary, grown by hand as shipping does it: each instant of it is restored and judged."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from replicator.demo.oracle import Recovery, judge
from replicator.demo.settings import PrimarySettings
from replicator.moments import format_moment
from replicator.rocksdb.wal import WalReader
from tests.support.grown import JOURNAL_NAME, append, ship
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, run_program

if TYPE_CHECKING:
    from pathlib import Path

#: Logs that are not needed any more go to the archive, where they can be shipped from.
KEEPS_LOGS = {"WAL_size_limit_MB": "1024", "WAL_ttl_seconds": "3600"}
FIRST_BATCHES = 1500
MORE_BATCHES = 3000
BATCHES_PER_SECOND = 2000

USAGE = 2
DAMAGED = 4


class GrownReplica:
    """A replica with one generation, whose checkpoint was made in mid-run, and all that was written after it.

    `instants` are those of all its states, the checkpoint's first, a second apart; `position` is where the primary
    ended.
    """

    def __init__(self, folder: Path) -> None:
        config = (
            ConfigFile(folder / "replicator.toml")
            .database("app", folder / "db")
            .directory("here", folder / "here")
        )
        settings = PrimarySettings(batches_per_second=BATCHES_PER_SECOND, database_options=KEEPS_LOGS)
        with Primary(folder / "db", settings) as primary:
            primary.wait_for(FIRST_BATCHES)
            run_program("run", "-c", config.write(), "--once")
            primary.wait_for_more(MORE_BATCHES)
            self.position = primary.stop()
        self.path = folder / "here" / "app"
        self.generation = (self.path / "checkpoint_current").resolve()
        (listed,) = run_program("generations", self.path, "--json").document
        self.instants = [datetime.fromisoformat(listed["captured_at"])]
        self._ship_all(
            sorted([*(folder / "db").glob("*.log"), *(folder / "db" / "archive").glob("*.log")], key=_number)
        )

    def _ship_all(self, logs: list[Path]) -> None:
        oldest = min(map(_number, self.generation.glob("*.log")))
        for log in logs:
            if _number(log) < oldest:
                continue
            content = log.read_bytes()
            for size_bytes in (len(content) // 2, len(content)):
                reader = WalReader(_number(log))
                reader.feed(content[:size_bytes])
                there = self.generation / log.name
                done = there.stat().st_size if there.exists() else 0
                if reader.end_offset > done:
                    self.instants.append(self.instants[-1] + timedelta(seconds=1))
                    ship(self.generation, log.name, content[done : reader.end_offset], self.instants[-1])


def _number(log: Path) -> int:
    return int(log.stem)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> GrownReplica:
    return GrownReplica(tmp_path_factory.mktemp("grown"))


def position_of(path: Path) -> int:
    """Return the position of a database that must be exact, whatever is asked of its logs."""
    verdicts = {recovery: judge(path, recovery=recovery) for recovery in Recovery}
    assert all(verdict.exact for verdict in verdicts.values()), f"{path}: {verdicts}"
    (position,) = {verdict.position for verdict in verdicts.values()}
    return position


def test_each_instant_is_one_point_in_history(replica: GrownReplica, tmp_path: Path) -> None:
    assert len(replica.instants) > 4
    positions = []
    for at in replica.instants:
        target = tmp_path / format_moment(at)
        document = run_program("restore", replica.path, target, "--at", format_moment(at), "--json").document
        assert datetime.fromisoformat(document["state_at"]) == at
        positions.append(position_of(target))
        shutil.rmtree(target)
    assert positions[0] >= FIRST_BATCHES
    assert positions == sorted(set(positions))
    assert positions[-1] == replica.position


def test_the_newest_state_is_restored(replica: GrownReplica, tmp_path: Path) -> None:
    text = run_program("restore", replica.path, tmp_path / "db", "--dry-run").output
    assert f" as of {format_moment(replica.instants[-1])} " in text
    text = run_program("restore", replica.path, tmp_path / "db").output
    assert f" as of {format_moment(replica.instants[-1])} " in text
    assert position_of(tmp_path / "db") == replica.position


def test_how_long_ago(replica: GrownReplica, tmp_path: Path) -> None:
    refused = run_program("restore", replica.path, tmp_path / "db", "--at", "2 weeks ago", code=1)
    assert format_moment(replica.instants[0]) in refused.errors
    run_program("restore", replica.path, tmp_path / "db", "--at", "0s ago", "--dry-run")


def test_generations_and_verify(replica: GrownReplica) -> None:
    (listed,) = run_program("generations", replica.path, "--json").document
    assert datetime.fromisoformat(listed["shipped_until"]) == replica.instants[-1]
    assert listed["complete"]
    text = run_program("generations", replica.path).output
    assert "SHIPPED UNTIL" in text
    assert f"{replica.instants[-1]:%Y-%m-%d %H:%M:%S} UTC" in text
    assert run_program("verify", replica.path, "--json").document["sound"]


def test_damage_in_what_was_shipped(replica: GrownReplica, tmp_path: Path) -> None:
    shutil.copytree(replica.path, tmp_path / "app", symlinks=True)
    generation = tmp_path / "app" / "generations" / replica.generation.name
    newest = max(generation.glob("*.log"), key=_number)
    content = bytearray(newest.read_bytes())
    content[-10] ^= 1
    newest.write_bytes(content)
    # What no line tells of is nobody's damage.
    append(generation, newest.name, b"torn")
    append(generation, JOURNAL_NAME, b'{"at": ')

    assert f"{newest.name} does not have" in run_program("verify", tmp_path / "app", code=DAMAGED).output
    refused = run_program("restore", tmp_path / "app", tmp_path / "newest", code=DAMAGED)
    assert newest.name in refused.errors
    assert "--at" in refused.errors
    before = format_moment(replica.instants[-1] - timedelta(microseconds=1))
    run_program("restore", tmp_path / "app", tmp_path / "earlier", "--at", before)
    assert FIRST_BATCHES < position_of(tmp_path / "earlier") < replica.position


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--at", "2026-11-24T22:01:02"), "has no time zone"),
        (("--at", "yesterday"), "10 minutes ago"),
        (("--at", "1h ago", "--generation", "prev"), "exclude each other"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    finished = run_program("restore", tmp_path / "app", tmp_path / "db", *arguments, code=USAGE)
    assert message in " ".join(finished.errors.split())


def test_help_shows_each_example_on_a_line_of_its_own() -> None:
    lines = [line.strip() for line in run_program("restore", "--help").output.splitlines()]
    assert 'replicator restore /srv/replica/conduwuit /tmp/before --at "10 minutes ago"' in lines
    assert "replicator restore /srv/replica/conduwuit /tmp/before --at 2026-11-24T22:01:02Z" in lines
