"""The primaries and the judge: real engines under every storm, killed and started again."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.demo.layout import Layout
from replicator.demo.oracle import Recovery, judge
from replicator.demo.settings import PrimarySettings
from replicator.rocksdb.filenames import table_name
from tests.support.primaries import STORMS, Engine, Primary, judge_apart

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SET_COMPRESSION = 9  # a record type

START_ONE_AND_SLEEP = """
import pathlib, sys, time
from tests.support.primaries import Primary
print(Primary(pathlib.Path(sys.argv[1])).start().pid, flush=True)
time.sleep(600)
"""


def first_record_types(database: Path) -> set[int]:
    """Return the type of the first record of each write-ahead log that has one."""
    return {content[6] for path in database.glob("*.log") if len(content := path.read_bytes()) > 6}


def logged(database: Path, text: str) -> bool:
    return any(text in path.read_text(errors="replace") for path in database.glob("LOG*"))


#: How a directory shows that a storm really blew there.
EVIDENCE: dict[str, Callable[[Path], bool]] = {
    "small_memtables": lambda database: logged(database, "flush_finished"),
    "large_memtables": lambda database: not logged(database, "flush_finished"),
    "compaction": lambda database: logged(database, "compaction_finished"),
    "delete_range": lambda database: logged(database, '"num_range_deletions": 1'),
    "ingest": lambda database: logged(database, "[AddFile] External SST file"),
    "churn": lambda database: logged(database, "Dropped column family"),
    "blob_files": lambda database: any(database.glob("*.blob")),
    "manual_wal_flush": lambda database: logged(database, "Options.manual_wal_flush: 1"),
    "manifest_rollover": lambda database: not (database / "MANIFEST-000005").exists(),
    "wal_compression": lambda database: SET_COMPRESSION in first_record_types(database),
    "recycled_wals": lambda database: logged(database, "reusing log"),
    "tracked_wals": lambda database: logged(database, "Options.track_and_verify_wals_in_manifest: 1"),
    "wal_archive": lambda database: any((database / "archive").glob("*.log")),
    "max_total_wal_size": lambda database: logged(
        database, "Flushing all column families with data in WAL number"
    ),
    "atomic_flush": lambda database: logged(database, "Options.atomic_flush: 1"),
    "everything": lambda database: any(database.glob("*.blob")) and logged(database, "Dropped column family"),
}


@pytest.mark.parametrize("storm", STORMS)
def test_a_primary_is_exact_after_every_kill_and_stop(tmp_path: Path, storm: str) -> None:
    database = tmp_path / "db"
    with Primary(database, STORMS[storm]) as primary:
        primary.wait_for(8000)
        while not EVIDENCE[storm](database):
            assert primary.wait_for_more(1000) < 200_000, "the storm does not blow"

        killed_at = primary.kill()
        verdict = judge(database, recovery=Recovery.POINT_IN_TIME)
        assert verdict.exact, verdict
        assert verdict.position >= killed_at

        primary.start()
        assert primary.position >= verdict.position
        primary.wait_for_more(1500)
        stopped_at = primary.stop()
        verdict = judge(database)
        assert verdict.exact, verdict
        assert verdict.position == stopped_at


@pytest.mark.parametrize("engine", [Engine.ROCKSDB_6, Engine.ROCKSDB_10])
def test_other_engines_write_what_the_judge_can_read(tmp_path: Path, engine: Engine) -> None:
    database = tmp_path / "db"
    with Primary(database, engine=engine) as primary:
        primary.wait_for(4000)
        killed_at = primary.kill()
        assert judge(database, recovery=Recovery.POINT_IN_TIME).position >= killed_at

        primary.start().wait_for_more(1500)
        stopped_at = primary.stop()
        verdict = judge(database)
        assert verdict.exact, verdict
        assert verdict.position == stopped_at
        assert logged(
            database,
            {Engine.ROCKSDB_6: "RocksDB version: 6.29", Engine.ROCKSDB_10: "RocksDB version: 10.7"}[engine],
        )


def test_what_the_engine_holds_back_is_not_promised(tmp_path: Path) -> None:
    settings = PrimarySettings(flush_wal_every=1000, max_batches=2500, write_buffer_bytes=64 * 1024 * 1024)
    with Primary(tmp_path / "db", settings) as primary:
        primary.wait_for(2000)
        assert primary.kill() == 2000
        verdict = judge(tmp_path / "db", recovery=Recovery.POINT_IN_TIME)
        assert verdict.exact
        assert 2000 <= verdict.position < 2500


def test_the_logs_may_lie_elsewhere(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    settings = PrimarySettings(max_batches=500, database_options={"wal_dir": str(logs)})
    with Primary(tmp_path / "db", settings) as primary:
        primary.wait_for(500)
        assert list(logs.glob("*.log"))
        assert not list((tmp_path / "db").glob("*.log"))
        primary.restart()
        assert primary.position == 500


def test_a_primary_stops_writing_at_its_limit_and_keeps_its_database_open(tmp_path: Path) -> None:
    with Primary(tmp_path / "db", PrimarySettings(max_batches=300, batches_per_second=10_000)) as primary:
        assert primary.wait_for(300) == 300
        assert psutil.Process(primary.pid).is_running()
        assert primary.stop() == 300
    assert judge(tmp_path / "db").position == 300


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with Primary(tmp_path / "db", PrimarySettings(max_batches=1)) as primary:
        primary.wait_for(1)
        primary.stop()
        with pytest.raises(AssertionError, match="did not start"):
            primary.start(PrimarySettings(layout=Layout(ring=7)))


def test_a_primary_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            START_ONE_AND_SLEEP,
            str(tmp_path / "db"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        primary = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        primary.wait(30)  # raises if it lives on


def test_judging_leaves_what_is_judged_as_it_is(tmp_path: Path) -> None:
    database = make_database(tmp_path)

    def listing() -> dict[str, tuple[int, int, int]]:
        stats = {path.name: path.stat() for path in database.iterdir()}
        return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

    before = listing()
    assert judge(database).exact
    assert listing() == before
    assert {path.stat().st_nlink for path in database.iterdir()} == {1}


def test_a_missing_newest_log_shows_in_the_position_alone(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    max(path for path in database.glob("*.log") if path.stat().st_size).unlink()
    verdict = judge(database)
    assert verdict.exact  # one point in the history still, and therefore the position must be compared too
    assert verdict.position < 4000


def test_a_log_with_a_cut_record_does_not_open(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    newest = max(path for path in database.glob("*.log") if path.stat().st_size)
    newest.write_bytes(newest.read_bytes()[:-3])
    assert not judge(database).opened
    recovered = judge(database, recovery=Recovery.POINT_IN_TIME)
    assert recovered.exact
    assert recovered.position == 3999


def live_table(database: Path) -> Path:
    """Return a table that the database needs; a kill may have left others."""
    with ManifestFile(database / DatabaseFolder(database).manifest_name()) as manifest:
        manifest.read_on()
        return database / table_name(max(manifest.state.tables))


@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "overwritten"])
def test_a_damaged_table_is_a_verdict_in_a_process_apart(tmp_path: Path, damage: str) -> None:
    database = make_database(tmp_path)
    table = live_table(database)
    content = table.read_bytes()
    match damage:
        case "truncated":
            table.write_bytes(content[:-100])
        case "emptied":
            table.write_bytes(b"")
        case "removed":
            table.unlink()
        case _:
            table.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    verdict = judge_apart(database)
    assert not verdict.opened
    assert verdict.details


def test_an_exact_replica_is_exact_in_a_process_apart(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    assert judge_apart(database) == judge(database)


def test_a_folder_without_a_database_does_not_open(tmp_path: Path) -> None:
    assert not judge(tmp_path).opened
    assert not judge(tmp_path / "nothing").opened


def make_database(tmp_path: Path) -> Path:
    """Leave a database of 4000 batches with tables and logs, as a kill leaves it."""
    settings = PrimarySettings(max_batches=4000)
    with Primary(tmp_path / "db", settings) as primary:
        primary.wait_for(4000)
        primary.kill()
    return tmp_path / "db"
