"""Restore drills as an operator makes them, and as the service makes them."""

from __future__ import annotations

import json
import signal
import socket
import tarfile
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.demo.settings import PrimarySettings
from replicator.replica.layout import GenerationId
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import position_of, wait_until
from tests.support.replicas import flip_bit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.databases import TwoStates
    from tests.support.openssh import OpenSshServer

FIXTURE = Path(__file__).parents[1] / "fixtures" / "rocksdb-11.9-format-7.tar.gz"

FAILED = 1
USAGE = 2
PARTLY = 3
DAMAGED = 4
BAD_CONFIG = 78
INTERRUPTED = 130


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, which must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def largest_table(replica: Path) -> Path:
    return max((replica / "checkpoint_current").resolve().glob("*.sst"), key=lambda path: path.stat().st_size)


@pytest.fixture(params=["sftp", "directory"])
def replicated(
    request: pytest.FixtureRequest, config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates
) -> ConfigFile:
    """A configuration with a replica of `app` at `there`."""
    config.database("app", states.begin(config.folder / "db"), interval="1h")
    if request.param == "sftp":
        config.sftp("there", server, account)
    else:
        config.directory("there", config.folder / "there")
    run_program("run", "-c", config.write(), "--once")
    return config


def at_a_crawl(config: ConfigFile) -> ConfigFile:
    """Limit the destination: the first table alone takes minutes."""
    config.destinations[0] = {**config.destinations[0], "limit": "8KiB/s"}
    return config


# --- the command -------------------------------------------------------------------------------------


def test_every_database_at_every_destination(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "app"))
    config.database("other", states.begin(tmp_path / "other"), destinations=["here"])
    config.sftp("standby", server, account).directory("here", tmp_path / "here")
    run_program("run", "-c", config.write(), "--once")
    before = datetime.now(UTC)
    document = run_program("drill", "-c", config.path, "--json").document
    assert document["sound"] is True
    drills = document["drills"]
    assert [(made["database"], made["destination"]) for made in drills] == [
        ("app", "standby"),
        ("app", "here"),
        ("other", "here"),
    ]
    for made in drills:
        assert made["sound"] is made["engine_opened"] is True
        assert made["engine"] == "opened by RocksDB 9.8.4"
        assert made["error"] is made["hint"] is None
        base = server.local_base / account if made["destination"] == "standby" else tmp_path / "here"
        generation = (base / made["database"] / "checkpoint_current").resolve()
        assert made["generation"] == generation.name
        state_at, began_at = (datetime.fromisoformat(made[key]) for key in ("state_at", "began_at"))
        assert began_at >= before
        assert made["loss_seconds"] == (began_at - state_at).total_seconds() > 0
        assert made["took_seconds"] > 0
        assert made["files"] == len(list(generation.iterdir())) - 2
        assert made["size_bytes"] > 5_000_000

    (row,) = run_program("drill", "-c", config.path, "-d", "standby").output.splitlines()[1:]
    assert row.split()[:4] == ["OK", "app", "standby", drills[0]["generation"]]
    assert row.endswith("opened by RocksDB 9.8.4")
    assert position_of(server.local_base / account / "app" / "checkpoint_current") > 0


