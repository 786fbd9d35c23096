"""Passes of a mirror, over a destination that breaks when told to: who waits for whom, what a break leaves."""

from __future__ import annotations

import os
import threading
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.errors import AccessDeniedError, ConnectionLostError
from replicator.mirror.coalesce import Move
from replicator.service.precedence import BulkPace, SteadyPace
from tests.support.mirror_in_memory import MirrorInMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from replicator.destination.interface import Entry


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorInMemory:
    (tmp_path / "here").mkdir()
    return MirrorInMemory(tmp_path / "here")


def test_a_comparison_waits_while_a_database_is_published(mirror: MirrorInMemory) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    waits = threading.Event()

    def rest(seconds: float) -> None:
        waits.set()
        mirror.stop.wait(seconds)

    pace = BulkPace(mirror.precedence, mirror.stop, rest)
    comparison = threading.Thread(target=mirror.compare, args=(pace,))
    with mirror.precedence.publishing():
        comparison.start()
        assert waits.wait(60)
        assert mirror.names() == set()
    comparison.join(60)
    assert mirror.names() == {"file"}


def test_what_events_ask_for_does_not_wait_for_a_publish(mirror: MirrorInMemory) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    with mirror.precedence.publishing():
        mirror.look_at("file")
        assert mirror.names() == {"file"}


