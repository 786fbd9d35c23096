"""Hooks and the dead man's switch with real programs and a real server."""

from __future__ import annotations

import json
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from replicator.config.values import HeartbeatUrl
from replicator.errors import CheckpointError, ConnectionLostError, ReplicatorError
from replicator.liveness import Vitals
from replicator.service.board import StatusBoard
from replicator.service.dead_mans_switch import DeadMansSwitch, fetch
from replicator.service.health import Health
from replicator.service.hook_process import run_program
from replicator.service.hooks import HookRunner, HookSettings
from replicator.service.status import Activity, Watched
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = ConnectionLostError("the line is dead", hint="look at it")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def publish(board: StatusBoard, generation: str = "g1") -> None:
    board.published(
        "app",
        "standby",
        generation=generation,
        captured_at_seconds=1.0,
        sent_bytes=0,
        reused_files=0,
        reused_bytes=0,
    )


# --- one program ---------------------------------------------------------------------------------------


def test_a_program_gets_its_arguments_and_the_variables(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_program(
        [script(tmp_path / "hook", 'echo "$1 $REPLICATOR_X" > "$2"'), "$HOME; rm", str(out)],
        {"REPLICATOR_X": "y z"},
        timeout_seconds=60,
    )
    assert out.read_text() == "$HOME; rm y z\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo no such luck >&2; exit 3", "ended with code 3: no such luck"),
        ("kill -9 $$", "was killed by signal 9"),
    ],
)
def test_a_program_that_fails_is_told_of(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ReplicatorError, match=message):
        run_program([script(tmp_path / "hook", text)], {}, timeout_seconds=60)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ReplicatorError, match="cannot run /no/such/hook: No such file or directory") as caught:
        run_program(["/no/such/hook"], {}, timeout_seconds=60)
    assert caught.value.hint


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    hook = script(tmp_path / "hook", f"sleep 1000 & echo $! > {mark}.new; mv {mark}.new {mark}; wait")
    with pytest.raises(ReplicatorError, match=r"was killed: it was not done after 1\.0 s"):
        run_program([hook], {}, timeout_seconds=1)

    def is_gone() -> bool:
        try:
            # A zombie has no memory any more.
            return "VmRSS" not in Path(f"/proc/{mark.read_text().strip()}/status").read_text()
        except FileNotFoundError:
            return True

    wait_until(is_gone, "the end of its child")


# --- what they are run for -----------------------------------------------------------------------------


def test_hooks_are_told_what_happened_and_failures_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = "EVENT DATABASE DESTINATION GENERATION ERROR HINT"
    line = "|".join(f"$REPLICATOR_{name}" for name in names.split())
    hook = (script(tmp_path / "hook", f'echo "{line}" >> {out}'),)
    with HookRunner(HookSettings(hook, hook, 60)) as hooks:
        board = StatusBoard([Watched("app", ("standby",), shipping=True)], listener=hooks)
        publish(board)
        for will_heal in (True, False, False, True, False):
            board.failed(
                "app", "standby", error=LOST, kind="connection", next_try_at_seconds=None, will_heal=will_heal
            )
        board.failed(
            "app", "standby", error=LOST, kind="connection", next_try_at_seconds=None, activity=Activity.SHIP
        )
        board.recovered("app", "standby")
        board.failed("app", "standby", error=LOST, kind="connection", next_try_at_seconds=None)
        for _ in range(3):
            board.checkpoint_failed("app", error=CheckpointError("no room"))
        board.checkpoint_made("app", captured_at_seconds=1, duration_seconds=1)
        board.checkpoint_failed("app", error=CheckpointError("no room again"))
        board.drilled("app", "standby", at_seconds=1, loss_seconds=None, took_seconds=1, error="it is damaged")
    assert out.read_text().splitlines() == [
        "published|app|standby|g1||",
        "publish_failed|app|standby||the line is dead|look at it",
        "shipping_failed|app|standby||the line is dead|look at it",
        "publish_failed|app|standby||the line is dead|look at it",
        "checkpoint_failed|app|||no room|",
        "checkpoint_failed|app|||no room again|",
        "drill_failed|app|standby||it is damaged|",
    ]


def test_a_hook_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    hook = (script(tmp_path / "hook", "exec sleep 1000"),)
    with capture_logs() as logs, HookRunner(HookSettings(hook, None, 1)) as hooks:
        board = StatusBoard([Watched("app", ("standby",), shipping=True)], listener=hooks)
        for number in range(1000):
            publish(board, f"g{number}")
    events = [line["event"] for line in logs]
    assert events.count("hook.dropped") == 1
    assert 1 <= events.count("hook.failed") <= 2


# --- the dead man's switch -----------------------------------------------------------------------------


class WebServer(HTTPServer):
    """Answers with `code` and counts."""

    code = 200
    paths: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer(("127.0.0.1", 0), _Handler)
    server.paths = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_switch_is_silent_as_soon_as_something_is_wrong(web: WebServer) -> None:
    board = StatusBoard([Watched("app", ("standby",), shipping=True)])
    health = Health(board, Vitals(), max_lag_seconds=None)
    url = HeartbeatUrl(f"http://127.0.0.1:{web.server_port}/secret-token")
    with capture_logs() as logs, DeadMansSwitch(health, url=url, interval_seconds=0.02):
        wait_until(lambda: any(line["event"] == "heartbeat.silent" for line in logs), "silence")
        assert web.paths == []
        publish(board)
        wait_until(lambda: len(web.paths) >= 2, "heartbeats")
        board.failed("app", "standby", error=LOST, kind="connection", next_try_at_seconds=None)
        wait_until(lambda: [line["event"] for line in logs].count("heartbeat.silent") == 2, "silence")
        beats = len(web.paths)
        time.sleep(0.1)
        assert len(web.paths) == beats
        web.code = 500
        board.recovered("app", "standby")
        wait_until(lambda: any(line["event"] == "heartbeat.failed" for line in logs), "a failure")
    assert set(web.paths) == {"/secret-token"}
    (failed,) = [line for line in logs if line["event"] == "heartbeat.failed"]
    assert (failed["host"], failed["error"]) == ("127.0.0.1", "the server answered 500")
    assert "secret-token" not in json.dumps(logs)


def test_a_fetch_that_fails_says_nothing_of_the_url() -> None:
    assert fetch("http://127.0.0.1:1/secret") == "Connection refused"
    for url in ("http://secret..example/", "http://[secret/", "http://127.0.0.1:1/se cret"):
        assert "secret" not in fetch(url)
        assert fetch(url)
