"""What a service manager is told, at a real socket."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from replicator.service.systemd import ServiceManager
from tests.support.service_manager import NotifySocket

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_said(tmp_path: Path) -> None:
    with NotifySocket(tmp_path) as heard:
        environment = {**heard.environment(watchdog_seconds=3), "PATH": "/bin"}
        manager = ServiceManager.from_environment(environment)
        assert environment == {"PATH": "/bin"}
        assert manager.is_there
        assert manager.watchdog_seconds == 3
        manager.reloading()
        manager.ready()
        manager.status("app: standby lags 1.0 s")
        manager.alive()
        manager.stopping()
        heard.wait_for("STOPPING")
        reloading = heard.wait_for("RELOADING")
        assert int(reloading["MONOTONIC_USEC"]) > 0
        assert heard.messages("READY") == [{"READY": "1"}]
        assert heard.messages("STATUS") == [{"STATUS": "app: standby lags 1.0 s"}]
        assert heard.messages("WATCHDOG") == [{"WATCHDOG": "1"}]


def test_a_socket_with_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("notify")
        ServiceManager("notify").ready()
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whether_a_heartbeat_is_expected(environment: dict[str, str], seconds: float | None) -> None:
    manager = ServiceManager.from_environment(environment)
    assert manager.watchdog_seconds == seconds
    assert not manager.is_there
    manager.ready()


def test_a_manager_that_has_gone_is_told_of_once(tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "nobody"))
    with capture_logs() as logs:
        manager.ready()
        manager.alive()
    assert [line["event"] for line in logs] == ["systemd.unreachable"]
