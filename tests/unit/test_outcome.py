"""The demo's figures: nothing less than exact passes for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.demo.layout import Verdict
from replicator.demo.outcome import Loss, Outcome, Pace, Watched

PUBLISHED = {"files_sent": 3, "files_reused": 2, "bytes_sent": 2048, "bytes_reused": 1024}
OUTCOME = Outcome(
    pace=Pace(interval_seconds=5.0, ship_seconds=1.0),
    watched=Watched(
        published=[PUBLISHED, PUBLISHED],
        judged=[Verdict(opened=True, position=500)],
        largest_lag_seconds=1.3,
        shipped_bytes=4096,
    ),
    acknowledged=1000,
    written=Verdict(opened=True, position=1001),
    restored=Verdict(opened=True, position=1001),
    restore={"files": 9, "size_bytes": 5000, "duration_seconds": 0.25},
    loss=Loss(lag_seconds=0.7, replica=Verdict(opened=True, position=800)),
)
TORN = Verdict(opened=True, position=1001, torn=1)


def figures(outcome: Outcome) -> dict[str, str]:
    return {name: figure for name, figure, _ in outcome.rows()}


def test_the_figures_add_up() -> None:
    shown = figures(OUTCOME)
    assert shown["batches written"] == shown["batches restored"] == "1,001"
    assert shown["files sent"] == "6"
    assert shown["bytes sent"] == "4.00 KiB"
    assert shown["WAL shipped"] == "4.00 KiB"
    assert shown["lag at the kill"] == "700 ms"
    assert shown["at risk at the kill"] == "201"
    assert OUTCOME.exact
    assert "the state of 700 ms before" in OUTCOME.conclusion()


@pytest.mark.parametrize(
    "changes",
    [
        {"written": TORN},
        {"restored": TORN},
        {"restored": Verdict(opened=True, position=1000)},
        {"restored": Verdict(opened=False)},
        {"acknowledged": 1002},
        {"watched": replace(OUTCOME.watched, judged=[TORN])},
        {"loss": replace(OUTCOME.loss, replica=TORN)},
    ],
)
def test_less_is_not_exact(changes: dict[str, Any]) -> None:
    outcome = replace(OUTCOME, **changes)
    assert not outcome.exact
    assert outcome.conclusion().startswith("NOT EXACT")
