"""What a destination gets of a database's logs, step by step: no byte is left out, whatever comes in between."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.log_follower import LogFollower
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.destination.directory import DirectoryDestination
from replicator.errors import ConnectionLostError, NoSpaceError, NotFoundError
from replicator.replica.catalog import Writer
from replicator.replica.decision import PublishRequest
from replicator.replica.generations import generation_ids, read_catalog, read_shipped
from replicator.replica.layout import ReplicaLayout
from replicator.replica.publish import publish
from replicator.replica.shipped import newest_state
from replicator.service.board import StatusBoard
from replicator.service.shipping_line import ShippingLine
from replicator.service.status import Watched
from tests.support import rocksdb_encoding as encode
from tests.support.handmade import HandmadeDatabase
from tests.support.memory_destination import MemoryDestination
from tests.support.observer import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination

DATABASE, DESTINATION = "chat", "standby"
LIMIT_BYTES = 1 << 24


class Shipping:
    """One database on its way to one destination, on one thread; `before` is called with each append's target."""

    def __init__(self, folder: Path, destination: Destination | None = None) -> None:
        self.database = HandmadeDatabase(folder / "db")
        self.database.edit(encode.log_number(4) + encode.min_log_number(4))
        self.database.create_wal(4)
        self.database.write(4, count=10)
        self.before: Callable[[PurePosixPath], None] = lambda _target: None
        self.asked: list[str] = []
        self.sent: list[tuple[str, int]] = []
        self.destination = destination or MemoryDestination(before_change=self._before_change)
        self.follower = LogFollower(self.database.path, budget_bytes=1 << 30)
        self.board = StatusBoard([Watched(DATABASE, (DESTINATION,), shipping=True)])
        self.stop = threading.Event()
        self.line = ShippingLine(
            DATABASE,
            DESTINATION,
            self.follower,
            self.board,
            stop=self.stop,
            ask_for_checkpoint=self.asked.append,
        )
        self._root = CheckpointRoot(folder / "root")
        self._root.create()
        self._capture = Capture(self.database.path, self._root)
        self._layout = ReplicaLayout(DATABASE)

    def publish(self, *, lacking: int = 0) -> None:
        """Capture, as the database's thread does, and publish; so many writes come in between."""
        self.follower.read()
        held_log = self.follower.hold()
        captured = self._capture.make()
        self.line.expect(captured.captured_at_seconds, held_log)
        self.follower.end_hold()
        self.database.write(4, count=lacking)
        checkpoint = inspect_checkpoint(self._root.current)
        publish(
            PublishRequest(
                database=DATABASE,
                folder=checkpoint.folder,
                inventory=checkpoint.inventory,
                captured_at=datetime.fromtimestamp(checkpoint.captured_at_seconds, UTC),
                writer=Writer("alpha", str(self.database.path), checkpoint.inventory.database_id),
            ),
            self.destination,
            RecordingObserver(),
            handover=lambda catalog: self.line.taking_over(checkpoint, catalog, self.destination),
        )

    def tick(self) -> None:
        """Read, and ship what was read."""
        self.follower.read()
        self.line.ship(self.destination)

    def next_log(self, number: int, *, delete: int | None = None) -> None:
        """Begin another log with a write in it; the one before it may be deleted, as after a flush."""
        self.database.create_wal(number)
        self.database.write(number, count=3)
        if delete is not None:
            self.database.delete_wals(delete)

    def replica(self) -> dict[str, bytes]:
        """Return the logs of the newest generation as a restore would make them."""
        newest = generation_ids(self.destination, self._layout.generations)[-1]
        catalog = read_catalog(self.destination, self._layout, newest)
        state = newest_state(catalog, read_shipped(self.destination, self._layout, catalog))
        folder = self._layout.generation(newest)
        return {
            file.name: self.destination.read_bytes(folder / file.name, limit_bytes=LIMIT_BYTES)[: file.size_bytes]
            for file in state.files
            if file.name.endswith(".log")
        }

    def close(self) -> None:
        self.follower.close()
        self._capture.close()

    def _before_change(self, action: str, target: PurePosixPath) -> None:
        if action == "append":
            self.before(target)


