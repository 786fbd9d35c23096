"""Restore drills with real databases: what is found, what the engine can tell, and that nothing is left behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from replicator.checkpoint.engine import open_with_engine
from replicator.demo.settings import PrimarySettings
from replicator.destination.directory import DirectoryDestination
from replicator.destination.rate_limit import RateLimiter
from replicator.errors import (
    CheckpointError,
    DamageError,
    InterruptedTransferError,
    NotFoundError,
    ReplicatorError,
    TargetError,
)
from replicator.replica.catalog import decode_catalog
from replicator.service.board import StatusBoard
from replicator.service.drill import DrillPair, Sound, drill, scratch_folder
from replicator.service.drill_loop import DrillLoop
from replicator.service.status import DatabaseStatus, Drill, PairStatus, Watched
from tests.support.databases import write_batches
from tests.support.filesystems import another_filesystem
from tests.support.grown import tell
from tests.support.handmade import overwrite
from tests.support.observer import RecordingObserver
from tests.support.primaries import Engine, Primary
from tests.support.published import wait_until
from tests.support.replicas import DATABASE, directory, flip_bit, publish_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.service.drill import Drilled

PROJECT = Path(__file__).parents[2]
FIXTURE = PROJECT / "tests" / "fixtures" / "rocksdb-11.9-format-7.tar.gz"
REVERSE = PrimarySettings(family_options={"comparator": "rocksdb.ReverseBytewiseComparator"})


def of_9(path: Path) -> Path:
    write_batches(path, PrimarySettings(), 3000)
    return path


def in_reverse_order(path: Path) -> Path:
    write_batches(path, REVERSE, 500)
    return path


def of_10(path: Path) -> Path:
    with Primary(path, engine=Engine.ROCKSDB_10) as primary:
        primary.wait_for(500)
        primary.kill()
    return path


def of_11(path: Path) -> Path:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(path.parent, filter="data")
    return (path.parent / "rocksdb-11.9").rename(path)


def with_its_own_comparator(path: Path) -> Path:
    command = [sys.executable, "-m", "tests.support.engines.writer_6", str(path)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of RocksDB 9.8, with tables and a log."""
    return of_9(tmp_path_factory.mktemp("primary") / "db")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """The folder for temporary files, which must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def pair_of(base: Path) -> DrillPair:
    return DrillPair(DATABASE, "here", lambda: directory(base))


def drilled(base: Path, scratch: Path, observer: TransferObserver | None = None) -> Drilled:
    return drill(pair_of(base), partial(scratch_folder, scratch), observer or RecordingObserver())


def sound(base: Path, scratch: Path) -> Sound:
    outcome = drilled(base, scratch).outcome
    assert isinstance(outcome, Sound), outcome
    return outcome


def failure(base: Path, scratch: Path) -> ReplicatorError:
    outcome = drilled(base, scratch).outcome
    assert isinstance(outcome, ReplicatorError)
    return outcome


def logs(folder: Path) -> list[Path]:
    """Return the write-ahead logs that hold something, oldest first."""
    return sorted(path for path in folder.glob("*.log") if path.stat().st_size)


# --- what is sound -------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [of_9, in_reverse_order, of_10])
def test_what_the_engine_opens(tmp_path: Path, base: Path, scratch: Path, write: Callable[[Path], Path]) -> None:
    generation = publish_database(base, write(tmp_path / "db"))
    outcome = sound(base, scratch)
    assert outcome.engine.opened
    assert outcome.engine.text == "opened by RocksDB 9.8.4"
    catalog = decode_catalog((generation / "replica.json").read_bytes())
    assert outcome.restored.generation == catalog.generation
    assert outcome.restored.state_at == catalog.captured_at
    assert (outcome.restored.files, outcome.restored.size_bytes) == (len(catalog.files), catalog.size_bytes)


@pytest.mark.parametrize(
    ("write", "reason"),
    [(of_11, "RocksDB 11.9.0"), (with_its_own_comparator, "the comparator tests.Backwards")],
)
def test_what_is_beyond_the_engine_is_no_failure(
    tmp_path: Path, base: Path, scratch: Path, write: Callable[[Path], Path], reason: str
) -> None:
    publish_database(base, write(tmp_path / "db"))
    outcome = sound(base, scratch)
    assert not outcome.engine.opened
    assert outcome.engine.text == (f"structure only: the engine (RocksDB 9.8.4) cannot open databases of {reason}")


def test_what_would_be_lost(base: Path, scratch: Path, database: Path) -> None:
    generation = publish_database(base, database)
    shipped_at = datetime.now(UTC) - timedelta(seconds=90)
    log = logs(generation)[-1].name
    tell(generation, log, shipped_at)
    result = drilled(base, scratch)
    assert isinstance(result.outcome, Sound)
    assert result.outcome.restored.state_at == shipped_at
    assert result.outcome.loss_seconds == (result.began_at - shipped_at).total_seconds() >= 90
    tell(generation, log, datetime.now(UTC) + timedelta(hours=1))
    assert sound(base, scratch).loss_seconds == 0


def test_a_generation_that_is_retired_in_the_middle(
    tmp_path: Path, base: Path, scratch: Path, database: Path
) -> None:
    shutil.copytree(database, tmp_path / "db")
    first = publish_database(base, tmp_path / "db")

    def retire(_count: int) -> None:
        if first.exists():
            write_batches(tmp_path / "db", PrimarySettings(), 3500)
            publish_database(base, tmp_path / "db")
            shutil.rmtree(first)

    outcome = drilled(base, scratch, RecordingObserver(on_bytes=retire)).outcome
    assert isinstance(outcome, Sound), outcome
    assert str(outcome.restored.generation) > first.name


# --- what is not -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["*.sst", "*.log", "MANIFEST-*", "OPTIONS-*", "CURRENT"])
def test_a_flipped_bit_is_damage(base: Path, scratch: Path, database: Path, pattern: str) -> None:
    generation = publish_database(base, database)
    damaged = max(generation.glob(pattern), key=lambda path: path.stat().st_size)
    flip_bit(damaged)
    error = failure(base, scratch)
    assert isinstance(error, DamageError)
    assert error.findings == (f"{damaged.name}: wrong SHA-256",)
    assert generation.name in str(error)


@pytest.mark.parametrize("damaged", ["log", "table"])
def test_what_was_damaged_before_it_was_published(
    tmp_path: Path, base: Path, scratch: Path, database: Path, damaged: str
) -> None:
    """Every SHA-256 is right: only what the files say gives it away, whatever version wrote them."""
    shutil.copytree(database, tmp_path / "db")
    path = logs(tmp_path / "db")[-1] if damaged == "log" else max((tmp_path / "db").glob("*.sst"))
    overwrite(path, 500 if damaged == "log" else path.stat().st_size - 5, b"?????")
    publish_database(base, tmp_path / "db")
    error = failure(base, scratch)
    assert isinstance(error, DamageError)
    assert path.name in str(error)
    assert "primary's disk" in error.hint


def test_an_engine_that_should_open_it_and_does_not(
    tmp_path: Path, base: Path, scratch: Path, database: Path
) -> None:
    shutil.copytree(database, tmp_path / "db")
    table = max((tmp_path / "db").glob("*.sst"))
    size_bytes = table.stat().st_size
    overwrite(table, size_bytes // 2, bytes(size_bytes // 2 - 64))
    publish_database(base, tmp_path / "db")
    error = failure(base, scratch)
    assert isinstance(error, CheckpointError)
    assert "RocksDB 9.8.4 cannot open it: " in str(error)
    assert error.hint


def test_there_is_no_replica(base: Path, scratch: Path) -> None:
    error = failure(base, scratch)
    assert isinstance(error, NotFoundError)
    assert f"there is no replica in {DATABASE}" in str(error)
    assert error.hint


def test_a_file_that_is_missing(base: Path, scratch: Path, database: Path) -> None:
    table = max(publish_database(base, database).glob("*.sst"))
    table.unlink()
    error = failure(base, scratch)
    assert table.name in str(error)


# --- the folder --------------------------------------------------------------------------------------


def test_a_folder_that_is_too_small(tmp_path: Path, base: Path, database: Path) -> None:
    publish_database(base, database)
    (tmp_path / "small").mkdir()
    with another_filesystem(tmp_path / "small", size="256k"):
        error = failure(base, tmp_path / "small")
        assert list((tmp_path / "small").iterdir()) == []
    assert isinstance(error, TargetError)
    assert "has room for" in str(error)
    assert "--folder" in error.hint
    assert "drill_folder" in error.hint


def test_a_folder_that_is_not_there(tmp_path: Path, base: Path, database: Path) -> None:
    publish_database(base, database)
    error = failure(base, tmp_path / "nothing")
    assert isinstance(error, TargetError)
    assert str(tmp_path / "nothing") in str(error)
    assert "--folder" in error.hint


def test_a_disk_that_fails_is_no_end_of_the_service(base: Path) -> None:
    @contextmanager
    def failing() -> Iterator[Path]:
        raise OSError(errno.EIO, "Input/output error")
        yield

    outcome = drill(pair_of(base), failing, RecordingObserver()).outcome
    assert isinstance(outcome, TargetError)
    assert "Input/output error" in str(outcome)


def test_nobody_else_can_look_into_it(base: Path, scratch: Path, database: Path) -> None:
    publish_database(base, database)
    modes: list[int] = []

    def look(_count: int) -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in scratch.iterdir())

    drilled(base, scratch, RecordingObserver(on_bytes=look))
    assert set(modes) == {0o700}


# --- stopping ----------------------------------------------------------------------------------------


def test_a_stop_ends_a_drill_with_the_file(base: Path, scratch: Path, database: Path) -> None:
    publish_database(base, database)
    observer = RecordingObserver(stop_after=1)
    with pytest.raises(InterruptedTransferError):
        drilled(base, scratch, observer)
    assert len(observer.done) == 1


def test_a_stop_ends_the_engine(tmp_path: Path) -> None:
    # It waits for somebody to write into the pipe, for ever.
    os.mkfifo(tmp_path / "CURRENT")
    with pytest.raises(InterruptedTransferError):
        open_with_engine(tmp_path, stop_requested=lambda: True)
    assert [child for child in psutil.Process().children() if str(tmp_path) in child.cmdline()] == []


# --- on a schedule -----------------------------------------------------------------------------------

DAY_SECONDS = 86400.0


@contextmanager
def running(
    pairs: Sequence[DrillPair], board: StatusBoard, folder: Path, interval_seconds: float
) -> Iterator[None]:
    stop = threading.Event()
    loop = DrillLoop(pairs, board, interval_seconds=interval_seconds, folder=folder, stop=stop)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        loop.wake()
        thread.join()


@pytest.fixture
def board() -> StatusBoard:
    return StatusBoard([Watched(DATABASE, ("here", "there"), shipping=True)])


@pytest.fixture
def pairs(base: Path) -> list[DrillPair]:
    return [DrillPair(DATABASE, name, lambda: directory(base)) for name in ("here", "there")]


def last(board: StatusBoard, destination: str) -> Drill | None:
    return board.last_drill(DATABASE, destination)


def remember(board: StatusBoard, **ago_seconds: float) -> None:
    drills = {name: Drill(time.time() - ago, 1.0, 1.0, None) for name, ago in ago_seconds.items()}
    status = tuple(PairStatus(name, last_drill=made) for name, made in drills.items())
    board.remember_drills([DatabaseStatus(DATABASE, shipping=True, destinations=status)])


def test_each_pair_is_drilled_again_and_again(
    pairs: list[DrillPair], board: StatusBoard, base: Path, scratch: Path, database: Path
) -> None:
    publish_database(base, database)
    with running(pairs, board, scratch, 0.01):
        wait_until(lambda: last(board, "here") is not None and last(board, "there") is not None, "both drilled")
        first = last(board, "here")
        wait_until(lambda: last(board, "here") != first, "drilled again")
    made = last(board, "here")
    assert made is not None
    assert made.error is None
    assert made.loss_seconds is not None
    assert made.loss_seconds >= 0
    assert made.took_seconds > 0


def test_a_failure_is_noted_and_the_next_one_is_drilled(
    pairs: list[DrillPair], board: StatusBoard, base: Path, scratch: Path
) -> None:
    base.mkdir()
    with running(pairs, board, scratch, 0.01):
        wait_until(lambda: last(board, "there") is not None, "the second one drilled")
    made = last(board, "here")
    assert made is not None
    assert "there is no replica" in str(made.error)
    assert made.loss_seconds is None
    assert board.pair_totals()[DATABASE, "here"].drill_failures >= 1


def test_a_drill_of_an_earlier_run_counts(
    pairs: list[DrillPair], board: StatusBoard, base: Path, scratch: Path, database: Path
) -> None:
    publish_database(base, database)
    remember(board, here=DAY_SECONDS / 2, there=DAY_SECONDS * 2)
    remembered = last(board, "here")
    with running(pairs, board, scratch, DAY_SECONDS):
        overdue = last(board, "there")
        wait_until(lambda: last(board, "there") != overdue, "what was overdue is drilled")
    assert last(board, "here") == remembered


def test_without_an_earlier_drill_it_is_not_due_at_once(
    pairs: list[DrillPair], board: StatusBoard, base: Path, scratch: Path, database: Path
) -> None:
    publish_database(base, database)
    remember(board, there=DAY_SECONDS * 2)
    with running(pairs, board, scratch, DAY_SECONDS):
        overdue = last(board, "there")
        wait_until(lambda: last(board, "there") != overdue, "what was overdue is drilled")
    assert last(board, "here") is None


def test_a_clock_that_was_set_back_puts_nothing_off(
    pairs: list[DrillPair], board: StatusBoard, base: Path, scratch: Path, database: Path
) -> None:
    publish_database(base, database)
    remember(board, here=-10 * DAY_SECONDS, there=-10 * DAY_SECONDS)
    remembered = last(board, "here")
    with running(pairs, board, scratch, 0.1):
        wait_until(lambda: last(board, "here") != remembered, "it is drilled")


def test_stopping_ends_a_drill_and_leaves_nothing(
    board: StatusBoard, base: Path, scratch: Path, database: Path
) -> None:
    publish_database(base, database)

    def slow() -> Destination:
        return DirectoryDestination(base, label="slow", limiter=RateLimiter(10_000))

    with running([DrillPair(DATABASE, "here", slow)], board, scratch, 0.01):
        wait_until(lambda: any(scratch.rglob("*.part")), "a file has begun to arrive")
    assert last(board, "here") is None
