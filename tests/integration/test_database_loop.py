"""When checkpoints are made: on the interval, and in between when one is asked for."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.config.load import load_config
from replicator.service.board import StatusBoard
from replicator.service.database_loop import DatabaseLoop
from replicator.service.status import Watched
from tests.support.handmade import HandmadeDatabase
from tests.support.program import ConfigFile
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Running:
    """A loop whose interval never ends, on a thread of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.database = HandmadeDatabase(tmp_path / "db")
        config = ConfigFile(tmp_path / "replicator.toml").database("app", self.database.path, interval="1h")
        (database,) = load_config(config.directory("disk", tmp_path / "base").write()).databases
        root = CheckpointRoot(database.checkpoint_root)
        root.create()
        self.made = 0
        self.stop = threading.Event()
        self.board = StatusBoard([Watched("app", ("disk",), shipping=False)])
        self.loop = DatabaseLoop(
            database,
            root,
            Capture(database.path, root),
            stop=self.stop,
            on_checkpoint=self._count,
            board=self.board,
        )

    @property
    def is_failing(self) -> bool:
        (status,) = self.board.snapshot()
        return status.last_error is not None and status.last_error.stands

    def _count(self, _database: str) -> None:
        self.made += 1


@contextmanager
def running(tmp_path: Path) -> Iterator[Running]:
    """Run it, up to the first checkpoint."""
    started = Running(tmp_path)
    thread = threading.Thread(target=started.loop.run)
    thread.start()
    try:
        wait_until(lambda: started.made == 1, "the first checkpoint")
        yield started
    finally:
        started.stop.set()
        started.loop.wake()
        thread.join()


def test_one_that_is_asked_for_does_not_wait_for_the_interval(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.loop.ask_for_checkpoint("of an event")
        wait_until(lambda: service.made == 2, "a second checkpoint")


def test_one_that_is_asked_for_and_fails_is_tried_again(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        away = tmp_path / "away"
        service.database.path.rename(away)
        service.loop.ask_for_checkpoint("of an event")
        wait_until(lambda: service.is_failing, "a failure")
        away.rename(service.database.path)
        wait_until(lambda: service.made == 2, "a second checkpoint")
        assert not service.is_failing
