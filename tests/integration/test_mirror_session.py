"""Passes of a mirror, over a destination that breaks when told to: who waits for whom, what a break leaves."""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath

import pytest

from replicator.errors import ConnectionLostError
from replicator.mirror.backlog import Backlog
from replicator.mirror.coalesce import Coalescer, Doubt, Work
from replicator.mirror.deletes import DeleteBudget
from replicator.mirror.excludes import Excludes
from replicator.mirror.rules import MirrorRules
from replicator.mirror.session import MirrorSession
from replicator.mirror.staging import MirrorSource
from replicator.service.precedence import BulkPace, Precedence, SteadyPace
from tests.support.memory_destination import MemoryDestination


class Mirror:
    """A source with nothing in it, and a session."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.now = 0.0
        #: What is to be refused, once.
        self.breaks: set[tuple[str, str]] = set()
        self.there = MemoryDestination(before_change=self._step)
        self.stop = threading.Event()
        self.precedence = Precedence(self.stop)
        rules = MirrorRules(
            name="media",
            path=source,
            source=MirrorSource("host", "path"),
            excludes=Excludes([]),
            delete=True,
            take_over=False,
            take_over_command="",
        )
        self.session = MirrorSession(
            rules,
            self.there,
            Backlog(Coalescer(0.0, 0.0)),
            DeleteBudget(lambda files: files),
            clock=lambda: self.now,
        )

    def _step(self, action: str, path: PurePosixPath) -> None:
        if (action, str(path)) in self.breaks:
            self.breaks.discard((action, str(path)))
            raise ConnectionLostError("cut")

    def names(self) -> set[str]:
        return {entry.name for entry in self.there.list_folder(PurePosixPath("media"))}

    def modified_seconds(self, name: str) -> int:
        (entry,) = [item for item in self.there.list_folder(PurePosixPath("media")) if item.name == name]
        return entry.modified_seconds

    def compare(self, pace: BulkPace | None = None) -> None:
        self.session.compare_all(pace or BulkPace(self.precedence, self.stop), between=lambda: None)

    def look_at(self, name: str) -> None:
        doubt = Doubt(name, tree=False, fresh=True, since_seconds=0.0, born=True)
        self.session.apply(Work((), (doubt,)), SteadyPace(self.stop))


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    (tmp_path / "here").mkdir()
    return Mirror(tmp_path / "here")


class SeenPace(BulkPace):
    """Tells when it is waited with."""

    def __init__(self, precedence: Precedence, stop: threading.Event) -> None:
        super().__init__(precedence, stop)
        self.waits = threading.Event()

    def wait(self) -> None:
        self.waits.set()
        super().wait()


def test_a_comparison_waits_while_a_database_is_published(mirror: Mirror) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    pace = SeenPace(mirror.precedence, mirror.stop)
    comparison = threading.Thread(target=mirror.compare, args=(pace,))
    with mirror.precedence.publishing():
        comparison.start()
        assert pace.waits.wait(60)
        assert mirror.names() == set()
    comparison.join(60)
    assert mirror.names() == {"file"}


def test_what_events_ask_for_does_not_wait_for_a_publish(mirror: Mirror) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    with mirror.precedence.publishing():
        mirror.look_at("file")
        assert mirror.names() == {"file"}


def test_a_time_that_was_left_a_second_early_is_set_after_a_break(mirror: Mirror) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    changed_seconds = int((mirror.source / "file").stat().st_mtime)
    mirror.now = changed_seconds + 0.5
    mirror.look_at("file")
    assert mirror.modified_seconds("file") == changed_seconds - 1  # it may be changed again within this second
    mirror.now = changed_seconds + 2
    mirror.breaks.add(("set_attributes", "media/file"))
    with pytest.raises(ConnectionLostError):
        mirror.session.tidy(SteadyPace(mirror.stop))
    mirror.session.reset()
    assert mirror.session.tidies_in_seconds == 0
    mirror.session.tidy(SteadyPace(mirror.stop))
    assert mirror.modified_seconds("file") == changed_seconds
    assert mirror.session.tidies_in_seconds is None