@pytest.fixture(name="shipping")
def make_shipping(tmp_path: Path) -> Iterator[Shipping]:
    shipping = Shipping(tmp_path)
    yield shipping
    shipping.close()


@contextmanager
def once(shipping: Shipping, action: Callable[[], None]) -> Iterator[None]:
    """Let something happen in the middle of the next append, and only then."""
    happened = threading.Event()

    def act(_target: PurePosixPath) -> None:
        if not happened.is_set():
            happened.set()
            action()

    shipping.before = act
    yield
    shipping.before = lambda _target: None
    assert happened.is_set()


def logs_of(shipping: Shipping, *numbers: int) -> dict[str, bytes]:
    return {
        shipping.database.wal_path(number).name: shipping.database.wal_path(number).read_bytes()
        for number in numbers
    }


def test_what_is_written_is_shipped(shipping: Shipping) -> None:
    shipping.publish()
    shipping.database.write(4, count=5)
    shipping.tick()
    assert shipping.replica() == logs_of(shipping, 4)
    shipping.next_log(7)
    shipping.tick()
    assert shipping.replica() == logs_of(shipping, 4, 7)
    assert shipping.asked == []


def test_nothing_is_left_out_that_is_read_while_a_generation_is_taken_over(shipping: Shipping) -> None:
    """Nobody else wants those readings, and the logs that they tell of are complete by the last of them."""

    def meanwhile() -> None:
        kept.update(logs_of(shipping, 4))
        for number in (7, 9, 11):
            shipping.database.write(number - 2 if number > 7 else 4, count=2)
            kept.update(logs_of(shipping, number - 2 if number > 7 else 4))
            shipping.next_log(number)
            shipping.follower.read()
        kept.update(logs_of(shipping, 11))

    kept: dict[str, bytes] = {}
    with once(shipping, meanwhile):
        shipping.publish(lacking=5)
    assert shipping.replica() == kept
    shipping.database.write(11, count=2)
    shipping.tick()
    assert shipping.replica() == {**kept, **logs_of(shipping, 11)}
    assert shipping.asked == []


def test_the_generation_before_is_shipped_to_until_the_link_is_flipped(shipping: Shipping) -> None:
    shipping.publish()
    shipping.database.write(4, count=5)

    def meanwhile() -> None:
        shipping.before = lambda _target: None
        shipping.database.write(4, count=5)
        shipping.tick()
        first, _ = generation_ids(shipping.destination, ReplicaLayout(DATABASE).generations)
        path = ReplicaLayout(DATABASE).generation(first) / "000004.log"
        content = shipping.destination.read_bytes(path, limit_bytes=LIMIT_BYTES)
        assert content == shipping.database.wal_path(4).read_bytes()

    with once(shipping, meanwhile):
        shipping.publish()
    assert shipping.replica() == logs_of(shipping, 4)


def test_a_break_in_the_middle_costs_nothing(shipping: Shipping) -> None:
    def lose() -> None:
        raise ConnectionLostError("lost")

    shipping.publish()
    for count in (1, 2, 3):
        shipping.database.write(4, count=count)
        with once(shipping, lose), pytest.raises(ConnectionLostError):
            shipping.tick()
        shipping.database.write(4)
        shipping.tick()
        assert shipping.replica() == logs_of(shipping, 4)