def test_names_that_are_listed_twice_count_once(mirror: MirrorInMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As happens when a folder changes while it is read."""
    (mirror.source / "folder").mkdir()
    for name in ("equal", "changed", "folder/below"):
        (mirror.source / name).write_text("old")
    mirror.now = time.time() + 10
    mirror.compare()
    (mirror.source / "changed").write_text("new and longer")
    list_folders = mirror.there.list_folders

    def list_twice(folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        return ((folder, entries and entries * 2) for folder, entries in list_folders(folders))

    monkeypatch.setattr(mirror.there, "list_folders", list_twice)
    before = mirror.session.counts
    mirror.compare()
    assert mirror.names() == {"equal", "changed", "folder"}
    assert mirror.session.counts.files == before.files + 1
    assert mirror.session.counts.deletes == 0


def test_a_time_that_was_left_a_second_early_is_set_after_a_break(mirror: MirrorInMemory) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    changed_seconds = int((mirror.source / "file").stat().st_mtime)
    mirror.now = changed_seconds + 0.5
    mirror.look_at("file")
    assert mirror.modified_seconds("file") == changed_seconds - 1  # it may be changed again within this second
    mirror.now = changed_seconds + 2
    mirror.breaks.add(("set_attributes", "media/file"))
    with pytest.raises(ConnectionLostError):
        mirror.session.tidy(SteadyPace(mirror.precedence, mirror.stop))
    mirror.session.reset()
    assert mirror.session.tidies_in_seconds == 0
    mirror.session.tidy(SteadyPace(mirror.precedence, mirror.stop))
    assert mirror.modified_seconds("file") == changed_seconds
    assert mirror.session.tidies_in_seconds is None


def test_a_move_that_was_noted_before_a_comparison_stays_a_move(mirror: MirrorInMemory) -> None:
    (mirror.source / "file").write_text("one")
    mirror.compare()
    mirror.ahead_seconds = 10
    (mirror.source / "file").rename(mirror.source / "moved")
    mirror.backlog.move("file", "moved", is_folder=False)
    mirror.steps.clear()
    mirror.compare()
    assert mirror.names() == {"moved"}
    assert ("rename", "media/moved") in mirror.steps
    assert ("upload", "media/moved") not in mirror.steps


def test_moves_that_were_made_before_a_break_are_settled(mirror: MirrorInMemory) -> None:
    for name in "ac":
        (mirror.source / name).write_text(name)
    mirror.compare()
    mirror.ahead_seconds = 10
    for source, target in ("ab", "cd"):
        (mirror.source / source).rename(mirror.source / target)
        mirror.backlog.move(source, target, is_folder=False)
    mirror.breaks.add(("rename", "media/d"))
    with pytest.raises(ConnectionLostError):
        mirror.work()
    mirror.work()
    assert mirror.names() == {"b", "d"}
    mirror.ahead_seconds = 20
    (mirror.source / "b").rename(mirror.source / "e")
    mirror.backlog.move("b", "e", is_folder=False)
    assert mirror.backlog.take(most=9).moves == (Move("b", "e"),)


def test_a_folder_gets_its_time_though_what_was_put_into_it_is_known_after_a_break(mirror: MirrorInMemory) -> None:
    folder = mirror.source / "folder"
    folder.mkdir()
    mirror.now = time.time() + 10
    mirror.compare()
    (folder / "new").write_text("new")
    os.utime(folder, (10**9, 10**9))
    mirror.ahead_seconds = 20
    mirror.backlog.touch("folder/new", fresh=True)
    mirror.breaks.add(("set_attributes", "media/folder"))
    with pytest.raises(ConnectionLostError):
        mirror.work()
    assert mirror.names("media/folder") == {"new"}
    mirror.ahead_seconds = 40
    mirror.work()
    assert mirror.modified_seconds("folder") == 10**9


@pytest.mark.parametrize("is_known_to_be_new", [True, False])
def test_a_folder_gets_its_time_though_what_was_made_in_it_is_gone(
    mirror: MirrorInMemory, *, is_known_to_be_new: bool
) -> None:
    folder = mirror.source / "folder"
    folder.mkdir()
    mirror.compare()
    mirror.ahead_seconds = 20
    (folder / "new").write_text("new")
    mirror.backlog.touch("folder/new", tree=not is_known_to_be_new, fresh=True, born=is_known_to_be_new)
    (folder / "new").unlink()
    os.utime(folder, (10**9, 10**9))
    mirror.work()
    assert mirror.modified_seconds("folder") == 10**9


@pytest.mark.parametrize("told", ["before", "during", "after"])
def test_a_file_that_a_comparison_sent_goes_though_its_making_is_told_late(
    mirror: MirrorInMemory, told: str
) -> None:
    (mirror.source / "other").write_text("stays")
    mirror.compare()
    path = mirror.source / "new"
    path.write_text("new")

    def tell() -> None:
        mirror.backlog.touch("new", fresh=True, born=True)

    if told == "before":
        tell()
    mirror.compare(between=tell if told == "during" else lambda: None)
    if told == "after":
        tell()
    assert mirror.names() == {"new", "other"}
    path.unlink()
    mirror.backlog.touch("new", fresh=True)
    mirror.ahead_seconds = 20
    mirror.work()
    assert mirror.names() == {"other"}


def test_what_was_done_before_a_break_is_counted(mirror: MirrorInMemory) -> None:
    for name in "abc":
        (mirror.source / name).write_text(name)
    mirror.breaks.add(("upload", "media/c"))
    with pytest.raises(ConnectionLostError):
        mirror.compare()
    assert mirror.names() <= {"a", "b", "c"}
    assert mirror.session.counts.files == len(mirror.names())
    mirror.compare()
    assert (mirror.session.counts.files, mirror.session.counts.sent_bytes) == (3, 3)
    (mirror.source / "a").unlink()
    mirror.compare()
    assert mirror.session.counts.deletes == 1


def test_a_link_that_takes_the_place_of_a_file_is_put_together_elsewhere(mirror: MirrorInMemory) -> None:
    (mirror.source / "name").write_text("a file")
    mirror.compare()
    (mirror.source / "name").unlink()
    (mirror.source / "name").symlink_to("elsewhere")
    mirror.compare()
    assert mirror.there.read_link(PurePosixPath("media/name")) == "elsewhere"
    parts = [part for part in mirror.there.link_parts if part]
    assert len(parts) == len(mirror.there.link_parts) == 1
    assert parts[0].parts[0] == ".replicator-mirror-media"


def test_a_time_that_cannot_be_set_is_not_forgotten(mirror: MirrorInMemory) -> None:
    mirror.compare()
    (mirror.source / "file").write_text("new")
    changed_seconds = int((mirror.source / "file").stat().st_mtime)
    mirror.now = changed_seconds + 0.999  # so long after the change that it counts as sent
    mirror.look_at("file")
    mirror.now = changed_seconds + 2

    def refuse() -> None:
        raise AccessDeniedError("not now")

    mirror.before["set_attributes", "media/file"] = refuse
    mirror.session.tidy(SteadyPace(mirror.precedence, mirror.stop))
    mirror.work()
    assert mirror.modified_seconds("file") == changed_seconds


@pytest.mark.parametrize("tree", [False, True])
def test_what_is_deleted_during_the_first_comparison_goes_there_too(mirror: MirrorInMemory, *, tree: bool) -> None:
    for name in "abc":
        (mirror.source / name).write_text(name)

    def delete() -> None:
        if "a" in mirror.names() and (mirror.source / "a").exists():
            (mirror.source / "a").unlink()
            mirror.backlog.touch("a", tree=tree, fresh=True)
            mirror.work()

    mirror.compare(between=delete)
    mirror.work()
    assert mirror.session.refused is None
    assert mirror.names() == {"b", "c"}
