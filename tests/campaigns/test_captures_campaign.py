"""Captures by the thousand, of every storm, while the primary is killed and started again at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.captures import WARM_UP_BATCHES, CaptureRun, killed_at_random
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

CAPTURES = 300
SEED = 20261122


@pytest.mark.parametrize("storm", STORMS)
def test_a_storm_that_does_not_end(tmp_path: Path, storm: str) -> None:
    with Primary(tmp_path / "db", STORMS[storm]) as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(CAPTURES, pauses=storm == "large_memtables")


@pytest.mark.parametrize("storm", STORMS)
def test_kills_in_a_storm(tmp_path: Path, storm: str) -> None:
    with (
        Primary(tmp_path / "db", STORMS[storm]) as primary,
        CaptureRun(primary, tmp_path / "root") as run,
        killed_at_random(primary, SEED),
    ):
        run.make(CAPTURES)
