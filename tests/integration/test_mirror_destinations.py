"""A mirror at two destinations of which one is down: what is told of each is its own."""

from __future__ import annotations

import socket
import urllib.request
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.openssh import OpenSshServer
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import wait_until
from tests.support.trees import differences, wait_until_equal

if TYPE_CHECKING:
    from pathlib import Path


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def metrics_of(address: str, destination: str) -> dict[str, float]:
    """All values of mirrors at that destination; of errors the sum of all kinds."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("destination") == destination and sample.labels.get("mirror") == "media":
                name = sample.name.removeprefix("replicator_mirror_")
                found[name] = found.get(name, 0) + sample.value
    return found


def status_of(config: Path, destination: str) -> dict[str, Any]:
    document = run_program("status", "-c", config, "--json").document
    found: dict[str, Any] = document["mirrors"]["media"]["destinations"][destination]
    return found


def test_what_is_told_of_a_destination_is_its_own_while_another_is_down(tmp_path: Path) -> None:
    source, here = tmp_path / "source", tmp_path / "here"
    source.mkdir()
    (source / "removed").write_text("old")
    address = free_address()
    config = ConfigFile(tmp_path / "replicator.toml", service={"metrics": address})
    config.mirror("media", source, quiet="100ms", max_delay="1s", rescan="1h")
    with OpenSshServer() as server:
        server.make_folder("account")
        there = server.local_base / "account" / "media"
        path = config.directory("here", here).sftp("gone", server, "account", timeout="2s").write()
        with RunningProgram("run", "-c", path) as program:
            program.wait_for("mirror.compared", destination="here")
            program.wait_for("mirror.compared", destination="gone")
            wait_until_equal(source, there)
            server.stop()
            before = metrics_of(address, "gone")
            for number in range(5):
                (source / f"{number}").write_text("12345")
            (source / "removed").unlink()
            program.wait_for("mirror.failed", destination="gone")
            wait_until_equal(source, here / "media")
            # As many as wait, for what is tried again is among them.
            wait_until(lambda: metrics_of(address, "gone")["backlog_files"] >= 6, "the backlog grows")
            wait_until(lambda: metrics_of(address, "here")["backlog_files"] == 0, "the other has none")
            wait_until(lambda: metrics_of(address, "here")["deletes_total"] == 1, "it counts its deletes")
            up, down = metrics_of(address, "here"), metrics_of(address, "gone")
            assert up["files_total"] >= 6
            assert up["sent_bytes_total"] >= 3 + 5 * 5
            assert up.get("errors_total", 0) == 0
            assert 0 < up["delay_seconds"] < 60
            same = ("files_total", "sent_bytes_total", "deletes_total")
            assert {name: down[name] for name in same} == {name: before[name] for name in same}
            assert down["errors_total"] >= 1
            shown_up, shown_down = status_of(path, "here"), status_of(path, "gone")
            assert not program.events("mirror.failed", destination="here")
            server.start()
            wait_until_equal(source, there)
            program.wait_for("mirror.resumed", destination="gone")
            wait_until(lambda: metrics_of(address, "gone")["backlog_files"] == 0, "nothing is left")
            wait_until(lambda: metrics_of(address, "gone")["deletes_total"] == 1, "it counts its own")
            assert metrics_of(address, "gone")["files_total"] >= 6
            # From the event on, however long the destination was down.
            assert metrics_of(address, "gone")["delay_seconds"] >= 1
            program.stop()
    assert (shown_up["backlog_files"], shown_up["deletes"]) == (0, 1)
    assert shown_up["last_error"] is None
    assert shown_down["backlog_files"] >= 6
    assert (shown_down["files"], shown_down["deletes"]) == (1, 0)
    assert shown_down["last_error"]["message"]
    assert differences(source, here / "media") == []
