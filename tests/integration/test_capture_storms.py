"""Captures under every storm, of every engine, and of databases in unusual shapes."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.verification import check_structure, check_with_engine
from replicator.demo.oracle import Recovery, judge
from replicator.demo.settings import PrimarySettings
from replicator.errors import CheckpointError
from tests.support.captures import WARM_UP_BATCHES, CaptureRun
from tests.support.databases import write_batches
from tests.support.primaries import STORMS, Engine, Primary

if TYPE_CHECKING:
    from collections.abc import Iterable

CAPTURES = 15
FIXTURE = Path(__file__).parents[1] / "fixtures" / "rocksdb-11.9-format-7.tar.gz"


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


@pytest.mark.parametrize("storm", STORMS)
def test_every_storm(tmp_path: Path, storm: str) -> None:
    with Primary(tmp_path / "db", STORMS[storm]) as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(CAPTURES, pauses=storm == "large_memtables")


@pytest.mark.parametrize("engine", [Engine.ROCKSDB_6, Engine.ROCKSDB_10])
def test_every_engine(tmp_path: Path, engine: Engine) -> None:
    with Primary(tmp_path / "db", engine=engine) as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(CAPTURES)


def test_logs_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    settings = PrimarySettings(database_options={"wal_dir": str(tmp_path / "logs")})
    with Primary(tmp_path / "db", settings) as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(CAPTURES)
        assert not list(primary.path.glob("*.log"))
        primary.restart()
        run.make(CAPTURES)


def test_many_tables(tmp_path: Path) -> None:
    settings = PrimarySettings(
        write_buffer_bytes=64 * 1024,
        family_options={"level0_slowdown_writes_trigger": "100000", "level0_stop_writes_trigger": "100000"}
        | {"disable_auto_compactions": "true"},
    )
    with Primary(tmp_path / "db", settings) as primary, CaptureRun(primary, tmp_path / "root") as run:
        while len(list(primary.path.glob("*.sst"))) < 300:
            primary.wait_for_more(1000)
        run.make(CAPTURES // 3)


@pytest.mark.parametrize("storm", ["everything", "tracked_wals", "recycled_wals", "atomic_flush"])
def test_the_verification_by_an_engine_accepts_what_is_captured(
    tmp_path: Path, root: CheckpointRoot, storm: str
) -> None:
    with Primary(tmp_path / "db", STORMS[storm]) as primary:
        primary.wait_for(WARM_UP_BATCHES)
        capture = Capture(primary.path, root, check_with_engine)
        for _ in range(2):
            capture.make()
        capture.close()
        assert judge(root.current).exact


def test_an_empty_database(tmp_path: Path, root: CheckpointRoot) -> None:
    """Its batches come slowly enough that none was written yet."""
    with Primary(tmp_path / "db", PrimarySettings(batches_per_second=0.01)) as primary:
        primary.kill()
        for path in primary.path.glob("*.log"):
            path.write_bytes(b"")
        Capture(primary.path, root).make()
    verdict = judge(root.current)
    assert verdict.exact
    assert verdict.position == 0


def test_a_closed_database(tmp_path: Path, root: CheckpointRoot) -> None:
    write_batches(tmp_path / "db", PrimarySettings(), 2000)
    captured = Capture(tmp_path / "db", root).make()
    assert captured.tries == 1
    verdict = judge(root.current)
    assert verdict.exact
    assert verdict.position == 2000
    Capture(tmp_path / "db", root).make()  # and nothing of it is in the way of another process's
    assert judge(root.current) == verdict


def test_a_database_without_logs(tmp_path: Path, root: CheckpointRoot) -> None:
    """A primary that closes its database flushes nothing; opening it again does."""
    for _ in range(2):
        write_batches(tmp_path / "db", PrimarySettings(), 2000)
    logs = list((tmp_path / "db").glob("*.log"))
    assert {log.stat().st_size for log in logs} == {0}
    for log in logs:
        log.unlink()
    assert Capture(tmp_path / "db", root).make().tries == 1
    assert judge(root.current).position == 2000


def test_a_primary_that_was_killed_and_not_started_again(tmp_path: Path, root: CheckpointRoot) -> None:
    with Primary(tmp_path / "db") as primary:
        primary.wait_for(WARM_UP_BATCHES)
        primary.kill()
        there = judge(primary.path, recovery=Recovery.POINT_IN_TIME)
        assert Capture(primary.path, root).make().tries == 1
        assert judge(root.current).position == there.position


@pytest.mark.parametrize("between", ["captures", "processes"])
def test_a_database_that_is_deleted_and_made_anew(tmp_path: Path, root: CheckpointRoot, between: str) -> None:
    """The new one has files of the same names; none of the old one's may get into its checkpoint."""
    database = tmp_path / "db"
    write_batches(database, PrimarySettings(), 4000)
    capture = Capture(database, root)
    for _ in range(3):
        capture.make()
    old = _immutable(root.current)
    shutil.rmtree(database)
    write_batches(database, PrimarySettings(), 3000)
    if between == "processes":
        root.recover()
        capture = Capture(database, root)
    captured = capture.make()
    new = _immutable(root.current)
    assert old.keys() & new.keys()
    assert not set(old.values()) & set(new.values())
    assert captured.new_files == len(new)
    assert judge(root.current) == judge(database)


def test_an_older_state_is_put_back_under_a_running_service(tmp_path: Path) -> None:
    """As a restore does: the same IDENTITY, the same names, and another history from there on."""
    database = tmp_path / "db"
    write_batches(database, PrimarySettings(), 1000)
    shutil.copytree(database, tmp_path / "older")
    with Primary(database) as primary, CaptureRun(primary, tmp_path / "root") as run:
        primary.wait_for(6000)
        run.make(3)
        primary.close()
        (tmp_path / "db.progress").unlink()
        shutil.rmtree(database)
        (tmp_path / "older").rename(database)
        primary.start()
        assert primary.position < 6000
        run.make(3)


def test_a_newer_engine_than_any_here(tmp_path: Path, root: CheckpointRoot) -> None:
    """RocksDB 11.9 with tables of format 7: each file comes along as it is, whether or not we could open it."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    database = tmp_path / "rocksdb-11.9"
    Capture(database, root).make()
    checkpoint = inspect_checkpoint(root.current)
    assert len(checkpoint.inventory.column_families) == 5
    assert checkpoint.inventory.rocksdb_version == "11.9.0"
    names = {file.name for file in checkpoint.inventory.files}
    assert names == {path.name for path in root.current.iterdir()}
    assert {path.name for path in database.glob("*.sst")} <= names
    for name in names:
        copied, original = ((folder / name).read_bytes() for folder in (root.current, database))
        if name.endswith(".log") or name.startswith("MANIFEST"):
            assert original.startswith(copied)
            assert not original[len(copied) :].strip(b"\0")
        else:
            assert copied == original
    check_structure(root.current, names)

    before = root.current.stat().st_ino
    with pytest.raises(CheckpointError, match=r"RocksDB cannot open .*format_version") as caught:
        Capture(database, root, check_with_engine).make()
    assert 'verify = "structure"' in caught.value.hint
    assert root.current.stat().st_ino == before


def _immutable(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in _tables(folder)}


def _tables(folder: Path) -> Iterable[Path]:
    return folder.glob("*.sst")
