"""Captures while the primary does the worst at the worst moment: each rule of pin and cut, one by one."""

from __future__ import annotations

import itertools
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.cut import CutFinder
from replicator.checkpoint.database_folder import DatabaseFolder, feed_file
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.wal_files import WalFile
from replicator.errors import CheckpointError
from tests.support import rocksdb_encoding as encode
from tests.support.handmade import Calls, HandmadeDatabase, overlook, overwrite, read_held

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.checkpoint.capture import Captured
    from replicator.rocksdb.wal import WalReader

#: Of the readings of the MANIFEST in one try: the first look, the cut, the check.
CUT, CHECK = 2, 3
#: Of the whole listings in one try: before the cut, after it.
FIRST_LISTING, SECOND_LISTING = 1, 2


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


@pytest.fixture(name="database")
def make_database(tmp_path: Path) -> HandmadeDatabase:
    """A database with ten writes, all in one log."""
    return _begin(HandmadeDatabase(tmp_path / "db"))


@pytest.fixture(name="recycling")
def make_recycling(tmp_path: Path) -> HandmadeDatabase:
    """The same with recycled logs."""
    return _begin(HandmadeDatabase(tmp_path / "db", recycles=True))


@pytest.fixture(name="readings")
def count_readings(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, ManifestFile, "read_on")


@pytest.fixture(name="log_readings")
def count_log_readings(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch, WalFile, "whole_records_bytes")


def _begin(database: HandmadeDatabase) -> HandmadeDatabase:
    database.edit(encode.log_number(4) + encode.min_log_number(4))
    database.create_wal(4)
    database.write(4, count=10)
    return database


def _capture(database: HandmadeDatabase, root: CheckpointRoot) -> Captured:
    """Capture, and check that the checkpoint is one point, not before the writes that were there at the start."""
    at_least = database.sequence
    capture = Capture(database.path, root)
    captured = capture.make()
    capture.close()
    held = read_held(root.current)
    assert held.is_one_point, held
    assert len(held.sequences) >= at_least
    assert captured.last_sequence == len(held.sequences)
    return captured


