"""What `replicator status` says of what a service told last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from replicator.cli.status_report import (
    STALE_AFTER_SECONDS,
    StatusReport,
    Verdict,
    judge,
    status_document,
    status_text,
)
from replicator.service.status import (
    DatabaseStatus,
    Drill,
    Failure,
    PairStatus,
    RunState,
    ServiceState,
)

NOW = 1_000_000_300.0
RUNNING = Verdict(running=True, text="running")
STATE = ServiceState(
    program_version="1.0",
    pid=17,
    started_at_seconds=NOW - 3600,
    written_at_seconds=NOW - 2,
    state=RunState.RUNNING,
    databases=(),
)
STANDBY = PairStatus(
    "standby",
    generation="20010909T014640.123Z",
    last_publish_at_seconds=NOW - 10,
    restorable_at_seconds=NOW - 12.5,
    backlog_bytes=2048,
)
APP = DatabaseStatus(
    "app",
    shipping=True,
    last_checkpoint_at_seconds=NOW - 12.5,
    last_checkpoint_duration_seconds=0.1,
    pinned_bytes=1024,
    free_bytes=10**9,
    destinations=(STANDBY, PairStatus("here")),
)


def verdict(state: ServiceState | None, *, process_exists: bool = True) -> Verdict:
    return judge(state, Path("/srv/state"), now_seconds=NOW, process_exists=process_exists)


def text(database: DatabaseStatus, found: Verdict = RUNNING) -> list[str]:
    return status_text(StatusReport(found, STATE, (database,), NOW)).splitlines()


def test_a_service_that_runs() -> None:
    assert verdict(STATE) == Verdict(running=True, text="running for 1 h 00 m: process 17, version 1.0")
    assert verdict(replace(STATE, written_at_seconds=NOW - STALE_AFTER_SECONDS)).running
    # A clock that was set back.
    assert verdict(replace(STATE, written_at_seconds=NOW + 100)).running


@pytest.mark.parametrize(
    ("state", "process_exists", "said"),
    [
        (None, False, "has never run with /srv/state"),
        (STATE, False, "is not running: its last sign of life was 2.0 s ago"),
        (
            replace(STATE, written_at_seconds=NOW - 300),
            True,
            "is not running: its last sign of life was 5 m 00 s ago (or process 17 hangs",
        ),
        (
            replace(STATE, written_at_seconds=NOW - 300, state=RunState.STOPPED),
            True,
            "is not running: it stopped at 2001-09-09 01:46:40 UTC, 5 m 00 s ago",
        ),
    ],
)
def test_a_service_that_does_not_run(state: ServiceState | None, process_exists: bool, said: str) -> None:  # noqa: FBT001 - a parameter of the test
    found = verdict(state, process_exists=process_exists)
    assert not found.running
    assert said in found.text


def test_a_table_without_remarks_when_all_is_well() -> None:
    assert text(APP) == [
        "running",
        "",
        "DATABASE  DESTINATION  CHECKPOINT  PUBLISHED   GENERATION            LAG     BACKLOG   PINNED",
        "app       standby      12.5 s ago  10.0 s ago  20010909T014640.123Z  12.5 s  2.00 KiB  1.00 KiB",
        "app       here         12.5 s ago  not yet     -                     -       -         1.00 KiB",
    ]


def test_without_shipping_there_is_no_backlog() -> None:
    assert text(replace(APP, shipping=False))[3].split()[-3:] == ["off", "1.00", "KiB"]


def test_errors_that_stand() -> None:
    failing = replace(
        STANDBY, last_error=Failure("cannot connect", "is it up?", NOW - 5), next_try_at_seconds=NOW + 20
    )
    lines = text(replace(APP, destinations=(failing, PairStatus("here"))))
    assert lines[3].endswith("  FAILING")
    assert not lines[4].endswith("FAILING")
    assert lines[5:] == [
        "",
        "app -> standby: failed 5.0 s ago: cannot connect",
        "  hint: is it up?",
        "  next try: in 20.0 s",
    ]
    due = replace(failing, next_try_at_seconds=NOW - 1)
    assert text(replace(APP, destinations=(due,)))[-1] == "  next try: now"
    # Nobody will try.
    stopped = Verdict(running=False, text="not running")
    assert text(replace(APP, destinations=(failing,)), stopped)[-1] == "  hint: is it up?"


def test_an_error_that_is_over() -> None:
    healed = replace(STANDBY, last_error=Failure("cannot connect", "is it up?", NOW - 90, NOW - 60))
    lines = text(replace(APP, destinations=(healed,)))
    assert "FAILING" not in lines[3]
    assert lines[4:] == ["", "app -> standby: failed 1 m 30 s ago, recovered 1 m 00 s ago: cannot connect"]


def test_a_checkpoint_that_fails() -> None:
    lines = text(replace(APP, last_error=Failure("no space", "", NOW - 5)))
    assert [line.endswith("FAILING") for line in lines[3:5]] == [True, True]
    assert lines[5:] == ["", "app: checkpoint failed 5.0 s ago: no space"]


def test_drills() -> None:
    drilled = replace(STANDBY, last_drill=Drill(NOW - 7200, 1.5, 40.0, None))
    failed = PairStatus("here", last_drill=Drill(NOW - 60, None, 3.0, "2 files are damaged"))
    assert text(replace(APP, destinations=(drilled, failed)))[-2:] == [
        "app -> standby: restore drill 2 h 00 m ago: lacked the last 1.5 s, took 40.0 s",
        "app -> here: restore drill 1 m 00 s ago FAILED: 2 files are damaged",
    ]


def test_the_document_has_the_lag_of_each_pair() -> None:
    document = status_document(StatusReport(RUNNING, STATE, (APP,), NOW))
    assert document["running"] is True
    assert document["verdict"] == "running"
    assert document["pid"] == 17
    pairs = document["databases"]["app"]["destinations"]
    assert pairs["standby"]["lag_seconds"] == 12.5
    assert pairs["here"]["lag_seconds"] is None


def test_the_document_has_the_same_keys_when_nothing_is_known() -> None:
    known = status_document(StatusReport(RUNNING, STATE, (APP,), NOW))
    unknown = status_document(StatusReport(verdict(None), None, (APP,), NOW))
    assert known.keys() == unknown.keys()
    assert unknown["running"] is False
    assert unknown["pid"] is None
