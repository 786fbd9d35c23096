"""Captures of a real primary that writes as fast as it can: each one is exact, and not behind its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.captures import WARM_UP_BATCHES, CaptureRun, killed_at_random
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from pathlib import Path

IN_A_ROW = 200
#: Databases among which the captures without a flush are divided: each is judged by reading all its logs.
WITHOUT_FLUSH_ROUNDS = 10
WITH_KILLS = 60


def test_small_memtables(tmp_path: Path) -> None:
    with Primary(tmp_path / "db") as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(IN_A_ROW)


def test_though_nothing_was_ever_flushed(tmp_path: Path) -> None:
    for number in range(WITHOUT_FLUSH_ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (
            Primary(folder / "db", STORMS["large_memtables"]) as primary,
            CaptureRun(primary, folder / "root") as run,
        ):
            run.make(IN_A_ROW // WITHOUT_FLUSH_ROUNDS, pauses=True)
            assert primary.position > 100
            assert not list(run.root.current.glob("*.sst"))


@pytest.mark.parametrize("storm", ["small_memtables", "everything"])
def test_while_the_primary_is_killed_and_started_again(tmp_path: Path, storm: str) -> None:
    with (
        Primary(tmp_path / "db", STORMS[storm]) as primary,
        CaptureRun(primary, tmp_path / "root") as run,
        killed_at_random(primary, seed=20261122),
    ):
        run.make(WITH_KILLS)
