"""Files with several names, watched by a real inotify: an event names one of them, all of them changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from replicator.mirror.excludes import Excludes
from replicator.mirror.watcher import TreeWatcher
from replicator.service.precedence import SteadyPace
from tests.support.mirror_in_memory import MirrorInMemory
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorInMemory:
    source = tmp_path / "here"
    source.mkdir()
    for name in ("first", "other"):
        (source / name).write_text(name)
    (tmp_path / "outside").hardlink_to(source / "first")
    found = MirrorInMemory(source)
    found.now = time.time() + 10
    found.compare()
    look_for_names(found)
    found.ahead_seconds = 10
    found.work()
    found.ahead_seconds = 20
    return found


class Heard:
    """A listener that knows which paths it was told of."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def touch(self, path: str, *, tree: bool = False, fresh: bool = False, born: bool = False) -> None:  # noqa: ARG002
        self.paths.add(path)

    def share(self, path: str, inodes: frozenset[int]) -> None:
        pass

    def move(self, source: str, target: str, *, is_folder: bool) -> None:
        pass

    def wait_for(self, name: str) -> None:
        """Wait until the backlog has heard of `name`."""
        wait_until(lambda: name in self.paths, f"an event of {name}")


@pytest.fixture
def heard(mirror: MirrorInMemory) -> Iterator[Heard]:
    found = Heard()
    with TreeWatcher(mirror.source, Excludes([]), [mirror.backlog, found]):
        yield found


def look_for_names(mirror: MirrorInMemory) -> None:
    mirror.now += 100
    mirror.session.tidy(SteadyPace(mirror.precedence, mirror.stop))


def link(source: Path) -> None:
    (source / "second").hardlink_to(source / "first")


def move_in(source: Path) -> None:
    (source.parent / "outside").rename(source / "second")


def remove(source: Path) -> None:
    (source / "second").unlink()


def replace(source: Path) -> None:
    (source / "other").rename(source / "second")


@pytest.mark.parametrize("appear", [link, move_in])
@pytest.mark.parametrize("disappear", [remove, replace])
def test_what_was_changed_under_a_name_that_was_there_for_a_moment_is_sent(
    mirror: MirrorInMemory, heard: Heard, appear: Callable[[Path], None], disappear: Callable[[Path], None]
) -> None:
    appear(mirror.source)
    heard.wait_for("second")
    (mirror.source / "second").write_text("new")
    os.utime(mirror.source / "second", (10**9, 10**9))
    disappear(mirror.source)
    (mirror.source / "last").touch()
    heard.wait_for("last")
    mirror.ahead_seconds = 40
    mirror.work()
    look_for_names(mirror)
    mirror.ahead_seconds = 60
    mirror.work()
    assert mirror.content("first") == b"new"
    assert mirror.modified_seconds("first") == 10**9
    assert mirror.names() == {path.name for path in mirror.source.iterdir()}


def test_a_file_that_is_put_in_its_place_by_a_link_is_not_searched_for(
    mirror: MirrorInMemory, heard: Heard
) -> None:
    (mirror.source / "new.part").write_text("new")
    (mirror.source / "new").hardlink_to(mirror.source / "new.part")
    heard.wait_for("new")
    (mirror.source / "new.part").unlink()
    (mirror.source / "last").touch()
    heard.wait_for("last")
    mirror.ahead_seconds = 40
    mirror.work()
    assert mirror.content("new") == b"new"
    assert mirror.session.tidies_in_seconds is None