def test_a_database_at_rest_takes_one_try(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.flush(10, (1, 10), 4)
    captured = _capture(database, root)
    assert (captured.tries, captured.live_files, captured.new_files, captured.copied_bytes) == (1, 1, 1, 0)
    assert captured.wal_bytes == database.wal_path(4).stat().st_size


def test_a_log_that_comes_and_goes_between_the_pinnings(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    def happen() -> None:
        for number in (5, 6):
            database.create_wal(number)
            database.write(number, count=3)
        database.flush(10, (1, 13), 6)
        database.delete_wals(4, 5)

    readings.after(CUT, happen)
    assert _capture(database, root).tries == 2


def test_a_log_that_the_first_listing_misses_and_that_goes_before_the_second(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def appear() -> None:
        for number in (5, 6):
            database.create_wal(number)
            database.write(number, count=3)

    def vanish() -> None:
        database.flush(10, (1, 13), 6)
        database.delete_wals(4, 5)

    overlook(monkeypatch, DatabaseFolder, call=FIRST_LISTING, meanwhile=appear, overlooked="000005.log")
    readings.after(CUT, vanish)
    assert _capture(database, root).tries == 2


def test_a_log_that_the_last_listing_misses_though_it_shows_a_younger_one(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def appear() -> None:
        for number in (5, 6):
            database.create_wal(number)
            database.write(number, count=3)

    overlook(monkeypatch, DatabaseFolder, call=SECOND_LISTING, meanwhile=appear, overlooked="000005.log")
    assert _capture(database, root).tries == 1
    assert read_held(root.current).wals == {4, 5, 6}


def test_what_was_written_before_the_time_of_a_checkpoint_is_in_it(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it went into a log that was created just after the folder was listed."""
    clock = itertools.count()
    monkeypatch.setattr("replicator.checkpoint.cut.time", SimpleNamespace(time=lambda: next(clock)))
    written_at: list[int] = []

    def happen() -> None:
        database.create_wal(5)
        database.write(5)
        written_at.append(next(clock))

    Calls(monkeypatch, CutFinder, "_pin").after(SECOND_LISTING, happen)
    captured = _capture(database, root)
    assert read_held(root.current).wals == {4}
    assert captured.captured_at_seconds < written_at[0]


def test_a_log_that_is_deleted_once_it_is_pinned_is_still_there(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    def happen() -> None:
        database.create_wal(5)
        database.flush(10, (1, 10), 5)
        database.delete_wals(4)

    readings.after(CUT, happen)
    assert _capture(database, root).tries == 1
    assert read_held(root.current).wals == {4, 5}


def test_the_last_buffer_of_a_log_reaches_it_after_the_next_log_was_begun(
    database: HandmadeDatabase, root: CheckpointRoot, log_readings: Calls
) -> None:
    database.create_wal(5)

    def happen() -> None:
        database.write(4, count=3)
        database.write(5, count=3)

    # each log is read before the cut and after it
    log_readings.after(3, happen)
    assert _capture(database, root).tries == 1
    held = read_held(root.current)
    assert held.wals == {4, 5}
    assert len(held.sequences) == 13


def test_a_log_grows_while_it_is_read(database: HandmadeDatabase, root: CheckpointRoot, readings: Calls) -> None:
    def half_a_record() -> None:
        with database.wal_path(4).open("ab") as file:
            file.write(encode.physical_record(1, encode.batch(11, 1, b"x" * 100))[:50])

    readings.after(CUT, lambda: database.write(4, count=2))
    readings.before(CHECK, half_a_record)
    assert _capture(database, root).tries == 1
    assert len(read_held(root.current).sequences) == 12


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(encode.add_family(1, "new") + encode.log_number(4), id="a column family is created"),
        pytest.param(encode.new_table(10, size_bytes=1000, sequences=(11, 11)), id="a file is ingested"),
    ],
)
def test_writes_that_follow_what_no_log_holds(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls, edit: bytes
) -> None:
    def happen() -> None:
        database.write_table(10)
        database.edit(edit)
        database.sequence = 11 if b"new" not in edit else 10
        database.write(4)

    readings.after(CUT, happen)
    assert _capture(database, root).tries == 2


def test_a_dropped_column_family(database: HandmadeDatabase, root: CheckpointRoot, readings: Calls) -> None:
    database.edit(encode.add_family(1, "old") + encode.log_number(4))
    readings.after(CUT, lambda: database.edit(encode.drop_family(1)))
    assert _capture(database, root).tries == 2
    assert read_held(root.current).version.column_family_names == ("default",)


@pytest.mark.parametrize("moment", [CUT - 1, CUT])
def test_a_new_manifest_begins(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls, moment: int
) -> None:
    def happen() -> None:
        old = database.manifest_path
        database.begin_manifest(20, encode.log_number(4) + encode.min_log_number(4))
        old.unlink()
        database.create_wal(21)
        database.write(21)

    readings.after(moment, happen)
    assert _capture(database, root).tries == 2
    assert (root.current / "CURRENT").read_text() == "MANIFEST-000020\n"


@pytest.mark.parametrize("moment", [CUT, CHECK])
@pytest.mark.parametrize("identities", [("one", "another"), ("one", "one"), ("", "")])
def test_the_database_is_deleted_and_made_anew(
    tmp_path: Path, root: CheckpointRoot, readings: Calls, identities: tuple[str, str], moment: int
) -> None:
    """All its files have the names and sizes of the old one's."""
    database = _begin(HandmadeDatabase(tmp_path / "db", identity=identities[0]))
    database.flush(10, (1, 5), 4)

    def happen() -> None:
        shutil.rmtree(database.path)
        anew = _begin(HandmadeDatabase(database.path, identity=identities[1]))
        anew.flush(10, (1, 5), 4)
        overwrite(anew.table_path(10), 0, b"new")

    readings.after(moment, happen)
    assert _capture(database, root).tries == 2
    assert (root.current / "000010.sst").read_bytes().startswith(b"new")
    if identities[1]:
        assert (root.current / "IDENTITY").read_text() == identities[1]


def test_the_database_is_made_anew_before_its_manifest_is_read(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happen() -> None:
        shutil.rmtree(database.path)
        _begin(HandmadeDatabase(database.path, identity="another"))

    Calls(monkeypatch, DatabaseFolder, "newest_options").before(1, happen)
    assert _capture(database, root).tries == 2
    assert (root.current / "IDENTITY").read_text() == "another"


def test_tables_that_a_compaction_replaces_after_they_were_pinned(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    database.flush(10, (1, 5), 4)
    database.flush(11, (6, 10), 4)
    readings.after(CUT, lambda: _compact(database, (10, 11), 12))
    assert _capture(database, root).tries == 1
    assert read_held(root.current).tables == {10, 11}


def test_a_table_that_comes_and_goes_between_the_pinnings(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    readings.before(CUT, lambda: database.flush(10, (1, 10), 4))
    readings.after(CUT, lambda: _compact(database, (10,), 12))
    assert _capture(database, root).tries == 2
    assert read_held(root.current).tables == {12}


def test_outputs_of_a_compaction_under_way_are_left_out(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.flush(10, (1, 10), 4)
    database.table_path(11).write_bytes(b"begun")
    _capture(database, root)
    assert read_held(root.current).tables == {10}


def test_new_files_count_and_are_checked_though_an_earlier_try_pinned_them(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    database.flush(10, (1, 10), 4)
    readings.after(CUT, lambda: database.edit(encode.add_family(1, "new") + encode.log_number(4)))
    checked: list[str] = []
    captured = Capture(database.path, root, lambda _folder, new_names, _room: checked.extend(new_names)).make()
    assert captured.tries == 2
    assert captured.new_files == 1
    assert checked == ["000010.sst"]


def test_without_an_identity_tries_still_converge(
    tmp_path: Path, root: CheckpointRoot, readings: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first try pinned is still pinned at the second."""
    database = _begin(HandmadeDatabase(tmp_path / "db", identity=""))
    database.flush(10, (1, 10), 4)
    readings.after(CUT, lambda: database.edit(encode.add_family(1, "new") + encode.log_number(4)))
    discarded = Calls(monkeypatch, CheckpointRoot, "discard_staging")
    assert _capture(database, root).tries == 2
    assert discarded.count == 2  # at the first try, and by `close`


# --- recycled logs ------------------------------------------------------------------------------------


def test_a_recycled_log_is_cut_where_it_was_read(
    recycling: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    """Its size says nothing: what is written into it later must not follow what no log holds."""
    _recycle_first(recycling)

    def happen() -> None:
        recycling.edit(encode.add_family(1, "new") + encode.log_number(5))
        recycling.write(6)

    readings.after(CHECK, happen)
    assert _capture(recycling, root).tries == 1
    held = read_held(root.current)
    assert len(held.sequences) == 210
    assert held.version.column_family_names == ("default",)


def test_the_last_buffer_of_a_recycled_log_reaches_it_after_the_next_log_was_begun(
    recycling: HandmadeDatabase, root: CheckpointRoot, log_readings: Calls
) -> None:
    _recycle_first(recycling)

    def happen() -> None:
        recycling.write(5, count=3)
        recycling.write(6, count=3)

    # Either of the two has the size of the file that it is in from the start.
    log_readings.after(3, happen)
    assert _capture(recycling, root).tries == 1
    assert len(read_held(root.current).sequences) == 213


@pytest.mark.parametrize("moment", ["while it is read", "before it is copied"])
def test_a_log_is_recycled(
    recycling: HandmadeDatabase,
    root: CheckpointRoot,
    monkeypatch: pytest.MonkeyPatch,
    readings: Calls,
    moment: str,
) -> None:
    def grow() -> None:
        recycling.write(4, count=300, body=bytes(500))
        recycling.create_wal(5)

    def happen() -> None:
        recycling.flush(10, (1, recycling.sequence), 5)
        recycling.create_wal(6, recycled_from=4)
        recycling.write(5)
        recycling.write(6, count=3, body=bytes(500))

    readings.before(CUT, grow)  # so that little of the log has been read by then
    if moment == "before it is copied":
        Calls(monkeypatch, WalFile, "copy").before(1, happen)
    else:
        readings.after(CUT, happen)
    assert _capture(recycling, root).tries == 2
    assert read_held(root.current).wals == {5, 6}


def test_a_reader_that_the_writer_of_a_recycled_log_overtakes(
    recycling: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read old bytes, and behind them new ones: that is no damage."""
    recycling.write(4, count=200, body=bytes(500))
    content = recycling.wal_path(4).read_bytes()
    overwrite(recycling.wal_path(4), 20_000, bytes(5_000))
    feedings = 0

    def feed_then_write(reader: WalReader, descriptor: int, size_bytes: int) -> None:
        nonlocal feedings
        feed_file(reader, descriptor, size_bytes)
        feedings += 1
        if feedings == 1:
            overwrite(recycling.wal_path(4), 0, content)

    monkeypatch.setattr("replicator.checkpoint.wal_files.feed_file", feed_then_write)
    assert _capture(recycling, root).tries == 1
    assert len(read_held(root.current).sequences) == 210


def test_a_log_that_moves_to_the_archive_is_not_recycled(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls
) -> None:
    def happen() -> None:
        database.create_wal(5)
        database.flush(10, (1, 10), 5)
        (database.path / "archive").mkdir()
        database.wal_path(4).rename(database.path / "archive" / "000004.log")

    readings.after(CHECK, happen)
    assert _capture(database, root).tries == 1


# --- from one capture to the next ----------------------------------------------------------------------


def test_an_older_state_is_put_back_between_two_captures(tmp_path: Path, root: CheckpointRoot) -> None:
    """It has the same IDENTITY, counts on from lower numbers, and shares nothing with what was there before."""
    database = _begin(HandmadeDatabase(tmp_path / "db"))
    database.flush(10, (1, 5), 4)
    database.create_wal(30)
    database.write(30, count=5)
    capture = Capture(database.path, root)
    for _ in range(3):
        capture.make()
    shutil.rmtree(database.path)
    older = _begin(HandmadeDatabase(tmp_path / "db"))
    older.flush(10, (1, 5), 4)
    overwrite(older.table_path(10), 0, b"older")
    capture.make()
    capture.close()
    assert (root.current / "000010.sst").read_bytes().startswith(b"older")
    held = read_held(root.current)
    assert held.wals == {4}
    assert held.is_one_point
    assert len(held.sequences) == older.sequence


def test_the_next_capture_links_only_what_is_new(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.flush(10, (1, 10), 4)
    capture = Capture(database.path, root)
    for table in range(11, 16):
        database.write(4)
        database.flush(table, (database.sequence, database.sequence), 4)
        captured = capture.make()
        assert captured.live_files == table - 9
        assert read_held(root.current).is_one_point
        if table >= 14:  # made in the folder of three captures ago, which lacks what came since
            assert captured.new_files == 3
    capture.close()


def test_a_deleted_table_is_not_held_longer_than_by_two_checkpoints(
    database: HandmadeDatabase, root: CheckpointRoot
) -> None:
    database.flush(10, (1, 10), 4)
    capture = Capture(database.path, root)
    for _ in range(3):
        capture.make()
    with database.table_path(10).open("rb") as table:
        _compact(database, (10,), 12)
        links = []
        for _ in range(2):
            capture.make()
            links.append(os.fstat(table.fileno()).st_nlink)
    capture.close()
    assert links == [1, 0]


def test_readers_that_met_an_error_are_not_used_again(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    capture = Capture(database.path, root)
    capture.make()
    database.edit(encode.new_table(77) + encode.delete_table(3, 99))
    database.edit(encode.number_field(4, 1000))
    for _ in range(2):
        with pytest.raises(Exception, match="deletes table 99"):
            capture.make()
    capture.close()


# --- tries --------------------------------------------------------------------------------------------


def test_tries_are_bounded_and_the_error_says_what_was_tried(
    database: HandmadeDatabase, root: CheckpointRoot, readings: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.checkpoint.capture._LONGEST_WAIT_SECONDS", 0.001)
    families = iter(range(1, 100))

    def create_family() -> None:
        database.edit(encode.add_family(number := next(families), f"family-{number}") + encode.log_number(4))

    for reading in range(CUT, 100, CHECK):
        readings.after(reading, create_family)
    with pytest.raises(CheckpointError, match=r"at each of 30 tries: a column family was created .* ingested$"):
        Capture(database.path, root).make()
    assert not root.current.exists()


def test_a_log_that_the_manifest_demands_but_that_is_nowhere(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.checkpoint.capture._LONGEST_WAIT_SECONDS", 0.001)
    database.edit(encode.add_wal(4), encode.add_wal(5))
    with pytest.raises(CheckpointError, match=r"000005\.log went away before it could be pinned"):
        Capture(database.path, root).make()


def test_a_failed_capture_leaves_the_current_checkpoint_alone(
    database: HandmadeDatabase, root: CheckpointRoot
) -> None:
    def refuse(_folder: Path, _new_names: object, _need_room: object) -> None:
        raise CheckpointError("refused")

    Capture(database.path, root).make()
    inode = root.current.stat().st_ino
    capture = Capture(database.path, root, refuse)
    with pytest.raises(CheckpointError, match="refused"):
        capture.make()
    capture.close()
    assert root.current.stat().st_ino == inode
    assert not root.staging.exists()


def _compact(database: HandmadeDatabase, inputs: tuple[int, ...], output: int) -> None:
    database.write_table(output)
    database.edit(
        b"".join(encode.delete_table(0, number) for number in inputs)
        + encode.new_table(output, level=1, size_bytes=1000, sequences=(1, 10))
    )
    for number in inputs:
        database.table_path(number).unlink()


def _recycle_first(database: HandmadeDatabase) -> None:
    """Go on with log 5, and log 6 in the file of log 4; both files hold old bytes."""
    database.write(4, count=200, body=bytes(300))
    database.create_wal(5, recycled_from=None)
    overwrite(database.wal_path(5), 0, database.wal_path(4).read_bytes())
    database.flush(10, (1, database.sequence), 5)
    database.create_wal(6, recycled_from=4)
