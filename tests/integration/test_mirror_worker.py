"""The thread of a mirror at one destination: what it does when, and what it tells of it."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.mirror.sending import FILE_COST_BYTES, Sending, Tally
from replicator.service.precedence import Precedence, SteadyPace
from tests.support.mirror_in_memory import MirrorInMemory
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorInMemory:
    (tmp_path / "here").mkdir()
    return MirrorInMemory(tmp_path / "here", most_deletes=lambda _: 100)


@contextmanager
def at_work(mirror: MirrorInMemory) -> Iterator[None]:
    """Let a worker run."""
    worker = mirror.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        mirror.stop.set()
        worker.wake()
        thread.join(60)
    assert not thread.is_alive()


def is_compared(mirror: MirrorInMemory) -> bool:
    return mirror.status.last_comparison_at_seconds is not None


# --- comparisons -------------------------------------------------------------------------------------


def test_a_comparison_that_is_asked_for_during_another_one_is_made(mirror: MirrorInMemory) -> None:
    (mirror.source / "file").write_text("one")

    def change_unseen() -> None:
        (mirror.source / "late").write_text("in a folder that was looked at already")
        mirror.backlog.touch("", tree=True)

    mirror.before["upload", "media/file"] = change_unseen
    with at_work(mirror):
        wait_until(lambda: is_compared(mirror) and "late" in mirror.names(), "what was missed arrives")


def test_no_move_is_believed_for_as_long_as_a_comparison_lasts(mirror: MirrorInMemory) -> None:
    (mirror.source / "gone").write_text("one")
    mirror.compare()
    (mirror.source / "gone").unlink()
    (mirror.source / "file").write_text("two")
    believed: list[bool] = []

    def move() -> None:
        mirror.ahead_seconds = 10
        mirror.backlog.move("nothing", "else", is_folder=False)
        believed.append(bool(mirror.backlog.take(most=0).moves))

    mirror.before["upload", "media/file"] = lambda: mirror.backlog.touch("", tree=True)
    mirror.before["remove_files", "media/gone"] = move  # which is its last step
    with at_work(mirror):
        wait_until(lambda: bool(believed), "the comparison ends")
    assert believed == [False]


# --- precedence --------------------------------------------------------------------------------------


def test_an_event_does_not_wait_for_a_comparison_that_waits_for_a_publish(mirror: MirrorInMemory) -> None:
    (mirror.source / "early").write_text("waits")
    publish = ExitStack()
    publish.enter_context(mirror.precedence.publishing())
    with at_work(mirror):
        with publish:
            wait_until(lambda: ("list", "media") in mirror.steps, "a comparison begins")
            (mirror.source / "late").write_text("goes on")
            mirror.backlog.touch("late", fresh=True, born=True)
            wait_until(lambda: mirror.names() == {"late"}, "the event is followed")
            assert not is_compared(mirror)
        wait_until(lambda: mirror.names() == {"early", "late"}, "the comparison goes on")


def test_what_a_comparison_found_before_an_event_is_not_the_last_word(mirror: MirrorInMemory) -> None:
    (mirror.source / "folder").mkdir()
    publish = ExitStack()
    publish.enter_context(mirror.precedence.publishing())
    with at_work(mirror):
        with publish:
            wait_until(lambda: ("list", "media") in mirror.steps, "a comparison begins")
            (mirror.source / "folder").rmdir()
            mirror.backlog.touch("folder", tree=True, fresh=True)
            (mirror.source / "mark").write_text("so that it shows when that was looked at")
            mirror.backlog.touch("mark", fresh=True)
            wait_until(lambda: mirror.names() == {"mark"}, "the events are followed")
        wait_until(lambda: is_compared(mirror), "the comparison ends")
        wait_until(lambda: mirror.names() == {"mark"}, "the folder is gone")


def make_nested(top: Path, count: int) -> None:
    """Make folders: with so many they are sent in several batches, each scanned beside the one before."""
    for number in range(count):
        (top / f"{number}" / "below" / "lowest").mkdir(parents=True)
        (top / f"{number}" / "below" / "lowest" / "file").write_text(f"{number}")


def test_what_was_scanned_before_an_event_is_not_the_last_word(tmp_path: Path) -> None:
    count, gone = 500, set[str]()
    mirror = MirrorInMemory(tmp_path / "here")
    make_nested(mirror.source, count)

    def remove_what_is_scanned() -> None:
        # A batch is about to end: what is not there yet is in the next one, or is not scanned yet.
        if not gone:
            there = {number for number in range(count) if mirror.names(f"media/{number}")}
            gone.update(f"{number}/below" for number in range(count) if number not in there)
            for path in gone:
                shutil.rmtree(mirror.source / path)
                mirror.backlog.touch(path, tree=True, fresh=True)

    for number in range(count):
        mirror.before["set_attributes", f"media/{number}"] = remove_what_is_scanned

    def there() -> set[str]:
        return {f"{number}/{name}" for number in range(count) for name in mirror.names(f"media/{number}")}

    with at_work(mirror):
        wait_until(lambda: is_compared(mirror), "the comparison ends")
        assert 200 < len(gone) < count
        wait_until(lambda: there() == {f"{number}/below" for number in range(count)} - gone, "they are gone")


def test_much_that_events_ask_for_waits_for_a_publish_too() -> None:
    precedence, stop = Precedence(), threading.Event()
    pace = SteadyPace(precedence, stop)
    pace.note_sent(1 << 30)
    with precedence.publishing():
        assert pace.may_begin()
        pace.note_sent((64 << 20) - 1)
        assert pace.may_begin()
        pace.note_sent(1)
        assert not pace.may_begin()
    assert pace.may_begin()
    with precedence.publishing():
        assert pace.may_begin()
    stop.set()
    assert not pace.may_begin()


def test_the_pace_hears_of_bytes_and_files() -> None:
    heard: list[int] = []

    class Listening(SteadyPace):
        def note_sent(self, count_bytes: int) -> None:
            heard.append(count_bytes)

    path = PurePosixPath("media/a")
    seen = Sending(Tally(), {path: "a"}, Listening(Precedence(), threading.Event()))
    seen.bytes_moved(7)
    seen.file_done(path, "")
    assert heard == [7, FILE_COST_BYTES]


# --- what is told ------------------------------------------------------------------------------------


def test_the_backlog_is_that_of_the_moment(mirror: MirrorInMemory) -> None:
    mirror.worker()
    assert mirror.status.backlog_files == 0
    mirror.backlog.touch("a")
    mirror.backlog.touch("b")
    assert mirror.status.backlog_files == 2


def test_what_is_being_worked_on_counts_as_backlog(mirror: MirrorInMemory) -> None:
    seen: list[int | None] = []
    with at_work(mirror):
        wait_until(lambda: is_compared(mirror), "the comparison ends")
        for name in "ab":
            (mirror.source / name).write_text(name)
        mirror.before["upload", "media/b"] = lambda: seen.append(mirror.status.backlog_files)
        for name in "ab":
            mirror.backlog.touch(name, fresh=True)
        wait_until(lambda: mirror.names() == {"a", "b"}, "both arrive")
        wait_until(lambda: mirror.status.backlog_files == 0, "nothing is left")
    assert seen[0] is not None
    assert seen[0] >= 1


def test_a_long_comparison_tells_how_far_it_is(mirror: MirrorInMemory) -> None:
    (mirror.source / "first").write_text("1")
    (mirror.source / "folder" / "below").mkdir(parents=True)
    (mirror.source / "folder" / "below" / "last").write_text("2")
    counted: list[int] = []
    mirror.before["set_attributes", "media/folder/below"] = lambda: counted.append(mirror.session.counts.files)
    with at_work(mirror):
        wait_until(lambda: is_compared(mirror), "the comparison ends")
        assert mirror.status.files == 2
    assert counted == [2]
