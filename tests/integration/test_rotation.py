"""The rotation of checkpoints, cut off at every step, with and without an atomic exchange of names."""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint import rotation
from replicator.checkpoint.rotation import CheckpointRoot, exchange
from replicator.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("CURRENT", "MANIFEST-000001", "000004.log", "000010.sst")


class KilledError(BaseException):
    """Here the process is killed; nothing catches this."""


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


@pytest.fixture(name="exchanges", params=[True, False], ids=["exchange", "no exchange"])
def choose_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the filesystem can exchange two names."""
    if not request.param:
        monkeypatch.setattr(rotation, "exchange", lambda _first, _second: False)
    return bool(request.param)


def _make(folder: Path, label: str) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(label)
    return folder


def _label(folder: Path) -> str:
    """Return what a complete checkpoint was made as."""
    contents = {(folder / name).read_text() for name in FILES}
    assert len(contents) == 1
    return contents.pop()


def _kill_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let so many of a rotation's changes happen. Of the one that is next, a removal happens in part."""
    left = steps

    def step() -> None:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1

    rename, original_exchange, rmtree = Path.rename, rotation.exchange, shutil.rmtree

    def stepwise_rename(self: Path, target: Path) -> Path:
        step()
        return rename(self, target)

    def stepwise_exchange(first: Path, second: Path) -> bool:
        step()
        return original_exchange(first, second)

    def stepwise_rmtree(path: Path) -> None:
        try:
            step()
        except KilledError:
            next(path.iterdir()).unlink()
            raise
        rmtree(path)

    patch.setattr(Path, "rename", stepwise_rename)
    patch.setattr(rotation, "exchange", stepwise_exchange)
    patch.setattr(shutil, "rmtree", stepwise_rmtree)


@pytest.mark.usefixtures("exchanges")
def test_the_first_rotation(root: CheckpointRoot) -> None:
    _make(root.staging, "one")
    root.rotate()
    assert _label(root.current) == "one"
    assert {path.name for path in root.path.iterdir()} == {"checkpoint_current"}


def test_rotations_keep_the_last_two(root: CheckpointRoot, exchanges: bool) -> None:  # noqa: FBT001 - a fixture
    for number in range(5):
        root.discard_staging()
        _make(root.staging, str(number))
        root.rotate()
        assert _label(root.current) == str(number)
        if number:
            assert _label(root.previous) == str(number - 1)
    # What was the previous one is there to be used again, where it cost nothing to keep it.
    assert root.staging.exists() == exchanges


@pytest.mark.usefixtures("exchanges")
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("steps", range(4))
def test_a_rotation_cut_off_at_any_step(root: CheckpointRoot, before: int, steps: int) -> None:
    for number in range(before):
        root.discard_staging()
        _make(root.staging, f"old {number}")
        root.rotate()
    root.discard_staging()
    _make(root.staging, "new")
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
        _kill_after(patch, steps)
        root.rotate()

    CheckpointRoot(root.path).recover()
    assert not root.staging.exists()
    if root.current.exists():
        assert _label(root.current) in {"new", f"old {before - 1}"}
    else:
        assert (before, steps) == (0, 0)

    _make(root.staging, "next")
    root.rotate()
    assert _label(root.current) == "next"


@pytest.mark.parametrize("remains", [(), ("CURRENT",), FILES])
def test_what_a_killed_capture_leaves_is_removed(root: CheckpointRoot, remains: tuple[str, ...]) -> None:
    _make(root.current, "one")
    _make(root.previous, "zero")
    root.staging.mkdir()
    for name in remains:
        (root.staging / name).write_text("begun")
    _make(root.path / ".verify-abc", "scratch")
    root.recover()
    assert {path.name for path in root.path.iterdir()} == {"checkpoint_current", "checkpoint_prev"}
    assert (_label(root.current), _label(root.previous)) == ("one", "zero")


def test_a_folder_that_is_not_ours_is_left_alone(root: CheckpointRoot) -> None:
    _make(root.path / "of somebody else", "keep")
    root.recover()
    assert _label(root.path / "of somebody else") == "keep"


def test_a_root_that_cannot_be_mended(root: CheckpointRoot) -> None:
    root.staging.write_text("a file")
    with pytest.raises(CheckpointError, match="cannot use the checkpoint root") as caught:
        root.recover()
    assert "belong to this user" in caught.value.hint


def test_with_an_exchange_the_current_checkpoint_is_there_at_every_instant(root: CheckpointRoot) -> None:
    _make(root.staging, "000")
    root.rotate()
    done = threading.Event()

    def look() -> list[str]:
        seen = []
        while not done.is_set():
            seen.append((root.current / "CURRENT").read_text())
        return seen

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look)
        try:
            for number in range(1, 300):
                root.discard_staging()
                _make(root.staging, f"{number:03d}")
                root.rotate()
        finally:
            done.set()
    seen = looks.result()
    assert len(set(seen)) > 10
    assert seen == sorted(seen)


def test_an_exchange_swaps_two_names(tmp_path: Path) -> None:
    first, second = _make(tmp_path / "first", "1"), _make(tmp_path / "second", "2")
    assert exchange(first, second)
    assert (_label(first), _label(second)) == ("2", "1")


def test_an_exchange_with_nothing_is_an_error(tmp_path: Path) -> None:
    first = _make(tmp_path / "first", "1")
    with pytest.raises(FileNotFoundError) as caught:
        exchange(first, tmp_path / "second")
    assert caught.value.errno == errno.ENOENT
    assert _label(first) == "1"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_where_names_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What such systems answer, which are not at hand."""
    monkeypatch.setattr("ctypes.get_errno", lambda: code)
    assert not exchange(_make(tmp_path / "first", "1"), tmp_path / "second")


def test_without_the_call_in_the_c_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", _library_without_it)
    assert not exchange(tmp_path, tmp_path)


def _library_without_it(_name: None, *, use_errno: bool) -> Callable[[], None]:
    assert use_errno
    return lambda: None
