"""Guarding the primary's disk: what goes, what stays, what is refused, on a small filesystem of its own."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.pinned import CheckpointPin
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.config.load import load_config
from replicator.errors import CheckpointError, ConnectionLostError, SourceError
from replicator.service.board import StatusBoard
from replicator.service.space_guard import SpaceGuard
from replicator.service.space_watch import SpaceWatch
from replicator.service.status import Watched
from tests.support.filesystems import another_filesystem
from tests.support.handmade import HandmadeDatabase
from tests.support.program import ConfigFile
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from replicator.checkpoint.room import NeedRoom

MEBIBYTE = 1 << 20
FLOOR_BYTES = 16 * MEBIBYTE
TABLE_BYTES = 4 * MEBIBYTE


class Logs:
    """A `LogHold` that notes what it is told."""

    def __init__(self) -> None:
        self.allowed = True

    def hold(self) -> int:
        return 0

    def expect(self, captured_at_seconds: float, held_log: int) -> None:
        """Nobody ships."""

    def end_hold(self) -> None:
        """Nobody ships."""

    def may_hold_deleted(self, *, allowed: bool) -> None:
        self.allowed = allowed


class Guarded:
    """A database with one large table and a log, its checkpoints, and their guard."""

    def __init__(self, disk: Path, folder: Path, *, producer: str = "internal") -> None:
        self.disk = disk
        self.database = HandmadeDatabase(disk / "db")
        self.database.flush(10, (1, 1), 4, size_bytes=TABLE_BYTES)
        self.database.sequence = 1
        self.database.create_wal(4)
        config = ConfigFile(folder / "replicator.toml").database(
            "app", self.database.path, min_free=f"{FLOOR_BYTES}B", producer=producer
        )
        (settings,) = load_config(config.directory("disk", folder / "base").write()).databases
        self.root = CheckpointRoot(settings.checkpoint_root)
        self.root.create()
        self.checking = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.capture = Capture(self.database.path, self.root, self._check)
        self.pin = CheckpointPin(self.root, "standby")
        self.board = StatusBoard([Watched("app", ("disk",), shipping=False)])
        self.logs = Logs()
        self.times_room = 0
        self.now_seconds = 0.0
        self.guard = SpaceGuard(
            settings,
            self.root,
            self.board,
            give_up_staging=self.capture.give_up,
            logs=self.logs,
            pins=[self.pin],
            on_room=self._on_room,
            clock=lambda: self.now_seconds,
        )

    def _check(self, _folder: Path, _new_names: Iterable[str], need_room: NeedRoom) -> None:
        self.checking.set()
        assert self.go_on.wait(60)
        need_room(0)

    def _on_room(self) -> None:
        self.times_room += 1

    def make(self) -> None:
        """Make a checkpoint, for which the database need not have grown."""
        self.guard.check()
        self.capture.make(self.guard.need_room)

    def delete_table(self) -> None:
        """Have the primary delete what is in the checkpoint."""
        self.database.table_path(10).unlink()

    def leave_free(self, free_bytes: int) -> None:
        filler = self.disk / "filler"
        filler.unlink(missing_ok=True)
        filler.write_bytes(bytes(shutil.disk_usage(self.disk).free - free_bytes))

    def recover(self) -> None:
        """Have enough free for long enough."""
        (self.disk / "filler").unlink()
        for _ in range(2):
            self.guard.look()
            self.now_seconds += 1
        self.guard.look()

    @property
    def given_up(self) -> list[str]:
        (status,) = self.board.snapshot()
        return [str(step) for step in status.given_up]


@pytest.fixture(name="disk")
def make_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with another_filesystem(folder, size="64m"):
        yield folder


@pytest.fixture(name="guarded")
def make_guarded(disk: Path, tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(disk, tmp_path)
    yield guarded
    guarded.capture.close()


@contextmanager
def watched(guarded: Guarded) -> Iterator[None]:
    """Have it looked at all the time."""
    watch = SpaceWatch(guarded.guard)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(watch.run)
        try:
            yield
        finally:
            watch.wake()
            done.result()


def test_the_current_checkpoint_stays_as_long_as_it_holds_nothing_of_its_own(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.make()
    guarded.leave_free(FLOOR_BYTES // 4)
    space = guarded.guard.look()
    assert space.is_critical
    assert guarded.given_up == ["transfer copies", "checkpoint_prev", "pinned logs", "new checkpoints"]
    assert [path.name for path in guarded.root.path.iterdir()] == ["checkpoint_current"]
    guarded.delete_table()
    assert guarded.guard.look().free_bytes >= space.free_bytes + TABLE_BYTES
    assert guarded.given_up[-1] == "checkpoint_current"
    assert not list(guarded.root.path.iterdir())


def test_half_of_what_is_asked_for_is_enough_for_the_current_checkpoint(guarded: Guarded) -> None:
    guarded.make()
    guarded.delete_table()
    guarded.leave_free(FLOOR_BYTES * 3 // 4)
    guarded.guard.look()
    assert "checkpoint_current" not in guarded.given_up
    assert guarded.root.current.exists()


def test_what_a_transfer_of_it_holds_goes_with_the_current_checkpoint(guarded: Guarded) -> None:
    guarded.make()
    broken_off = threading.Event()

    def transfer() -> None:
        with guarded.pin.held(broken_off.set):
            guarded.delete_table()
            guarded.leave_free(FLOOR_BYTES // 4)
            assert guarded.guard.look().free_bytes >= FLOOR_BYTES // 4 + TABLE_BYTES
            assert broken_off.is_set()
            raise ConnectionLostError("broken off")

    with pytest.raises(CheckpointError, match="the checkpoint on its way was given up"):
        transfer()


def test_no_capture_begins_that_has_no_room_for_its_copies(guarded: Guarded) -> None:
    guarded.make()
    guarded.database.write(4, count=8, body=bytes(MEBIBYTE))
    guarded.leave_free(FLOOR_BYTES + 2 * MEBIBYTE)
    with pytest.raises(
        CheckpointError, match=r"and 8\.\d+ MiB would be copied: no new checkpoint is made"
    ) as caught:
        guarded.make()
    assert "min_free asks for 16.0 MiB" in caught.value.hint
    assert shutil.disk_usage(guarded.disk).free >= FLOOR_BYTES
    assert not guarded.root.staging.exists()
    assert guarded.root.current.exists()


def test_it_is_looked_at_while_a_checkpoint_is_made_which_is_broken_off(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.make()
    guarded.go_on.clear()
    guarded.checking.clear()
    with ThreadPoolExecutor(1) as pool, watched(guarded):
        making = pool.submit(guarded.make)
        try:
            assert guarded.checking.wait(60)
            guarded.leave_free(FLOOR_BYTES // 4)
            wait_until(lambda: not guarded.root.previous.exists(), "what can go while a checkpoint is made")
        finally:
            guarded.go_on.set()
        with pytest.raises(CheckpointError, match="no new checkpoint is made"):
            making.result()
    assert not guarded.root.staging.exists()
    assert guarded.root.current.exists()


def test_what_a_capture_that_failed_has_linked_is_let_go_of(guarded: Guarded) -> None:
    guarded.make()
    guarded.database.edit(b"\xff\xff\xff\xff")
    with pytest.raises(SourceError):
        guarded.capture.make()
    assert not guarded.root.staging.exists()


def test_room_for_what_was_refused_or_is_gone_is_told_of_once(guarded: Guarded) -> None:
    guarded.make()
    with capture_logs() as logs:
        for is_refused in (False, True):
            guarded.leave_free(FLOOR_BYTES * 3 // 4)
            guarded.guard.look()
            if is_refused:
                with pytest.raises(CheckpointError, match="no new checkpoint"):
                    guarded.guard.check()
            assert not guarded.logs.allowed
            guarded.recover()
            assert guarded.logs.allowed
            assert guarded.given_up == []
            assert guarded.times_room == is_refused
        guarded.delete_table()
        guarded.leave_free(FLOOR_BYTES // 4)
        guarded.guard.look()
        assert not guarded.root.current.exists()
        guarded.recover()
    assert guarded.times_room == 2
    assert [line["event"] for line in logs] == ["space.given_up", "space.recovered"] * 3


def test_a_moment_of_room_is_no_recovery(guarded: Guarded) -> None:
    with capture_logs() as logs:
        for _ in range(5):
            guarded.leave_free(FLOOR_BYTES * 3 // 4)
            guarded.guard.look()
            guarded.leave_free(FLOOR_BYTES + MEBIBYTE)
            guarded.guard.look()
            guarded.now_seconds += 0.9
    assert [line["event"] for line in logs] == ["space.given_up"]
    assert not guarded.logs.allowed
    guarded.recover()
    assert guarded.given_up == []


def test_of_checkpoints_that_others_make_none_is_touched(disk: Path, tmp_path: Path) -> None:
    guarded = Guarded(disk, tmp_path, producer="external")
    for _ in range(3):
        guarded.capture.make()
    with guarded.pin.held():
        pass
    guarded.leave_free(0)
    guarded.guard.look()
    assert guarded.given_up == ["transfer copies", "pinned logs"]
    assert not guarded.logs.allowed
    names = {path.name for path in guarded.root.path.iterdir()}
    assert names == {"checkpoint_current", "checkpoint_prev", "checkpoint_staging"}
    guarded.capture.close()


def test_a_root_that_is_lost_and_comes_back(guarded: Guarded) -> None:
    guarded.make()
    away = guarded.root.path.with_name("away")
    with watched(guarded):
        guarded.root.path.rename(away)
        with pytest.raises(CheckpointError, match="cannot use the checkpoint root"):
            guarded.guard.look()
        away.rename(guarded.root.path)
        guarded.leave_free(FLOOR_BYTES * 3 // 4)
        wait_until(lambda: "transfer copies" in guarded.given_up, "the next look")
