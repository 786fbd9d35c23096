"""A transfer's own links of the current checkpoint, while that is replaced again and again."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint import rotation
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.pinned import CheckpointPin, discard_pinned, pinned_checkpoint
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.demo.oracle import judge
from replicator.errors import CheckpointError, ConnectionLostError
from tests.support.captures import WARM_UP_BATCHES
from tests.support.handmade import HandmadeDatabase
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = "standby"


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


class Changing:
    """A database of which each checkpoint differs from all others in every file but one."""

    def __init__(self, path: Path, root: CheckpointRoot) -> None:
        self._database = HandmadeDatabase(path)
        self._database.flush(10, (1, 1), 4)
        self._database.sequence = 1
        self._database.create_wal(4)
        self._capture = Capture(path, root)
        self._root = root
        self._table = 10
        self.made: list[dict[str, bytes]] = []

    def make(self) -> None:
        self._table += 1
        self._database.write(4)
        self._database.flush(self._table, (self._database.sequence, self._database.sequence), 4)
        self._capture.make()
        self.made.append(contents(self._root.current))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_the_current_checkpoint_as_long_as_it_is_held(root: CheckpointRoot, tmp_path: Path) -> None:
    changing = Changing(tmp_path / "db", root)
    changing.make()
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        assert checkpoint.folder.parent == root.path
        for _ in range(5):
            assert contents(checkpoint.folder) == changing.made[0]
            changing.make()
        assert len(changing.made) == 6
    assert not checkpoint.folder.exists()
    assert contents(root.current) == changing.made[-1]


def test_it_is_made_of_links(root: CheckpointRoot, tmp_path: Path) -> None:
    Changing(tmp_path / "db", root).make()
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        for file in checkpoint.inventory.files:
            assert (checkpoint.folder / file.name).samefile(root.current / file.name)


def test_of_the_next_checkpoint_only_what_is_new_is_linked(
    root: CheckpointRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = Changing(tmp_path / "db", root)
    pin = CheckpointPin(root, HOLDER)
    link = os.link
    linked: list[str] = []

    def noting_link(name: str, *arguments: object, **keywords: object) -> None:
        linked.append(name)
        link(name, *arguments, **keywords)  # type: ignore[arg-type]

    for count in range(6):
        changing.make()
        linked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", noting_link)
            with pin.held() as checkpoint:
                assert contents(checkpoint.folder) == changing.made[-1]
                inspected = inspect_checkpoint(checkpoint.folder)
                assert set(checkpoint.inventory.files) == set(inspected.inventory.files)
                assert checkpoint.captured_at_seconds == inspected.captured_at_seconds
        if count:
            assert [name for name in linked if name.endswith(".sst")] == [f"{11 + count:06d}.sst"]
    pin.give_up()
    assert not list(root.path.glob("transfer-*"))
    changing.make()
    with pin.held() as checkpoint:
        pin.give_up()
        assert contents(checkpoint.folder) == changing.made[-1]


def test_a_table_that_was_replaced_by_another_of_its_name_is_linked_anew(
    root: CheckpointRoot, tmp_path: Path
) -> None:
    changing = Changing(tmp_path / "db", root)
    pin = CheckpointPin(root, HOLDER)
    changing.make()
    with pin.held():
        pass
    content = (root.current / "000011.sst").read_bytes()
    (root.current / "000011.sst").unlink()
    (root.current / "000011.sst").write_bytes(content[::-1])
    with pin.held() as checkpoint:
        assert (checkpoint.folder / "000011.sst").samefile(root.current / "000011.sst")
    (root.current / "000011.sst").unlink()
    (root.current / "000011.sst").write_bytes(b"too short")
    with pytest.raises(CheckpointError, match=r"000011\.sst is missing or has the wrong size"), pin.held():
        pass
    assert not list(root.path.glob("transfer-*"))


def test_a_database_that_was_put_back_is_inspected_anew(root: CheckpointRoot, tmp_path: Path) -> None:
    """Its MANIFEST has the name of the one before, and other contents."""
    pin = CheckpointPin(root, HOLDER)
    for name in ("one", "other"):
        changing = Changing(tmp_path / name, root)
        for _ in range(1 if name == "other" else 3):
            changing.make()
        with pin.held() as checkpoint:
            inspected = inspect_checkpoint(root.current)
            assert set(checkpoint.inventory.files) == set(inspected.inventory.files)
            assert contents(checkpoint.folder) == changing.made[-1]


def test_two_holders_do_not_meet(root: CheckpointRoot, tmp_path: Path) -> None:
    changing = Changing(tmp_path / "db", root)
    changing.make()
    with pinned_checkpoint(root, "one") as first:
        changing.make()
        with pinned_checkpoint(root, "two") as second:
            assert contents(first.folder) == changing.made[0]
            assert contents(second.folder) == changing.made[1]
        assert contents(first.folder) == changing.made[0]


def test_what_an_error_in_the_transfer_leaves_is_removed(root: CheckpointRoot, tmp_path: Path) -> None:
    Changing(tmp_path / "db", root).make()
    with pytest.raises(ZeroDivisionError), pinned_checkpoint(root, HOLDER):
        raise ZeroDivisionError
    assert not list(root.path.glob("transfer-*"))


def test_what_a_killed_transfer_left_is_removed(root: CheckpointRoot, tmp_path: Path) -> None:
    Changing(tmp_path / "db", root).make()
    for name in (HOLDER, "another"):
        shutil.copytree(root.current, root.path / f"transfer-{name}")
        (root.path / f"transfer-{name}" / "000999.sst").write_bytes(b"old")
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        assert contents(checkpoint.folder) == contents(root.current)
    discard_pinned(root)
    assert not list(root.path.glob("transfer-*"))


def test_no_checkpoint_yet(root: CheckpointRoot) -> None:
    with (
        pytest.raises(CheckpointError, match=r"there is no checkpoint in .* yet"),
        pinned_checkpoint(root, HOLDER),
    ):
        pass
    assert not list(root.path.iterdir())


def test_one_that_is_not_complete(root: CheckpointRoot, tmp_path: Path) -> None:
    Changing(tmp_path / "db", root).make()
    (root.current / "000011.sst").unlink()
    with (
        pytest.raises(CheckpointError, match=r"000011\.sst is missing or has the wrong size"),
        pinned_checkpoint(root, HOLDER),
    ):
        pass
    assert not list(root.path.glob("transfer-*"))


@pytest.fixture(name="_exchange", params=[True, False], ids=["exchange", "no exchange"])
def choose_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the filesystem can exchange two names."""
    if not request.param:
        monkeypatch.setattr(rotation, "exchange", lambda _first, _second: False)


