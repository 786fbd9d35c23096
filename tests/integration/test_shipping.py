"""Shipping a real primary under every storm, step by step: after each step the replica is exact and not behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from replicator.checkpoint.readings import NEVER
from replicator.destination.directory import DirectoryDestination
from replicator.destination.sftp import SftpDestination
from replicator.errors import SupersededError
from replicator.progress import ProgressDisplay
from replicator.replica.publish import PublishStep
from replicator.service.destination_worker import DestinationWorker
from replicator.service.reporter import Reporter
from tests.support import rocksdb_encoding as encode
from tests.support.handmade import HandmadeDatabase, read_held
from tests.support.openssh import OpenSshServer
from tests.support.primaries import STORMS, Primary
from tests.support.published import wait_until
from tests.support.shipping import DATABASE, NAME, Shipping, ship_and_judge

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture(name="handmade")
def make_handmade(tmp_path: Path) -> HandmadeDatabase:
    """A database with ten writes, all in log 4."""
    database = HandmadeDatabase(tmp_path / "db")
    database.edit(encode.log_number(4) + encode.min_log_number(4))
    database.create_wal(4)
    database.write(4, count=10)
    return database


@pytest.fixture(name="shipping")
def make_shipping(tmp_path: Path, handmade: HandmadeDatabase) -> Iterator[Shipping]:
    """Ship it to a folder, where its first generation is current."""
    (tmp_path / "base").mkdir()
    destination = DirectoryDestination(tmp_path / "base", label="directory")
    with Shipping(handmade.path, destination, tmp_path / "base") as shipping:
        shipping.capture()
        shipping.publish()
        yield shipping


def test_the_replica_never_goes_back(handmade: HandmadeDatabase, shipping: Shipping) -> None:
    """A checkpoint is on its way while the generation before is shipped to, up to an event that no log carries."""

    def happen(step: PublishStep) -> None:
        if step is PublishStep.UPLOAD:
            handmade.write(4, count=5)
            shipping.ship()
            handmade.edit(encode.add_family(1, "new") + encode.log_number(4))
            handmade.write(4)
            shipping.ship()

    shipping.capture()
    shipping.meanwhile = happen
    with pytest.raises(SupersededError):
        shipping.publish()
    assert len(read_held(shipping.current).sequences) == 15
    assert shipping.wanted
    shipping.meanwhile = lambda _step: None
    shipping.capture()
    shipping.publish()
    assert len(read_held(shipping.current).sequences) == 16
    assert shipping.is_shipping


def test_a_checkpoint_with_nothing_new_leaves_the_generation_that_is_shipped_to(
    tmp_path: Path, handmade: HandmadeDatabase
) -> None:
    (tmp_path / "base").mkdir()
    destination = DirectoryDestination(tmp_path / "base", label="directory")
    with Shipping(handmade.path, destination, tmp_path / "base", once=False) as shipping:
        shipping.capture()
        assert shipping.publish()
        generation = shipping.current
        for _ in range(3):
            shipping.capture()
            assert shipping.publish() is None
            assert shipping.line.pending_log == NEVER
            assert not shipping.ship()
        assert shipping.current == generation
        assert shipping.status.generation == generation.name
        handmade.write(4, count=5)
        assert not shipping.ship()
        assert len(read_held(generation).sequences) == 15
        shipping.capture()
        assert shipping.publish()
        assert shipping.current != generation
        shipping.capture()
        assert shipping.publish() is None
        # After what no log carries, only another generation can be shipped to.
        handmade.edit(encode.add_family(1, "new") + encode.log_number(4))
        assert shipping.ship()
        shipping.capture()
        assert shipping.publish()
        assert shipping.is_shipping


def test_a_generation_that_is_not_shipped_to_any_more_is_followed_by_another(
    tmp_path: Path, handmade: HandmadeDatabase
) -> None:
    (tmp_path / "base").mkdir()
    destination = DirectoryDestination(tmp_path / "base", label="directory")
    with Shipping(handmade.path, destination, tmp_path / "base", once=False) as shipping:
        shipping.capture()
        assert shipping.publish()
        (shipping.current / "000004.log").unlink()
        handmade.write(4)
        shipping.ship()
        assert not shipping.is_shipping
        shipping.capture()
        assert shipping.publish()
        assert shipping.is_shipping
        assert len(read_held(shipping.current).sequences) == 11


def test_a_checkpoint_that_came_too_late_is_no_failure(handmade: HandmadeDatabase, shipping: Shipping) -> None:
    """Nor is it tried again: a newer one is on its way."""

    def happen(step: PublishStep) -> None:
        if step is PublishStep.UPLOAD:
            handmade.write(4, count=5)
            shipping.ship()
            handmade.edit(encode.add_family(1, "new") + encode.log_number(4))
            shipping.ship()

    shipping.capture()
    shipping.meanwhile = happen
    stop = threading.Event()
    with ProgressDisplay() as display, capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        worker = DestinationWorker(
            NAME,
            shipping.destination,
            {DATABASE: shipping.transfer},
            stop=stop,
            display=display,
            reporter=Reporter(shipping.board, NAME),
        )
        worker.submit(DATABASE)
        done = pool.submit(worker.run)
        wait_until(lambda: any(line["event"].startswith("publish.") for line in logs), "the end of the publish")
        stop.set()
        worker.wake()
        done.result()
    events = [line["event"] for line in logs]
    assert events.count("publish.superseded") == 1
    assert "publish.failed" not in events
    assert shipping.status.last_error is None


def test_a_checkpoint_that_is_newer_than_what_was_shipped_is_published_though_it_is_not_continued(
    handmade: HandmadeDatabase, shipping: Shipping
) -> None:
    handmade.write(4, count=5)
    shipping.ship()
    handmade.write(4)
    shipping.capture()
    handmade.edit(encode.add_family(1, "new") + encode.log_number(4))
    shipping.publish()
    assert len(read_held(shipping.current).sequences) == 16
    assert not shipping.is_shipping
    assert shipping.wanted
