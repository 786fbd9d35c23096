"""What a thread tells the board of its work at a destination."""

from __future__ import annotations

import pytest

from replicator.errors import CheckpointError, NoSpaceError
from replicator.service.board import StatusBoard
from replicator.service.reporter import Reporter
from replicator.service.status import Activity, PairStatus, Watched


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard([Watched("one", ("here",), shipping=True), Watched("two", ("here",), shipping=True)])


@pytest.fixture
def reporter(board: StatusBoard) -> Reporter:
    return Reporter(board, "here", clock=lambda: 1000.0)


def pairs(board: StatusBoard) -> list[PairStatus]:
    return [pair for database in board.snapshot() for pair in database.destinations]


def test_reports_are_about_the_database_that_is_worked_on(board: StatusBoard, reporter: Reporter) -> None:
    reporter.begin("one")
    reporter.worked()
    reporter.begin("two")
    reporter.failed(NoSpaceError("full"), next_try_in_seconds=60.0)
    one, two = pairs(board)
    assert one == PairStatus("here")
    assert two.last_error
    assert two.last_error.message == "full"
    assert two.next_try_at_seconds == 1060.0
    reporter.begin("one")
    reporter.worked()
    assert two == pairs(board)[1]
    reporter.begin("two")
    reporter.worked()
    assert pairs(board)[1].next_try_at_seconds is None


def test_errors_have_the_kind_of_the_destination_or_are_the_sources(
    board: StatusBoard, reporter: Reporter
) -> None:
    reporter.begin("one")
    reporter.failed(NoSpaceError("full"), next_try_in_seconds=1.0)
    reporter.failed(CheckpointError("gone"), next_try_in_seconds=1.0)
    assert board.pair_totals()["one", "here"].errors == {"no_space": 1, "source": 1}


def test_what_works_does_not_hide_what_another_thread_fails_at(board: StatusBoard, reporter: Reporter) -> None:
    shipping = Reporter(board, "here", Activity.SHIP)
    reporter.begin("one")
    shipping.begin("one")
    reporter.failed(NoSpaceError("full"), next_try_in_seconds=1.0)
    shipping.worked()
    error = pairs(board)[0].last_error
    assert error
    assert error.stands


def test_nothing_is_told_before_the_work_begins(board: StatusBoard, reporter: Reporter) -> None:
    reporter.failed(NoSpaceError("full"), next_try_in_seconds=1.0)
    reporter.worked()
    assert pairs(board) == [PairStatus("here"), PairStatus("here")]
