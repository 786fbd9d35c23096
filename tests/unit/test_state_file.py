"""The state file: what the service writes is what is read, and nothing about it stops the service."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from replicator.errors import ReplicatorError
from replicator.liveness import Vitals
from replicator.service.board import StatusBoard
from replicator.service.mirror_status import MirrorStatus
from replicator.service.state_document import decode_state, encode_state
from replicator.service.state_file import STATE_NAME, StateWriter, read_state
from replicator.service.status import (
    DatabaseStatus,
    Drill,
    Failure,
    PairStatus,
    RunState,
    ServiceState,
    Watched,
)
from tests.support.published import wait_until

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text("abc-_.", min_size=1, max_size=5)
# Microseconds are what is kept of a time.
TIMES = st.integers(0, 4 * 10**15).map(lambda microseconds: microseconds / 1e6)
COUNTS = st.integers(0, 2**60)
NUMBERS = st.floats(0, 1e9)
FAILURES = st.builds(Failure, TEXTS, TEXTS, TIMES, st.none() | TIMES)
PAIRS = st.builds(
    PairStatus,
    destination=NAMES,
    generation=st.none() | TEXTS,
    last_publish_at_seconds=st.none() | TIMES,
    restorable_at_seconds=st.none() | TIMES,
    backlog_bytes=st.none() | COUNTS,
    last_error=st.none() | FAILURES,
    next_try_at_seconds=st.none() | TIMES,
    last_drill=st.none() | st.builds(Drill, TIMES, st.none() | NUMBERS, NUMBERS, st.none() | TEXTS),
)
DATABASES = st.builds(
    DatabaseStatus,
    name=NAMES,
    shipping=st.booleans(),
    last_checkpoint_at_seconds=st.none() | TIMES,
    last_checkpoint_duration_seconds=st.none() | NUMBERS,
    last_error=st.none() | FAILURES,
    pinned_bytes=st.none() | COUNTS,
    free_bytes=st.none() | COUNTS,
    given_up=st.lists(TEXTS, max_size=3).map(tuple),
    destinations=st.lists(PAIRS, max_size=3, unique_by=lambda pair: pair.destination).map(tuple),
)
MIRRORS = st.builds(
    MirrorStatus,
    mirror=NAMES,
    destination=NAMES,
    backlog_files=st.none() | COUNTS,
    last_comparison_at_seconds=st.none() | TIMES,
    last_delay_seconds=st.none() | NUMBERS,
    files=COUNTS,
    sent_bytes=COUNTS,
    deletes=COUNTS,
    failed_files=COUNTS,
    refused_deletes=COUNTS,
    unwatched_folders=st.none() | COUNTS,
    last_error=st.none() | FAILURES,
    next_try_at_seconds=st.none() | TIMES,
)
STATES = st.builds(
    ServiceState,
    program_version=TEXTS,
    pid=st.integers(1, 2**22),
    started_at_seconds=TIMES,
    written_at_seconds=TIMES,
    state=st.sampled_from(RunState),
    databases=st.lists(DATABASES, max_size=3, unique_by=lambda database: database.name).map(tuple),
    mirrors=st.lists(MIRRORS, max_size=3, unique_by=lambda mirror: (mirror.mirror, mirror.destination)).map(
        lambda mirrors: tuple(sorted(mirrors, key=lambda mirror: mirror.mirror))
    ),
)
STATE = ServiceState(
    program_version="1.0",
    pid=17,
    started_at_seconds=1_000_000_000.5,
    written_at_seconds=1_000_000_001.0,
    state=RunState.RUNNING,
    databases=(DatabaseStatus("app", shipping=True, destinations=(PairStatus("standby"),)),),
    mirrors=(MirrorStatus("media", "standby", backlog_files=3),),
)


@given(STATES)
def test_what_is_written_is_read(state: ServiceState) -> None:
    assert decode_state(encode_state(state)) == state


def test_keys_and_values_are_those_that_are_documented() -> None:
    assert json.loads(encode_state(STATE)) == {
        "format": 1,
        "program_version": "1.0",
        "pid": 17,
        "started_at": "2001-09-09T01:46:40.500000Z",
        "written_at": "2001-09-09T01:46:41.000000Z",
        "state": "running",
        "databases": {
            "app": {
                "shipping": True,
                "last_checkpoint_at": None,
                "last_checkpoint_duration_seconds": None,
                "last_error": None,
                "pinned_bytes": None,
                "free_bytes": None,
                "given_up": [],
                "destinations": {
                    "standby": {
                        "generation": None,
                        "last_publish_at": None,
                        "restorable_at": None,
                        "backlog_bytes": None,
                        "last_error": None,
                        "next_try_at": None,
                        "last_drill": None,
                    }
                },
            }
        },
        "mirrors": {
            "media": {
                "destinations": {
                    "standby": {
                        "backlog_files": 3,
                        "last_comparison_at": None,
                        "last_delay_seconds": None,
                        "files": 0,
                        "sent_bytes": 0,
                        "deletes": 0,
                        "failed_files": 0,
                        "refused_deletes": 0,
                        "unwatched_folders": None,
                        "last_error": None,
                        "next_try_at": None,
                    }
                }
            }
        },
    }


def garbled(**changes: object) -> bytes:
    document: dict[str, Any] = json.loads(encode_state(STATE))
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        encode_state(STATE)[:-1],
        garbled(format=2),
        garbled(pid="17"),
        garbled(written_at=3),
        garbled(written_at="yesterday"),
        garbled(state="dancing"),
        garbled(databases=[1]),
        garbled(databases={"app": None}),
        garbled(databases={"app": {}}),
    ],
)
def test_anything_else_is_told_apart(content: bytes, tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_bytes(content)
    with pytest.raises(ReplicatorError, match="is not what this version") as caught:
        read_state(tmp_path)
    assert caught.value.hint


def test_no_file_means_that_no_service_has_run(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    (tmp_path / "file").touch()
    assert read_state(tmp_path / "file") is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).mkdir()
    with pytest.raises(ReplicatorError, match="cannot read"):
        read_state(tmp_path)


def test_the_writer_follows_the_board_until_its_end(tmp_path: Path) -> None:
    board = StatusBoard([Watched("app", ("standby",), shipping=False)])
    folder = tmp_path / "deep" / "state"

    def free_bytes() -> int | None:
        state = read_state(folder)
        return state.databases[0].free_bytes if state else None

    with StateWriter(board, folder):
        wait_until(lambda: read_state(folder) is not None, "written")
        board.free("app", count_bytes=1234)
        wait_until(lambda: free_bytes() == 1234, "written anew")
        running = read_state(folder)
        board.free("app", count_bytes=5678)
    stopped = read_state(folder)
    assert running
    assert stopped
    assert (running.state, stopped.state) == (RunState.RUNNING, RunState.STOPPED)
    assert running.started_at_seconds == stopped.started_at_seconds <= stopped.written_at_seconds
    assert free_bytes() == 5678
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [STATE_NAME]


def test_a_sign_of_life_comes_without_any_change(tmp_path: Path) -> None:
    def written_at() -> float:
        state = read_state(tmp_path)
        return state.written_at_seconds if state else 0.0

    with StateWriter(StatusBoard([]), tmp_path):
        wait_until(lambda: written_at() > 0, "written")
        first = written_at()
        wait_until(lambda: written_at() > first, "written again")
        assert read_state(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    board = StatusBoard([Watched("app", (), shipping=False)])
    with capture_logs() as logs, StateWriter(board, tmp_path / "file" / "state"):
        wait_until(lambda: bool(logs), "warned")
        board.free("app", count_bytes=1)
    (warning,) = logs
    assert warning["event"] == "state_file.failed"
    assert warning["log_level"] == "warning"
    assert str(tmp_path / "file" / "state") in warning["error"]
    assert "state_dir" in warning["hint"]


def test_a_disk_that_does_not_answer_is_a_hang_until_it_does(tmp_path: Path) -> None:
    vitals = Vitals(patience_seconds=0.3)
    board = StatusBoard([Watched("app", (), shipping=False)])
    with StateWriter(board, tmp_path, vitals=vitals):
        wait_until(lambda: read_state(tmp_path) is not None, "written")
        # Whoever writes to a FIFO waits for a reader.
        fifo = tmp_path / f"{STATE_NAME}.tmp"
        os.mkfifo(fifo)
        board.free("app", count_bytes=1)
        try:
            wait_until(lambda: [stuck.name for stuck in vitals.stuck()] == ["state file"], "stuck")
        finally:
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        wait_until(lambda: not fifo.exists() and not vitals.stuck(), "it goes on")
        os.close(reader)
    assert not vitals.stuck()
