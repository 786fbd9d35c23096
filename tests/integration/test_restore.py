"""Restoring from a folder: what is written, what is refused, and how a restore that broke off goes on."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from replicator.errors import DamageError, InterruptedTransferError, NotFoundError, TargetError
from replicator.replica.layout import ReplicaLayout
from replicator.replica.publish import publish
from replicator.replica.restore import Restored, RestorePlan, plan_restore, restore
from tests.support.observer import RecordingObserver
from tests.support.replicas import DATABASE, FakePrimary, current_generation, directory

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = ReplicaLayout(DATABASE)
MARKER = ".replicator-restore.json"


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def primary(tmp_path: Path) -> FakePrimary:
    return FakePrimary(tmp_path / "primary", table_bytes=3_000_000)


@pytest.fixture
def base(tmp_path: Path, primary: FakePrimary) -> Path:
    """Hold one generation, the current one."""
    base = tmp_path / "base"
    send(base, primary)
    return base


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "restored"


def send(base: Path, primary: FakePrimary) -> str:
    return str(publish(primary.request(), directory(base), RecordingObserver()).generation)


def bring(
    base: Path,
    target: Path,
    *,
    wanted: str | None = None,
    force: bool = False,
    observer: RecordingObserver | None = None,
) -> Restored:
    destination = directory(base)
    plan = plan_restore(destination, LAYOUT, target, wanted=wanted, force=force)
    return restore(plan, destination, observer or RecordingObserver())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def break_off(base: Path, target: Path, *, after_bytes: int) -> None:
    """Restore until `after_bytes` bytes have come."""
    moved_bytes = 0

    def on_bytes(count: int) -> None:
        nonlocal moved_bytes
        moved_bytes += count
        if moved_bytes >= after_bytes:
            raise Killed

    with pytest.raises(Killed):
        bring(base, target, observer=RecordingObserver(on_bytes=on_bytes))
    assert (target / MARKER).exists()
    assert not (target / "CURRENT").exists()


def test_a_restore_is_the_database_and_nothing_else(base: Path, primary: FakePrimary, target: Path) -> None:
    restored = bring(base, target)
    assert contents(target) == primary.contents()
    assert str(restored.generation) == current_generation(base).name
    assert restored.bytes_fetched == restored.size_bytes == sum(map(len, primary.contents().values()))
    assert restored.files == len(primary.contents())


def test_any_generation_can_be_named(base: Path, primary: FakePrimary, tmp_path: Path) -> None:
    first, first_contents = current_generation(base).name, primary.contents()
    primary.add_table(20)
    second = send(base, primary)
    for wanted, expected in ((first, first_contents), ("prev", first_contents), ("current", primary.contents())):
        bring(base, tmp_path / f"as-{wanted}", wanted=wanted)
        assert contents(tmp_path / f"as-{wanted}") == expected
    with pytest.raises(NotFoundError, match=r"no generation '\.\./\.\./etc'") as caught:
        bring(base, tmp_path / "new", wanted="../../etc")
    assert second in caught.value.hint
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("link", [None, "generations/20200101T000000.000Z", "/etc"])
def test_without_a_link_the_newest_complete_generation_is_taken(
    base: Path, primary: FakePrimary, target: Path, link: str | None
) -> None:
    expected = primary.contents()
    send(base, primary)
    (current_generation(base) / "000010.sst").unlink()
    (base / DATABASE / "checkpoint_current").unlink()
    if link:
        (base / DATABASE / "checkpoint_current").symlink_to(link)
    plan = plan_restore(directory(base), LAYOUT, target)
    assert "taking the newest complete generation" in plan.note
    restore(plan, directory(base), RecordingObserver())
    assert contents(target) == expected
    with pytest.raises(NotFoundError, match="names no generation"):
        plan_restore(directory(base), LAYOUT, target, wanted="current", force=True)


def test_nothing_there_is_said_so(base: Path, target: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no replica in other") as caught:
        plan_restore(directory(base), ReplicaLayout("other"), target)
    assert f"there is: {LAYOUT.folder}" in caught.value.hint


def test_a_plan_changes_nothing(base: Path, primary: FakePrimary, target: Path) -> None:
    plan = plan_restore(directory(base), LAYOUT, target)
    assert isinstance(plan, RestorePlan)
    assert plan.fetch_bytes == sum(map(len, primary.contents().values()))
    assert not target.exists()


def test_a_log_is_cut_to_the_size_in_the_catalog(base: Path, primary: FakePrimary, target: Path) -> None:
    with (current_generation(base) / "000014.log").open("ab") as log:
        log.write(b"appended since")
    bring(base, target)
    assert contents(target) == primary.contents()


# --- the target --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused_without_force(base: Path, target: Path) -> None:
    target.mkdir()
    (target / "precious").write_text("here before")
    with pytest.raises(TargetError, match="not empty: it holds 'precious'") as caught:
        bring(base, target)
    assert "--force" in caught.value.hint
    assert contents(target) == {"precious": b"here before"}


def test_a_file_is_no_target(base: Path, target: Path) -> None:
    target.write_text("a file")
    with pytest.raises(TargetError, match="is not a folder"):
        bring(base, target)


def test_force_replaces_the_database_and_leaves_the_rest(base: Path, primary: FakePrimary, target: Path) -> None:
    target.mkdir()
    for name in ("CURRENT", "000010.sst", "000099.sst", "999999.log", "000011.sst.part"):
        (target / name).write_text("of another database")
    (target / "000012.sst").write_bytes(primary.contents()["000012.sst"])
    (target / "media").mkdir()
    (target / "notes").write_text("mine")
    plan = plan_restore(directory(base), LAYOUT, target, force=True)
    assert [file.name for file in plan.keep] == ["000012.sst"]
    assert set(plan.remove) == {"CURRENT", "000010.sst", "000099.sst", "999999.log", "000011.sst.part"}
    restore(plan, directory(base), RecordingObserver())
    (target / "media").rmdir()
    assert contents(target) == primary.contents() | {"notes": b"mine"}


def test_a_database_in_use_is_refused_even_with_force(base: Path, target: Path) -> None:
    target.mkdir()
    (target / "CURRENT").write_text("in use")
    (target / "LOCK").touch()
    # The kernel's locks are per process: the application has to be another one.
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX);"
                " print('held', flush=True); sys.stdin.read()"
            ),
            target / "LOCK",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TargetError, match=r"has the database in .* open"):
            bring(base, target, force=True)
        assert (target / "CURRENT").read_text() == "in use"
        assert holder.stdin is not None
        holder.stdin.close()
    bring(base, target, force=True)
    with (target / "LOCK").open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_removed(base: Path, target: Path) -> None:
    catalog = current_generation(base) / "replica.json"
    document = json.loads(catalog.read_bytes())
    for figures, key in ((document["files"][0], "size_bytes"), (document, "total_bytes")):
        figures[key] += 1 << 60
    catalog.write_text(json.dumps(document))
    target.mkdir()
    (target / "CURRENT").write_text("old")
    with pytest.raises(TargetError, match="has room for"):
        bring(base, target, force=True)
    assert contents(target) == {"CURRENT": b"old"}


# --- broken off --------------------------------------------------------------------------------------


def test_a_restore_that_broke_off_goes_on(base: Path, primary: FakePrimary, target: Path) -> None:
    break_off(base, target, after_bytes=7_200_000)
    assert (target / "000010.sst").exists()
    parts = [path for path in target.iterdir() if path.suffix == ".part"]
    assert [path.stat().st_size > 0 for path in parts] == [True]
    have = sum(path.stat().st_size for path in target.iterdir() if path.name != MARKER)
    restored = bring(base, target)
    assert contents(target) == primary.contents()
    assert restored.bytes_fetched == restored.size_bytes - have


def test_it_goes_on_with_the_generation_it_began_with(base: Path, primary: FakePrimary, target: Path) -> None:
    begun, expected = current_generation(base).name, primary.contents()
    break_off(base, target, after_bytes=4_000_000)
    primary.add_table(10)
    newer = send(base, primary)
    with pytest.raises(TargetError, match=f"unfinished restore of generation {begun}, not of {newer}") as caught:
        bring(base, target, wanted="current")
    assert begun in caught.value.hint
    plan = plan_restore(directory(base), LAYOUT, target)
    assert str(plan.generation) == begun
    assert "going on" in plan.note
    restore(plan, directory(base), RecordingObserver())
    assert contents(target) == expected


def test_force_starts_over_with_another_generation(base: Path, primary: FakePrimary, target: Path) -> None:
    break_off(base, target, after_bytes=4_000_000)
    primary.add_table(10)
    send(base, primary)
    bring(base, target, force=True)
    assert contents(target) == primary.contents()


@pytest.mark.parametrize("garbage", [b"\0" * 1000, b"x" * 4_000_000])
def test_rubbish_in_what_was_left_over_is_fetched_again(
    base: Path, primary: FakePrimary, target: Path, garbage: bytes
) -> None:
    break_off(base, target, after_bytes=4_000_000)
    for name in ("000011.sst.part", "000012.sst.part", "000010.sst", "CURRENT.part"):
        (target / name).write_bytes(garbage)
    bring(base, target)
    assert contents(target) == primary.contents()


def test_a_stop_leaves_what_is_done(base: Path, primary: FakePrimary, target: Path) -> None:
    with pytest.raises(InterruptedTransferError):
        bring(base, target, observer=RecordingObserver(stop_after=2))
    assert not (target / "CURRENT").exists()
    bring(base, target)
    assert contents(target) == primary.contents()


def test_a_marker_that_makes_no_sense_is_no_permission(base: Path, target: Path) -> None:
    target.mkdir()
    for content in ("", "[]", '{"generation": 5}', '{"database": "other", "generation": "20261122T153100.000Z"}'):
        (target / MARKER).write_text(content)
        with pytest.raises(TargetError, match="is not empty"):
            bring(base, target)


# --- damage ------------------------------------------------------------------------------------------


def test_damage_is_named_the_rest_is_kept_and_nothing_can_be_opened(
    base: Path, primary: FakePrimary, target: Path
) -> None:
    generation = current_generation(base)
    sound = (generation / "000011.sst").read_bytes()
    for name in ("000011.sst", "000014.log"):
        content = bytearray(primary.contents()[name])
        content[len(content) // 2] ^= 1
        (generation / name).write_bytes(content)
    with pytest.raises(DamageError, match=f"generation {generation.name} of chat is damaged") as caught:
        bring(base, target)
    assert caught.value.findings == ("000011.sst: wrong SHA-256", "000014.log: wrong SHA-256")
    left = set(contents(target))
    assert left == (set(primary.contents()) | {MARKER}) - {"000011.sst", "000014.log", "CURRENT"}

    (generation / "000011.sst").write_bytes(sound)
    (generation / "000014.log").write_bytes(primary.contents()["000014.log"])
    bring(base, target)
    assert contents(target) == primary.contents()


@pytest.mark.parametrize("name", ["../../escaped.sst", "/etc/000010.sst", "..", "replica.json"])
def test_a_hostile_catalog_is_refused(base: Path, target: Path, name: str) -> None:
    catalog = current_generation(base) / "replica.json"
    catalog.write_text(catalog.read_text().replace("000010.sst", name))
    with pytest.raises(DamageError, match="not the name of a database file"):
        bring(base, target)
    assert not target.exists()


def test_a_catalog_of_another_generation_is_refused(base: Path, primary: FakePrimary, target: Path) -> None:
    first = current_generation(base)
    send(base, primary)
    (current_generation(base) / "replica.json").write_bytes((first / "replica.json").read_bytes())
    with pytest.raises(DamageError, match=f"is the catalog of generation {first.name}"):
        bring(base, target)


def test_links_in_the_target_do_not_lead_elsewhere(base: Path, primary: FakePrimary, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "restored", tmp_path / "elsewhere"
    elsewhere.mkdir()
    target.mkdir()
    for name in ("000010.sst", "000011.sst.part", "CURRENT"):
        (elsewhere / name).write_text("not ours")
        os.symlink(elsewhere / name, target / name)  # noqa: PTH211 - reads as source, link
    bring(base, target, force=True)
    assert contents(target) == primary.contents()
    assert set(contents(elsewhere).values()) == {b"not ours"}