def test_damage_at_one_destination(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"))
    config.sftp("standby", server, account).directory("here", tmp_path / "here")
    run_program("run", "-c", config.write(), "--once")
    table = largest_table(server.local_base / account / "app")
    flip_bit(table)
    server.give(table)
    shown = run_program("drill", "-c", config.path, code=DAMAGED).output.splitlines()
    assert [row.split()[:3] for row in shown[1:3]] == [["FAILED", "app", "standby"], ["OK", "app", "here"]]
    assert shown[4].startswith("app -> standby: ")
    assert table.name in shown[4]
    assert shown[5].startswith("  hint: ")
    document = run_program("drill", "-c", config.path, "--json", code=DAMAGED).document
    assert document["sound"] is False
    damaged, sound = document["drills"]
    assert damaged["damage"] == [f"{table.name}: wrong SHA-256"]
    assert damaged["loss_seconds"] is damaged["generation"] is None
    assert sound["sound"] is True
    run_program("drill", "-c", config.path, "--destination", "here")


def test_a_replica_that_is_not_there_yet(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    failed = run_program("drill", "-c", config.write(), code=FAILED)
    assert "app -> here: " in failed.output
    assert "there is no replica in app" in failed.output
    run_program("run", "-c", config.path, "--once")
    config.directory("new", tmp_path / "new")
    partly = run_program("drill", "-c", config.write(), "--json", code=PARTLY).document
    assert [made["sound"] for made in partly["drills"]] == [True, False]


def test_a_database_that_the_engine_cannot_open(config: ConfigFile, tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    config.database("app", tmp_path / "rocksdb-11.9").directory("here", tmp_path / "here")
    run_program("run", "-c", config.write(), "--once")
    (made,) = run_program("drill", "-c", config.path, "--json").document["drills"]
    assert (made["sound"], made["engine_opened"]) == (True, False)
    assert made["engine"].startswith("structure only: ")
    assert made["engine"].endswith("cannot open databases of RocksDB 11.9.0")
    assert "structure only: " in run_program("drill", "-c", config.path).output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_drill_leaves_nothing(
    replicated: ConfigFile, scratch: Path, number: signal.Signals
) -> None:
    with RunningProgram("drill", "-c", at_a_crawl(replicated).write()) as program:
        wait_until(lambda: any(scratch.rglob("*.part")), "a file has begun to arrive")
        program.send(number)
        finished = program.wait()
    assert finished.code == INTERRUPTED
    assert "interrupted" in finished.errors
    assert finished.output == ""
    assert list(scratch.iterdir()) == []


def test_a_folder_without_room_is_named_with_its_option(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    run_program("run", "-c", config.write(), "--once")
    failed = run_program("drill", "-c", config.path, "--folder", tmp_path / "nothing", code=FAILED)
    assert str(tmp_path / "nothing") in failed.output
    assert "--folder" in failed.output


def test_the_folder_of_the_configuration_is_where_a_drill_restores_to(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    config.service["drill_folder"] = tmp_path / "nothing"
    run_program("run", "-c", config.write(), "--once")
    failed = run_program("drill", "-c", config.path, code=FAILED)
    assert str(tmp_path / "nothing") in failed.output
    run_program("drill", "-c", config.path, "--folder", tmp_path)


def test_wrong_names(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db"), destinations=["here"])
    config.directory("here", tmp_path / "here").directory("idle", tmp_path / "idle").write()
    unknown = run_program("drill", "-c", config.path, "-d", "nowhere", code=BAD_CONFIG)
    assert "there is no destination 'nowhere'" in unknown.errors
    idle = run_program("drill", "-c", config.path, "-d", "idle", code=USAGE)
    assert "idle" in idle.errors


# --- beside and in the service -----------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def shipped(generation: Path) -> list[datetime]:
    """Return the instants up to which a generation was shipped to."""
    journal = generation / "shipped.jsonl"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [datetime.fromisoformat(json.loads(line)["at"]) for line in lines]


def test_a_drill_beside_a_service_that_ships(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    config.database("app", tmp_path / "db", interval="1h").sftp("standby", server, account)
    with Primary(tmp_path / "db", PrimarySettings(batches_per_second=200)) as primary:
        primary.wait_for(100)
        with RunningProgram("run", "-c", config.write()) as service:
            done = service.wait_for("publish.done")
            generation = server.local_base / account / "app" / "generations" / done["generation"]
            wait_until(lambda: len(shipped(generation)) >= 2, "shipped to")
            known_at = shipped(generation)[-1]
            (made,) = run_program("drill", "-c", config.path, "--json").document["drills"]
            finished = service.stop()
    assert made["sound"] is True
    assert made["generation"] == done["generation"]
    state_at, began_at = (datetime.fromisoformat(made[key]) for key in ("state_at", "began_at"))
    assert state_at >= known_at > GenerationId.parse(made["generation"]).time
    assert 0 <= made["loss_seconds"] <= (began_at - known_at).total_seconds()
    for failure in ("shipping.interrupted", "publish.failed", "destination.retry", "checkpoint.failed"):
        assert finished.events(failure) == []


def test_a_service_that_drills(config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path) -> None:
    port = free_port()
    config.database("app", tmp_path / "db", interval="1h").sftp("standby", server, account)
    config.directory("lost", tmp_path / "lost")
    config.service.update({"drill": "2s", "metrics": f"127.0.0.1:{port}"})
    with Primary(tmp_path / "db", PrimarySettings(batches_per_second=200)) as primary:
        primary.wait_for(100)
        with RunningProgram("run", "-c", config.write()) as service:
            service.wait_for("publish.done", destination="lost")
            service.wait_for("publish.done", destination="standby")
            done = service.wait_for_more("drill.done", destination="standby")
            (tmp_path / "lost").rename(tmp_path / "away")
            failed = service.wait_for("drill.failed", destination="lost")
            wait_until(
                lambda: (
                    "restore drill" in run_program("status", "-c", config.path).output
                    and "FAILED" in run_program("status", "-c", config.path).output
                ),
                "both drills are shown",
            )
            shown = run_program("status", "-c", config.path).output
            status = run_program("status", "-c", config.path, "--json").document
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                metrics = {
                    (sample.name, sample.labels.get("destination")): sample.value
                    for family in text_string_to_metric_families(response.read().decode())
                    for sample in family.samples
                }
            service.stop()
    assert done["engine"] == "opened by RocksDB 9.8.4"
    assert failed["level"] == "error"
    assert failed["hint"]
    pairs = status["databases"]["app"]["destinations"]
    assert pairs["standby"]["last_drill"]["error"] is None
    assert pairs["standby"]["last_drill"]["loss_seconds"] >= 0
    assert pairs["lost"]["last_drill"]["error"]
    assert "app -> standby: restore drill " in shown
    assert "app -> lost: restore drill " in shown
    assert metrics["replicator_last_drill_timestamp_seconds", "standby"] > 0
    assert metrics["replicator_drill_loss_seconds", "standby"] >= 0
    assert metrics["replicator_drill_failures_total", "lost"] >= 1


def test_a_service_that_is_stopped_in_a_drill_leaves_nothing(replicated: ConfigFile) -> None:
    folder = replicated.folder / "drills"
    folder.mkdir()
    replicated.service.update({"drill": "100ms", "drill_folder": folder})
    with RunningProgram("run", "-c", at_a_crawl(replicated).write()) as service:
        wait_until(lambda: any(folder.rglob("*.part")), "a file has begun to arrive")
        finished = service.stop()
    assert finished.events("drill.interrupted", database="app", destination="there")
    assert not finished.events("drill.failed")
    assert list(folder.iterdir()) == []


def test_a_restart_does_not_put_a_drill_off(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1h").directory("here", tmp_path / "here")
    config.service.update({"drill": "1s"})
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("drill.done")
        service.stop()
    config.service.update({"drill": "1d"})
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("service.started")
        before = run_program("status", "-c", config.path, "--json").document
        service.stop()
    assert before["databases"]["app"]["destinations"]["here"]["last_drill"]["error"] is None
