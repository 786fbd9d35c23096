"""Metrics: what the board knows, as Prometheus reads it, and the server that tells it."""

from __future__ import annotations

import math
import socket
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.config.values import ListenAddress
from replicator.errors import ReplicatorError
from replicator.liveness import Vitals
from replicator.service.board import StatusBoard
from replicator.service.health import Health
from replicator.service.metrics import Metrics
from replicator.service.metrics_server import MetricsServer
from replicator.service.status import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = {"database": "app", "destination": "here"}
FAR = {"database": "app", "destination": "far"}


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard([Watched("app", ("here", "far"), shipping=True)], clock=lambda: 1000.0)


@pytest.fixture
def metrics(board: StatusBoard) -> Metrics:
    return Metrics(board, clock=lambda: 1030.0)


@pytest.fixture
def health(board: StatusBoard) -> Health:
    return Health(board, Vitals(), max_lag_seconds=20, clock=lambda: 1030.0)


@pytest.fixture
def address() -> ListenAddress:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return ListenAddress("127.0.0.1", probe.getsockname()[1])


@pytest.fixture
def served(metrics: Metrics, health: Health, address: ListenAddress) -> Iterator[str]:
    with MetricsServer(metrics, health, address):
        yield f"http://{address}"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return the only sample of that name with exactly these labels; None if there is none."""
    families = text_string_to_metric_families(metrics.render().decode())
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"replicator_{name}" and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_a_destination_that_never_got_anything_lags_without_end(metrics: Metrics) -> None:
    assert value(metrics, "lag_seconds", **HERE) == math.inf
    assert value(metrics, "last_publish_timestamp_seconds", **HERE) is None
    assert value(metrics, "uploaded_bytes_total", **HERE) == 0
    assert value(metrics, "free_bytes", database="app") is None


def test_a_destination(board: StatusBoard, metrics: Metrics) -> None:
    board.published(
        "app",
        "here",
        generation="g",
        captured_at_seconds=990.0,
        sent_bytes=100,
        reused_files=3,
        reused_bytes=5000,
    )
    assert value(metrics, "lag_seconds", **HERE) == 40.0
    assert value(metrics, "lag_seconds", **FAR) == math.inf
    board.shipped("app", "here", count_bytes=70, state_at_seconds=1010.0)
    board.shipped("app", "here", count_bytes=7, state_at_seconds=1020.0)
    board.backlog("app", "here", count_bytes=11)
    assert value(metrics, "lag_seconds", **HERE) == 10.0
    assert value(metrics, "last_publish_timestamp_seconds", **HERE) == 1000.0
    assert value(metrics, "uploaded_bytes_total", **HERE) == 100
    assert value(metrics, "reused_files_total", **HERE) == 3
    assert value(metrics, "reused_bytes_total", **HERE) == 5000
    assert value(metrics, "shipped_bytes_total", **HERE) == 77
    assert value(metrics, "backlog_bytes", **HERE) == 11


def test_errors_are_counted_by_kind(board: StatusBoard, metrics: Metrics) -> None:
    for kind in ("timeout", "source", "timeout"):
        board.failed("app", "here", error=ValueError("no"), kind=kind, next_try_at_seconds=None)
    assert value(metrics, "transfer_errors_total", **HERE, kind="timeout") == 2
    assert value(metrics, "transfer_errors_total", **HERE, kind="source") == 1
    assert value(metrics, "transfer_errors_total", **FAR, kind="timeout") is None


def test_a_database(board: StatusBoard, metrics: Metrics) -> None:
    for duration_seconds in (0.05, 0.2, 1000.0):
        board.checkpoint_made("app", captured_at_seconds=1.0, duration_seconds=duration_seconds)
    board.checkpoint_failed("app", error=ValueError("no"))
    board.pinned("app", count_bytes=12)
    board.free("app", count_bytes=34)
    name = "checkpoint_duration_seconds"
    assert value(metrics, f"{name}_bucket", database="app", le="0.025") == 0
    assert value(metrics, f"{name}_bucket", database="app", le="0.05") == 1
    assert value(metrics, f"{name}_bucket", database="app", le="300.0") == 2
    assert value(metrics, f"{name}_bucket", database="app", le="+Inf") == 3
    assert value(metrics, f"{name}_count", database="app") == 3
    assert value(metrics, f"{name}_sum", database="app") == pytest.approx(1000.25)
    assert value(metrics, "checkpoint_failures_total", database="app") == 1
    assert value(metrics, "pinned_bytes", database="app") == 12
    assert value(metrics, "free_bytes", database="app") == 34


def test_drills(board: StatusBoard, metrics: Metrics) -> None:
    assert value(metrics, "last_drill_timestamp_seconds", **HERE) is None
    assert value(metrics, "drill_failures_total", **HERE) == 0
    board.drilled("app", "here", at_seconds=900.0, loss_seconds=1.5, took_seconds=3.0, error=None)
    board.drilled("app", "far", at_seconds=901.0, loss_seconds=None, took_seconds=3.0, error="torn")
    assert value(metrics, "last_drill_timestamp_seconds", **HERE) == 900.0
    assert value(metrics, "drill_loss_seconds", **HERE) == 1.5
    assert value(metrics, "drill_loss_seconds", **FAR) is None
    assert value(metrics, "drill_failures_total", **FAR) == 1


def get(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        return answer.read().decode(), answer.headers["Content-Type"]


def test_the_server(served: str, metrics: Metrics) -> None:
    content, content_type = get(f"{served}/metrics")
    assert content == metrics.render().decode()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert get(f"{served}/metrics?name=x")[0] == content
    assert get(f"{served}/healthz")[0] == "ok"
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{served}/etc/passwd")
    caught.value.close()
    assert caught.value.code == 404


def test_a_lag_that_is_too_long_makes_health_bad(served: str, board: StatusBoard) -> None:
    for destination in ("here", "far"):
        board.caught_up("app", destination, state_at_seconds=1000.0)
    board.caught_up("app", "here", state_at_seconds=1020.0)
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{served}/healthz")
    with caught.value as answer:
        assert answer.code == 503
        assert answer.read() == b"app at far lags for 30.0 s, more than max_lag = 20.0 s"
    board.caught_up("app", "far", state_at_seconds=1010.0)
    assert get(f"{served}/healthz")[0] == "ok"


def test_an_address_in_use_is_named_with_the_remedy(
    metrics: Metrics, health: Health, address: ListenAddress
) -> None:
    with (
        socket.create_server((address.host, address.port)),
        pytest.raises(ReplicatorError, match=f"metrics on {address}: Address already in use") as caught,
        MetricsServer(metrics, health, address),
    ):
        pass
    assert "service.metrics" in caught.value.hint


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_an_address_of_somebody_else(metrics: Metrics, health: Health, host: str) -> None:
    with (
        pytest.raises(ReplicatorError, match=f"cannot serve metrics on {host}:9464: "),
        MetricsServer(metrics, health, ListenAddress(host, 9464)),
    ):
        pass


def test_a_client_that_says_nothing_holds_up_nobody(
    metrics: Metrics, health: Health, address: ListenAddress
) -> None:
    before = set(threading.enumerate())
    with MetricsServer(metrics, health, address):
        with socket.create_connection((address.host, address.port)) as silent:
            assert get(f"http://{address}/healthz")[0] == "ok"
            started = set(threading.enumerate()) - before
        # It is gone now; another one stays for longer than the server.
        assert {thread.name for thread in started} == {"metrics", "metrics request"}
        silent = socket.create_connection((address.host, address.port))
        assert get(f"http://{address}/healthz")[0] == "ok"
    with silent:
        silent.settimeout(30)
        assert silent.recv(1) == b""
    assert set(threading.enumerate()) <= before
    with socket.create_server((address.host, address.port)):
        pass