def test_a_state_that_was_sent_but_not_told_is_told_later(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pieces as large as one write each is an append of its own, and the line comes after the last."""
    monkeypatch.setattr("replicator.service.followed_generation._GROWTH_BYTES", 1)
    monkeypatch.setattr("replicator.service.followed_generation._PIECE_BYTES", 16)
    shipping.publish()
    shipping.database.write(4, count=3)

    def lose_the_journal(target: PurePosixPath) -> None:
        if target.name == "shipped.jsonl":
            raise ConnectionLostError("lost")

    shipping.before = lose_the_journal
    with pytest.raises(ConnectionLostError):
        shipping.tick()
    shipping.before = lambda _target: None
    assert shipping.replica() != logs_of(shipping, 4)
    shipping.tick()
    assert shipping.replica() == logs_of(shipping, 4)


def test_a_generation_that_cannot_be_shipped_to_is_published_all_the_same(shipping: Shipping) -> None:
    def fill_the_disk(_target: PurePosixPath) -> None:
        raise NoSpaceError("full")

    shipping.database.write(4)
    shipping.before = fill_the_disk
    shipping.publish()
    shipping.before = lambda _target: None
    assert shipping.replica() == logs_of(shipping, 4)
    (reason,) = shipping.asked
    assert "could not be brought up to date" in reason


def test_a_checkpoint_that_was_in_vain_is_followed_by_another_after_a_while(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later and later, but not never: the next in turn may be far away."""
    now_seconds = 1000.0
    monkeypatch.setattr("replicator.service.checkpoint_wish.time", SimpleNamespace(monotonic=lambda: now_seconds))

    def fill_the_disk(_target: PurePosixPath) -> None:
        raise NoSpaceError("full")

    shipping.before = fill_the_disk
    for lacking in (1, 2, 3):
        shipping.publish(lacking=lacking)
    assert len(shipping.asked) == 1
    shipping.before = lambda _target: None
    shipping.tick()
    assert len(shipping.asked) == 1
    now_seconds += 60
    shipping.tick()
    shipping.tick()
    assert len(shipping.asked) == 2
    shipping.publish(lacking=1)
    now_seconds += 3600
    shipping.tick()
    assert len(shipping.asked) == 2
    assert shipping.replica() == logs_of(shipping, 4)


def test_an_event_seals_the_generation_as_it_is(shipping: Shipping) -> None:
    shipping.publish()
    shipping.database.write(4, count=2)
    shipping.tick()
    sealed = shipping.replica()
    shipping.database.write(4, count=2)
    shipping.database.edit(encode.add_family(1, "new") + encode.log_number(4))
    shipping.database.write(4, count=2)
    for _ in range(3):
        shipping.tick()
    assert shipping.replica() == sealed
    (reason,) = shipping.follower.take_seals()
    assert "column family" in reason
    shipping.publish()
    shipping.database.write(4)
    shipping.tick()
    assert shipping.replica() == logs_of(shipping, 4)


def test_a_disk_that_is_away_is_waited_for(tmp_path: Path) -> None:
    base, away = tmp_path / "base", tmp_path / "away"
    base.mkdir()
    shipping = Shipping(tmp_path, DirectoryDestination(base, label="disk"))
    shipping.publish()
    base.rename(away)
    shipping.database.write(4)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="there is no folder"):
            shipping.tick()
    away.rename(base)
    shipping.tick()
    assert shipping.replica() == logs_of(shipping, 4)
    assert shipping.asked == []
    shipping.close()


def test_a_generation_that_was_removed_is_given_up(shipping: Shipping) -> None:
    shipping.publish()
    shipping.destination.remove_tree(ReplicaLayout(DATABASE).generations)
    shipping.database.write(4)
    shipping.tick()
    assert len(shipping.asked) == 1
    shipping.tick()


def test_who_makes_another_generation_current_there_ends_it(
    shipping: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.service.shipping_line._LOOK_SECONDS", 0.0)
    shipping.publish()
    shipping.tick()
    assert shipping.asked == []
    link = ReplicaLayout(DATABASE).current_link
    shipping.destination.point_link(link, "generations/20200101T000000.000Z")
    shipping.database.write(4)
    shipping.tick()
    (reason,) = shipping.asked
    assert "another generation" in reason