@pytest.mark.usefixtures("_exchange")
@pytest.mark.parametrize("at_link", range(1, 8))
@pytest.mark.parametrize("rotations", [1, 2, 3, 4])
def test_rotations_while_it_is_linked(
    root: CheckpointRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_link: int, rotations: int
) -> None:
    """After three of them the very folder that is being read is the current checkpoint again: with other files."""
    changing = Changing(tmp_path / "db", root)
    for _ in range(4):
        changing.make()
    link = os.link
    links = 0

    def rotating_link(*arguments: object, **keywords: object) -> None:
        nonlocal links
        links += 1
        if links == at_link:
            for _ in range(rotations):
                changing.make()
        link(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", rotating_link)
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        assert contents(checkpoint.folder) in changing.made
    assert len(changing.made) == 4 + rotations


def test_the_folder_is_about_to_be_used_again(
    root: CheckpointRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are being removed from it: the log is gone, CURRENT still there."""
    changing = Changing(tmp_path / "db", root)
    for _ in range(2):
        changing.make()
    shutil.rmtree(root.staging, ignore_errors=True)
    scandir = os.scandir

    def scandir_after_rotation(folder: int | str) -> Iterator[os.DirEntry[str]]:
        if isinstance(folder, int) and not root.staging.exists():
            root.current.rename(root.staging)
            root.previous.rename(root.current)
            (root.staging / "000004.log").unlink()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scandir_after_rotation)
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        assert contents(checkpoint.folder) == changing.made[0]


def test_while_names_are_swapped_one_by_one(
    root: CheckpointRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exchange the current checkpoint is missing for a moment."""
    changing = Changing(tmp_path / "db", root)
    for _ in range(2):
        changing.make()
    root.current.rename(root.staging)
    waits: list[float] = []

    def come_back(seconds: float) -> None:
        waits.append(seconds)
        root.staging.rename(root.current)

    monkeypatch.setattr("tenacity.nap.time.sleep", come_back)
    with pinned_checkpoint(root, HOLDER) as checkpoint:
        assert contents(checkpoint.folder) == changing.made[-1]
    assert len(waits) == 1


def test_one_that_is_replaced_at_every_look(
    root: CheckpointRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = Changing(tmp_path / "db", root)
    for _ in range(3):
        changing.make()
    scandir = os.scandir

    def rotating_scandir(folder: int | str) -> Iterator[os.DirEntry[str]]:
        if isinstance(folder, int):
            for _ in range(3):
                changing.make()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", rotating_scandir)
    with (
        pytest.raises(CheckpointError, match="was replaced at each of 10 looks at it"),
        pinned_checkpoint(root, HOLDER),
    ):
        pass
    assert not (root.path / f"transfer-{HOLDER}").exists()


def test_a_storm_of_rotations_never_gives_a_mixture(root: CheckpointRoot, tmp_path: Path) -> None:
    done = threading.Event()

    def capture_all_the_time(primary: Primary) -> int:
        capture = Capture(primary.path, root)
        count = 0
        while not done.is_set():
            capture.make()
            count += 1
        capture.close()
        return count

    with Primary(tmp_path / "db", STORMS["everything"]) as primary, ThreadPoolExecutor(1) as pool:
        primary.wait_for(WARM_UP_BATCHES)
        Capture(primary.path, root).make()
        captures = pool.submit(capture_all_the_time, primary)
        try:
            positions = []
            for _ in range(50):
                with pinned_checkpoint(root, HOLDER) as checkpoint:
                    verdict = judge(checkpoint.folder)
                assert verdict.exact, verdict
                positions.append(verdict.position)
        finally:
            done.set()
    assert captures.result() > 5
    assert positions == sorted(positions)
    assert positions[-1] > positions[0]


def test_a_transfer_of_an_outdated_checkpoint_is_broken_off_and_says_why(
    root: CheckpointRoot, tmp_path: Path
) -> None:
    changing = Changing(tmp_path / "db", root)
    changing.make()
    pin = CheckpointPin(root, HOLDER)
    broken_off: list[str] = []

    def transfer() -> None:
        with pin.held(lambda: broken_off.append("now")) as checkpoint:
            pin.give_up_outdated()
            assert checkpoint.folder.exists()
            assert not broken_off
            changing.make()
            pin.give_up_outdated()
            assert broken_off == ["now"]
            assert not checkpoint.folder.exists()
            raise ConnectionLostError("it was broken off")

    with pytest.raises(CheckpointError, match="the checkpoint on its way was given up: too little is free"):
        transfer()
    # What comes after is not concerned.
    with pytest.raises(ConnectionLostError), pin.held(lambda: broken_off.append("again")):
        raise ConnectionLostError("of its own")
    changing.make()
    pin.give_up_outdated()
    assert broken_off == ["now"]
