"""`replicator run` as systemd sees it (`Type=notify`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.program import ConfigFile, RunningProgram
from tests.support.service_manager import NotifySocket

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.databases import TwoStates
    from tests.support.openssh import OpenSshServer


def test_a_service_from_its_start_to_its_end(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s").sftp("standby", server, account)
    with NotifySocket(tmp_path) as heard:
        environment = heard.environment(watchdog_seconds=1)
        with RunningProgram("run", "-c", config.write(), environment=environment) as service:
            assert heard.wait_for("READY") == {"READY": "1"}
            assert service.events("service.started")
            heard.wait_for("STATUS", containing="app: standby lags ")
            heard.wait_for("WATCHDOG", times=5)
            assert not heard.messages("STOPPING")
            service.stop()
        assert heard.wait_for("STOPPING") == {"STOPPING": "1"}


def test_a_destination_that_is_down_does_not_end_the_heartbeat(
    config: ConfigFile, server: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"))
    url = "sftp://nobody@127.0.0.1:1/base"
    config.destinations.append({"name": "gone", "url": url, "known_hosts": server.known_hosts})
    with NotifySocket(tmp_path) as heard:
        environment = heard.environment(watchdog_seconds=0.5)
        with RunningProgram("run", "-c", config.write(), environment=environment) as service:
            service.wait_for("destination.retry", times=2)
            heard.wait_for("STATUS", containing="app: gone has nothing yet (FAILING)")
            heard.wait_for("WATCHDOG", times=len(heard.messages("WATCHDOG")) + 3)
            finished = service.stop()
    assert not finished.events("service.stuck")


def test_a_manager_that_cannot_be_reached_does_no_harm(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    environment = {"NOTIFY_SOCKET": os.fspath(tmp_path / "nobody")}
    with RunningProgram("run", "-c", config.write(), environment=environment) as service:
        service.wait_for("publish.done")
        finished = service.stop()
    assert finished.event("systemd.unreachable")["level"] == "warning"
