"""Shipping a real primary under every storm, step by step: after each step the replica is exact and not behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicator.destination.directory import DirectoryDestination
from replicator.destination.sftp import SftpDestination
from tests.support.openssh import OpenSshServer
from tests.support.primaries import STORMS, Primary
from tests.support.shipping import Shipping, ship_and_judge

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.demo.settings import PrimarySettings

STEPS = 12
#: These end the epoch again and again: flat out they would leave no time to ship anything.
SHORT_EPOCHS = {"ingest", "churn", "manifest_rollover", "recycled_wals", "everything"}


def paced(storm: str) -> PrimarySettings:
    settings = STORMS[storm]
    return replace(settings, batches_per_second=250) if storm in SHORT_EPOCHS else settings


@pytest.mark.parametrize("storm", STORMS)
def test_every_storm(tmp_path: Path, storm: str) -> None:
    (tmp_path / "base").mkdir()
    destination = DirectoryDestination(tmp_path / "base", label="directory")
    with (
        Primary(tmp_path / "db", paced(storm)) as primary,
        Shipping(primary.path, destination, tmp_path / "base") as shipping,
    ):
        primary.wait_for(500)
        assert ship_and_judge(primary, shipping, STEPS) > 0


@pytest.mark.parametrize("storm", ["small_memtables", "everything"])
def test_over_ssh(tmp_path: Path, storm: str) -> None:
    with (
        OpenSshServer() as server,
        SftpDestination.connect(server.settings()) as destination,
        Primary(tmp_path / "db", paced(storm)) as primary,
        Shipping(primary.path, destination, server.local_base) as shipping,
    ):
        primary.wait_for(500)
        assert ship_and_judge(primary, shipping, STEPS) > 0
