"""Noticing checkpoints: real inotify, with renames as checkpoints arrive by."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.watcher import CheckpointWatcher
from replicator.errors import CheckpointError
from tests.support.handmade import HandmadeDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Long enough for any machine; nothing waits for it to pass.
ARRIVES_SECONDS = 30.0


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


@pytest.fixture(name="watcher")
def make_watcher(root: CheckpointRoot) -> Iterator[CheckpointWatcher]:
    with CheckpointWatcher(root.path) as watcher:
        yield watcher


def _settle(watcher: CheckpointWatcher, root: CheckpointRoot) -> None:
    """Let all events arrive that were on their way: a last one of our own comes behind them.

    Events come in order, but watchdog holds a rename back for a while in case that its other half follows.
    """
    mark = threading.Event()
    handle = watcher.on_any_event

    def until_mark(event: object) -> None:
        if "mark" in str(event):
            mark.set()
        handle(event)  # type: ignore[arg-type]

    watcher.on_any_event = until_mark  # type: ignore[method-assign]
    (root.path / "mark").touch()
    assert mark.wait(ARRIVES_SECONDS)
    (root.path / "mark").unlink()
    watcher.on_any_event = handle  # type: ignore[method-assign]


def test_checkpoints_of_our_own(root: CheckpointRoot, watcher: CheckpointWatcher, tmp_path: Path) -> None:
    """The first is renamed into place, those after it are exchanged for the one before."""
    capture = Capture(HandmadeDatabase(tmp_path / "db").path, root)
    for _ in range(4):
        capture.make()
        assert watcher.wait(ARRIVES_SECONDS)
        _settle(watcher, root)
        watcher.wait(0)


@pytest.mark.parametrize("origin", ["root/checkpoint_staging", "elsewhere"])
def test_a_checkpoint_that_something_else_makes(
    root: CheckpointRoot, watcher: CheckpointWatcher, tmp_path: Path, origin: str
) -> None:
    made = tmp_path / origin
    made.mkdir()
    (made / "CURRENT").write_text("MANIFEST-000001\n")
    made.rename(root.current)
    assert watcher.wait(ARRIVES_SECONDS)


def test_a_current_checkpoint_that_is_a_symbolic_link(root: CheckpointRoot, watcher: CheckpointWatcher) -> None:
    new = root.path / "new"
    new.symlink_to("anywhere")
    new.rename(root.current)
    assert watcher.wait(ARRIVES_SECONDS)


def test_a_burst_counts_once(root: CheckpointRoot, watcher: CheckpointWatcher, tmp_path: Path) -> None:
    capture = Capture(HandmadeDatabase(tmp_path / "db").path, root)
    for _ in range(10):
        capture.make()
    _settle(watcher, root)
    assert watcher.wait(ARRIVES_SECONDS)
    assert not watcher.wait(0)


def test_nothing_else_counts(root: CheckpointRoot, watcher: CheckpointWatcher) -> None:
    for name in ("checkpoint_staging", "checkpoint_prev", "transfer-x", "checkpoint_current2", ".verify-1"):
        folder = root.path / name
        folder.mkdir()
        (folder / "checkpoint_current").touch()
        folder.rename(root.path / f"{name}-moved")
    (root.path / "lock").write_text("held")
    _settle(watcher, root)
    assert not watcher.wait(0)


def test_looking_at_the_checkpoint_is_no_change(root: CheckpointRoot, tmp_path: Path) -> None:
    """Otherwise every transfer would wake the watcher, which begins a transfer."""
    Capture(HandmadeDatabase(tmp_path / "db").path, root).make()
    with CheckpointWatcher(root.path) as watcher:
        for path in (root.current, *root.current.iterdir()):
            path.stat()
        (root.current / "CURRENT").read_bytes()
        _settle(watcher, root)
        assert not watcher.wait(0)


def test_a_wait_can_be_ended_from_another_thread(watcher: CheckpointWatcher) -> None:
    waker = threading.Thread(target=watcher.wake)
    waker.start()
    assert watcher.wait(ARRIVES_SECONDS)
    waker.join()
    assert not watcher.wait(0)


def test_no_thread_stays_behind(root: CheckpointRoot) -> None:
    before = set(threading.enumerate())
    with CheckpointWatcher(root.path):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot watch .*/nothing"), CheckpointWatcher(tmp_path / "nothing"):
        pass
