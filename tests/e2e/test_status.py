"""What a running service tells of itself: `replicator status`, and metrics over HTTP."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.program import PROGRAM, ConfigFile, RunningProgram, run_program
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.databases import TwoStates
    from tests.support.openssh import OpenSshServer

FAILED = 1

_WAIT_SECONDS = 90.0

#: What the document says of a database at a destination.
Pair = dict[str, Any]


def is_published(pair: Pair) -> bool:
    return pair["generation"] is not None


def has_failed(pair: Pair) -> bool:
    return pair["last_error"] is not None


def status_document(config: ConfigFile, *, code: int = 0) -> Any:  # noqa: ANN401 - as Finished.document
    return run_program("status", "-c", config.path, "--json", code=code).document


def pair_when(
    service: RunningProgram, config: ConfigFile, destination: str, condition: Callable[[Pair], object]
) -> Pair:
    """Wait until what the running service tells of `app` at that destination is so; return it."""
    service.wait_for("service.started")
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        pair: Pair = status_document(config)["databases"]["app"]["destinations"][destination]
        if condition(pair):
            return pair
        assert time.monotonic() < deadline, pair


def dead_end(config: ConfigFile, server: OpenSshServer) -> None:
    """Add a destination where nothing listens."""
    url = "sftp://nobody@127.0.0.1:1/base"
    config.destinations.append({"name": "gone", "url": url, "known_hosts": server.known_hosts})


# --- the command ---------------------------------------------------------------------------------------


def test_all_is_well(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db"), ship_wal="off").directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        done = service.wait_for("publish.done")
        pair = pair_when(service, config, "here", is_published)
        document = status_document(config)
        shown = run_program("status", "-c", config.path).output.splitlines()
        service.stop()
    assert pair["generation"] == done["generation"]
    assert pair["lag_seconds"] >= 0
    assert pair["last_publish_at"].endswith("Z")
    assert (pair["last_error"], pair["next_try_at"], pair["last_drill"]) == (None, None, None)
    assert document["running"] is True
    assert document["state"] == "running"
    assert document["pid"] == service.process.pid
    database = document["databases"]["app"]
    # The same instant, but for what a file's time rounds off.
    captured_at = datetime.fromisoformat(database["last_checkpoint_at"])
    assert abs(captured_at - datetime.fromisoformat(pair["restorable_at"])) < timedelta(milliseconds=1)
    assert database["last_checkpoint_duration_seconds"] > 0
    assert database["free_bytes"] > 0
    assert database["last_error"] is None
    assert shown[0].startswith("running for ")
    assert f"process {service.process.pid}" in shown[0]
    heading, row = shown[2:]
    assert heading.split()[:2] == ["DATABASE", "DESTINATION"]
    assert row.split()[:2] == ["app", "here"]
    assert done["generation"] in row
    assert "FAILING" not in row


def test_a_destination_that_is_gone(
    config: ConfigFile, server: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    dead_end(config, server)
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done", destination="here")
        gone = pair_when(service, config, "gone", has_failed)
        here = pair_when(service, config, "here", is_published)
        shown = run_program("status", "-c", config.path).output.splitlines()
        service.stop()
    assert gone["generation"] is None
    assert gone["lag_seconds"] is None
    assert gone["next_try_at"] > gone["last_error"]["at"]
    assert here["last_error"] is None
    rows = {line.split()[1]: line for line in shown[3:5]}
    assert "FAILING" in rows["gone"]
    assert "not yet" in rows["gone"]
    assert "FAILING" not in rows["here"]
    assert any(line.startswith("app -> gone: failed ") and " ago: " in line for line in shown)
    assert any(line.startswith("  next try: ") for line in shown)


def test_an_error_is_over_once_it_works_again(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s", ship_wal="off")
    config.destinations.append({"name": "here", "url": f"file://{tmp_path / 'here'}"})
    with RunningProgram("run", "-c", config.write()) as service:
        failed = service.wait_for("publish.failed")
        standing = pair_when(service, config, "here", has_failed)
        (tmp_path / "here").mkdir()
        healed = pair_when(service, config, "here", lambda pair: pair["last_error"]["recovered_at"])
        service.stop()
    assert standing["last_error"]["message"] == failed["error"]
    assert standing["last_error"]["recovered_at"] is None
    assert healed["last_error"]["message"] == failed["error"]
    assert healed["generation"] is not None
    assert healed["next_try_at"] is None


def test_a_checkpoint_that_fails(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "no-database").directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        failed = service.wait_for("checkpoint.failed")
        wait_until(lambda: status_document(config)["databases"]["app"]["last_error"] is not None, "told")
        error = status_document(config)["databases"]["app"]["last_error"]
        service.stop()
    assert error["message"] == failed["error"]
    assert error["hint"] == failed["hint"]


def test_checkpoints_of_somebody_else(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    database = states.begin(tmp_path / "db")
    run_program("checkpoint", database, tmp_path / "db.checkpoints")
    config.database("app", database, producer="external", ship_wal="off").directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        pair = pair_when(service, config, "here", is_published)
        found = status_document(config)["databases"]["app"]
        service.stop()
    assert found["last_checkpoint_at"] == pair["restorable_at"]
    assert found["last_checkpoint_duration_seconds"] is None


def test_a_service_that_was_killed(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        generation = pair_when(service, config, "here", is_published)["generation"]
        service.process.kill()
        service.wait()
    shown = run_program("status", "-c", config.path, code=FAILED).output
    assert "the service is not running: its last sign of life was " in shown
    assert generation in shown
    document = status_document(config, code=FAILED)
    assert document["running"] is False
    assert document["state"] == "running"
    assert document["databases"]["app"]["destinations"]["here"]["lag_seconds"] > 0


def test_a_service_that_has_never_run(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "db").directory("here", tmp_path / "here")
    shown = run_program("status", "-c", config.write(), code=FAILED).output
    assert f"has never run with {tmp_path / 'state'}" in shown
    assert "not yet" in shown
    document = status_document(config, code=FAILED)
    assert document["running"] is False
    assert document["databases"]["app"]["destinations"]["here"]["generation"] is None
    assert not (tmp_path / "state").exists()


def test_a_service_that_was_stopped(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        done = service.wait_for("publish.done")
        service.stop()
    shown = run_program("status", "-c", config.path, code=FAILED).output
    assert "the service is not running: it stopped at 2" in shown
    assert done["generation"] in shown
    document = status_document(config, code=FAILED)
    assert (document["running"], document["state"]) == (False, "stopped")


def test_a_single_pass_leaves_no_state(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.service["metrics"] = f"127.0.0.1:{taken.getsockname()[1]}"
        run_program("run", "-c", config.write(), "--once")
    assert not (tmp_path / "state").exists()


def test_what_the_configuration_has_and_the_service_does_not(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        pair_when(service, config, "here", is_published)
        config.directory("there", tmp_path / "there").database("new", tmp_path / "new").write()
        pairs = {
            (name, destination): pair["generation"]
            for name, database in status_document(config)["databases"].items()
            for destination, pair in database["destinations"].items()
        }
        service.stop()
    assert pairs.pop(("app", "here")) is not None
    assert pairs == {("app", "there"): None, ("new", "here"): None, ("new", "there"): None}


def test_a_state_folder_that_cannot_be_used_stops_nothing(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s").directory("here", tmp_path / "here")
    (tmp_path / "state").touch()
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.unchanged", times=2)
        finished = service.stop()
    assert finished.event("state_file.failed")["hint"]


def test_a_state_file_of_something_else(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "db").directory("here", tmp_path / "here")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "status.json").write_text("{}")
    refused = run_program("status", "-c", config.write(), code=FAILED)
    assert "status.json is not what this version" in refused.errors
    assert "hint: " in refused.errors


def test_two_services_with_one_state_dir(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    other = ConfigFile(tmp_path / "other.toml").database("other", states.begin(tmp_path / "db2"))
    other.directory("there", tmp_path / "there")
    with RunningProgram("run", "-c", config.write()) as service:
        generation = pair_when(service, config, "here", is_published)["generation"]
        refused = run_program("run", "-c", other.write(), code=FAILED)
        assert pair_when(service, config, "here", is_published)["generation"] == generation
        service.stop()
    assert f"state_dir {tmp_path / 'state'} is held by process {service.process.pid} (" in refused.errors
    assert "hint: one service for each state_dir" in refused.errors
    assert not refused.events("checkpoint.made")


def test_watching(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with RunningProgram("status", "--watch", "-c", config.write()) as shown:
        wait_until(lambda: "has never run" in shown.output(), "the first look")
        with RunningProgram("run", "-c", config.path) as service:
            wait_until(lambda: f"process {service.process.pid}" in shown.output(), "the next looks")
            service.stop()
        wait_until(lambda: "it stopped at 2" in shown.output(), "the last looks")
        shown.send(signal.SIGINT)
        finished = shown.wait()
    assert finished.code == 0
    assert finished.errors == ""
    refused = run_program("status", "--watch", "--json", "-c", config.path, code=2)
    assert "--json" in refused.errors


def test_watching_on_a_terminal(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "db").directory("here", tmp_path / "here").write()
    terminal, inner = pty.openpty()
    command: list[str | Path] = [PROGRAM, "status", "--watch", "-c", config.path]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        seen = b""
        while seen.count(b"\x1b[H") < 2:
            seen += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    os.close(terminal)
    assert b"has never run" in seen
    assert b"\x1b[K\r\n" in seen


# --- metrics -------------------------------------------------------------------------------------------


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        return str(answer.read().decode())


def scrape(address: str) -> dict[tuple[str, str | None, str | None], float]:
    """Return all values by name, destination and kind."""
    return {
        (sample.name.removeprefix("replicator_"), sample.labels.get("destination"), sample.labels.get("kind")): (
            sample.value
        )
        for family in text_string_to_metric_families(get(f"http://{address}/metrics"))
        for sample in family.samples
    }


def test_metrics_of_a_running_service(
    config: ConfigFile, server: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s").directory("here", tmp_path / "here")
    run_program("run", "-c", config.write(), "--once")
    dead_end(config, server)
    address = free_address()
    config.service["metrics"] = address
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done")
        service.wait_for("publish.unchanged")
        service.wait_for("destination.retry")
        values = scrape(address)
        assert get(f"http://{address}/healthz") == "ok"
        finished = service.stop()
    published = finished.event("publish.done")
    assert values["uploaded_bytes_total", "here", None] >= published["bytes_sent"] > 0
    assert values["reused_files_total", "here", None] >= published["files_reused"] > 0
    assert values["checkpoint_duration_seconds_count", None, None] >= 2
    assert values["checkpoint_failures_total", None, None] == 0
    assert values["free_bytes", None, None] > 0
    assert 0 <= values["lag_seconds", "here", None] < float("inf")
    assert values["lag_seconds", "gone", None] == float("inf")
    assert values["last_publish_timestamp_seconds", "here", None] > 0
    assert values["transfer_errors_total", "gone", "connection"] >= 1
    assert not finished.events("config.no_effect")
    try:
        get(f"http://{address}/healthz")
    except urllib.error.URLError:
        pass
    else:
        raise AssertionError("something still listens")


def test_a_port_in_use_is_named_with_the_remedy(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.service["metrics"] = address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = run_program("run", "-c", config.write(), code=FAILED)
    assert f"cannot serve metrics on {address}: Address already in use" in refused.errors
    assert "hint: set service.metrics" in refused.errors
    assert not refused.events("checkpoint.made")
    assert not (tmp_path / "state").exists()
