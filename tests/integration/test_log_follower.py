"""Following logs while the primary does the worst: what readings tell, what ends an epoch, what is held."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.database_folder import DatabaseFolder
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.log_folder import LogFolder
from replicator.checkpoint.log_follower import LogFollower
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.readings import NEVER
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.wal_files import WalFile
from replicator.errors import CorruptFileError, SourceChangedError, SourceError
from tests.support import rocksdb_encoding as encode
from tests.support.handmade import Calls, HandmadeDatabase, overlook, overwrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.checkpoint.inspection import Checkpoint
    from replicator.checkpoint.log_follower import Continuation
    from replicator.checkpoint.readings import Reading

#: Of the listings of logs in one reading.
FIRST_LISTING, SECOND_LISTING = 1, 2
MEBIBYTE = 1 << 20


@dataclass
class User:
    """Wants all readings from `next_serial` on."""

    next_serial: int = NEVER
    pending_log: int = NEVER


class Following:
    """A follower of a database, with one user that takes every reading as it comes."""

    def __init__(self, database: HandmadeDatabase, folder: Path, *, budget_bytes: int = 1 << 30) -> None:
        self.database = database
        self.follower = LogFollower(database.path, budget_bytes=budget_bytes)
        self.user = User(next_serial=0)
        self.follower.add_user(self.user)
        self._root = CheckpointRoot(folder)
        self._root.create()
        self.epoch = 0

    def capture(self) -> Checkpoint:
        """Make a checkpoint."""
        capture = Capture(self.database.path, self._root)
        capture.make()
        capture.close()
        return inspect_checkpoint(self._root.current)

    def begin(self) -> None:
        """Take what comes after a checkpoint of this moment."""
        continuation = self.follower.continuation(self.capture())
        assert continuation is not None
        self.epoch = continuation.reading.epoch
        self.user.next_serial = continuation.reading.serial + 1
        self.follower.take_seals()

    def readings(self) -> list[Reading]:
        """Read, and take all readings that are new; the epoch must go on."""
        self.follower.read()
        found, ended = self.take()
        assert not ended
        assert self.follower.take_seals() == []
        return found

    def take(self) -> tuple[list[Reading], str]:
        """Take all readings that are new; return why there are no more, too."""
        found, ended = self.follower.readings_since(self.user.next_serial, self.epoch)
        if found:
            self.user.next_serial = found[-1].serial + 1
        return found, ended

    def grown(self) -> dict[int, int]:
        """Read, and return the logs that have grown, each with its length."""
        return {item.log.number: item.length_bytes for reading in self.readings() for item in reading.grown}

    def end(self) -> str:
        """Read, which must end the epoch for the reason that is returned, and tell nothing."""
        self.follower.read()
        (reason,) = self.follower.take_seals()
        assert self.take() == ([], reason)
        return reason

    def close(self) -> None:
        self.follower.close()


@pytest.fixture(name="following")
def make_following(tmp_path: Path) -> Iterator[Following]:
    """Follow a database with ten writes, all in log 4."""
    following = Following(begin(HandmadeDatabase(tmp_path / "db")), tmp_path / "root")
    following.begin()
    yield following
    following.close()


@pytest.fixture(name="database")
def get_database(following: Following) -> HandmadeDatabase:
    return following.database


@pytest.fixture(name="recycling")
def make_recycling(tmp_path: Path) -> Iterator[Following]:
    """The same with recycled logs."""
    following = Following(begin(HandmadeDatabase(tmp_path / "db", recycles=True)), tmp_path / "root")
    following.begin()
    yield following
    following.close()


def begin(database: HandmadeDatabase) -> HandmadeDatabase:
    database.edit(encode.log_number(4) + encode.min_log_number(4))
    database.create_wal(4)
    database.write(4, count=10)
    return database


def size_of(database: HandmadeDatabase, log: int) -> int:
    return database.wal_path(log).stat().st_size


def switch(database: HandmadeDatabase, new: int, *, count: int = 3) -> None:
    """Go on with a new log, and write to it."""
    database.create_wal(new)
    database.write(new, count=count)


def flush(database: HandmadeDatabase, table: int, first: int, *, keep: int) -> None:
    """Make a table of all writes from `first` on, and delete the logs below `keep`."""
    database.flush(table, (first, database.sequence), keep)
    database.delete_wals(*(int(path.stem) for path in database.path.glob("*.log") if int(path.stem) < keep))


def open_deleted_logs(database: HandmadeDatabase) -> int:
    """Return how many deleted logs of a database this process holds open."""
    opened = [str(entry.resolve()) for entry in Path("/proc/self/fd").iterdir()]
    return sum(path.startswith(str(database.path)) and path.endswith(".log (deleted)") for path in opened)


# --- readings ------------------------------------------------------------------------------------------


def test_nothing_has_grown(following: Following) -> None:
    assert following.grown() == {}


def test_a_reading_tells_how_far_a_log_has_come(following: Following, database: HandmadeDatabase) -> None:
    before = size_of(database, 4)
    database.write(4, count=2)
    (reading,) = following.readings()
    (item,) = reading.grown
    assert (item.log.number, item.length_bytes) == (4, size_of(database, 4))
    assert reading.grown_bytes == size_of(database, 4) - before
    assert item.log.read(before, reading.grown_bytes) == database.wal_path(4).read_bytes()[before:]
    assert following.grown() == {}


def test_only_whole_records_count(following: Following, database: HandmadeDatabase) -> None:
    whole = size_of(database, 4)
    record = encode.physical_record(1, encode.batch(11, 1, b"x" * 100))
    with database.wal_path(4).open("ab") as file:
        file.write(record[:50])
    assert following.grown() == {}
    overwrite(database.wal_path(4), whole, record)
    assert following.grown() == {4: whole + len(record)}


def test_logs_come_oldest_first(following: Following, database: HandmadeDatabase) -> None:
    database.write(4)
    switch(database, 5)
    switch(database, 6)
    (reading,) = following.readings()
    assert [item.log.number for item in reading.grown] == [4, 5, 6]


def test_a_log_without_a_write_is_not_told_of(following: Following, database: HandmadeDatabase) -> None:
    """Its head may be written while the log before it is still being completed."""
    database.create_wal(5)
    head = encode.LogWriter()
    head.add_physical(9, bytes(4))
    database.wal_path(5).write_bytes(head.content)
    assert following.grown() == {}
    database.write(4, count=2)
    assert following.grown() == {4: size_of(database, 4)}
    head.add(encode.batch(13, 1))
    database.wal_path(5).write_bytes(head.content)
    assert following.grown() == {5: len(head.content)}


def test_the_last_buffer_of_a_log_comes_after_the_next_was_begun(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.create_wal(5)
    following.grown()

    def happen() -> None:
        database.write(4, count=3)
        database.write(5, count=3)

    # Newest first: log 5 is read before, log 4 after it.
    Calls(monkeypatch, WalFile, "whole_records_bytes").after(1, happen)
    assert following.grown() == {4: size_of(database, 4)}
    assert following.grown() == {5: size_of(database, 5)}


def test_readings_that_are_not_taken_add_up(following: Following, database: HandmadeDatabase) -> None:
    before = size_of(database, 4)
    for _ in range(3):
        database.write(4)
        following.follower.read()
    switch(database, 5)
    following.follower.read()
    following.follower.read()
    backlog_bytes = size_of(database, 4) - before + size_of(database, 5)
    assert following.follower.backlog_bytes(following.user.next_serial, following.epoch) == backlog_bytes
    found, ended = following.take()
    assert not ended
    assert [[item.log.number for item in reading.grown] for reading in found] == [[4], [4], [4], [5], []]
    assert [reading.serial for reading in found] == sorted({reading.serial for reading in found})
    assert following.follower.backlog_bytes(following.user.next_serial, following.epoch) == 0


def test_a_log_that_the_first_listing_misses_though_it_shows_a_younger_one(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happen() -> None:
        switch(database, 5)
        switch(database, 6)

    overlook(
        monkeypatch,
        DatabaseFolder,
        call=FIRST_LISTING,
        meanwhile=happen,
        overlooked="000005.log",
        method="list_wals",
    )
    assert following.grown() == {5: size_of(database, 5), 6: size_of(database, 6)}


def test_a_log_that_only_the_last_listing_shows_is_left_to_the_next_reading(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happen() -> None:
        switch(database, 5)
        switch(database, 6)

    overlook(
        monkeypatch,
        DatabaseFolder,
        call=SECOND_LISTING,
        meanwhile=happen,
        overlooked="000005.log",
        method="list_wals",
    )
    assert following.grown() == {}
    assert following.grown() == {5: size_of(database, 5), 6: size_of(database, 6)}


def test_a_folder_that_did_not_change_is_not_listed_again(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(database.path, (1_000_000_000, 1_000_000_000))  # so that no clock's tick is in the way
    following.readings()
    listings = Calls(monkeypatch, DatabaseFolder, "list_wals")
    database.write(4)
    assert following.grown() == {4: size_of(database, 4)}
    assert listings.count == 0
    switch(database, 5)
    assert following.grown() == {5: size_of(database, 5)}
    assert listings.count > 0


def test_a_folder_that_changed_just_now_is_listed_again(following: Following, database: HandmadeDatabase) -> None:
    """Another log may come within the same tick of the clock that its time is taken from."""
    switch(database, 5)
    status = database.path.stat()
    following.readings()
    switch(database, 6)
    os.utime(database.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert following.grown() == {6: size_of(database, 6)}


def test_logs_are_had_once_they_are_pinned_even_if_they_are_deleted(
    following: Following, database: HandmadeDatabase
) -> None:
    database.write(4, count=2)
    switch(database, 5)
    sizes = {4: size_of(database, 4), 5: size_of(database, 5)}
    following.follower.pin()
    switch(database, 6)
    flush(database, 10, 1, keep=6)
    assert following.grown() == {**sizes, 6: size_of(database, 6)}


def test_logs_in_a_folder_of_their_own(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    database = begin(HandmadeDatabase(tmp_path / "db"))
    (database.path / "OPTIONS-000003").write_text(
        "[Version]\n  rocksdb_version=9.8.4\n  options_file_version=1.1\n"
        f'[DBOptions]\n  wal_dir={logs}\n[CFOptions "default"]\n'
    )
    shutil.move(database.wal_path(4), logs)
    following = Following(database, tmp_path / "root")
    following.begin()
    assert following.follower.folder == logs
    with (logs / "000004.log").open("ab") as file:
        file.write(encode.physical_record(1, encode.batch(11, 1)))
    assert following.grown() == {4: (logs / "000004.log").stat().st_size}
    following.close()


# --- what ends an epoch --------------------------------------------------------------------------------


def test_a_new_manifest(following: Following, database: HandmadeDatabase) -> None:
    database.write(4)
    database.begin_manifest(20, encode.log_number(4) + encode.min_log_number(4))
    assert "new MANIFEST" in following.end()


def test_a_new_manifest_while_logs_are_read(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happen() -> None:
        database.begin_manifest(20, encode.log_number(4) + encode.min_log_number(4))
        database.write(4)

    Calls(monkeypatch, WalFile, "whole_records_bytes").before(1, happen)
    assert "new MANIFEST" in following.end()


def test_a_database_made_anew_with_files_of_the_same_names(
    following: Following, database: HandmadeDatabase
) -> None:
    shutil.rmtree(database.path)
    anew = begin(HandmadeDatabase(database.path))
    anew.write(4)
    assert "new MANIFEST" in following.end()
    following.begin()
    anew.write(4)
    assert following.grown() == {4: size_of(anew, 4)}


EVENTS = [
    pytest.param([encode.add_family(1, "new") + encode.log_number(4)], id="a column family is created"),
    pytest.param(
        [encode.add_family(1, "new") + encode.log_number(4), encode.drop_family(1)],
        id="a column family is created and dropped",
    ),
    pytest.param([encode.new_table(10, size_bytes=1000, sequences=(11, 11))], id="a file is ingested"),
]


@pytest.mark.parametrize("edits", EVENTS)
@pytest.mark.parametrize("moment", ["before the reading", "while logs are read", "before the MANIFEST is read"])
def test_what_no_log_carries(
    following: Following,
    database: HandmadeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    edits: list[bytes],
    moment: str,
) -> None:
    """Writes that came after it are told of by no reading of the epoch."""

    def happen() -> None:
        database.write_table(10)
        database.edit(*edits)
        database.sequence += 1
        database.write(4)

    if moment == "before the reading":
        happen()
    elif moment == "while logs are read":
        Calls(monkeypatch, WalFile, "whole_records_bytes").before(1, happen)
    else:
        Calls(monkeypatch, ManifestFile, "read_on").before(2, happen)
    assert "column family" in following.end()
    following.begin()
    database.write(4)
    assert following.grown() == {4: size_of(database, 4)}


def test_a_flush_is_no_event(following: Following, database: HandmadeDatabase) -> None:
    switch(database, 5)
    flush(database, 10, 1, keep=5)
    assert following.grown() == {5: size_of(database, 5)}


def come_and_go(database: HandmadeDatabase, *, last: int = 6) -> None:
    """Let log 5 be created, written and deleted, and log 6 begin."""
    switch(database, 5)
    database.create_wal(last)
    flush(database, 10, 1, keep=last)


def test_a_log_that_came_and_went_unseen(following: Following, database: HandmadeDatabase) -> None:
    come_and_go(database)
    database.write(6)
    assert "000006.log may have come and gone unseen" in following.end()
    database.write(6)
    following.begin()
    database.write(6)
    assert following.grown() == {6: size_of(database, 6)}


def test_a_log_that_came_and_went_unseen_before_one_without_a_write(
    following: Following, database: HandmadeDatabase
) -> None:
    """What was in it is in tables only: a replica of the logs lacks it, and nothing more may ever be written."""
    come_and_go(database)
    assert "come and gone unseen" in following.end()
    following.begin()
    assert following.grown() == {}
    database.write(6)
    assert following.grown() == {6: size_of(database, 6)}


def test_a_log_that_came_and_went_without_a_write(following: Following, database: HandmadeDatabase) -> None:
    database.create_wal(5)
    database.create_wal(6)
    flush(database, 10, 1, keep=6)
    database.write(6)
    assert following.grown() == {6: size_of(database, 6)}


def test_a_gap_without_a_deletion(following: Following, database: HandmadeDatabase) -> None:
    """Writes that go to no log take numbers too."""
    database.sequence += 5
    switch(database, 5)
    assert following.grown() == {5: size_of(database, 5)}
    database.sequence += 5
    switch(database, 6)
    flush(database, 10, 1, keep=5)
    assert following.grown() == {6: size_of(database, 6)}


def test_a_log_that_was_recycled_before_all_of_it_was_read(recycling: Following) -> None:
    database = recycling.database
    database.write(4, count=5)
    switch(database, 5)
    database.flush(10, (1, database.sequence), 5)
    database.create_wal(6, recycled_from=4)
    assert "000004.log was recycled" in recycling.end()
    recycling.begin()
    assert recycling.grown() == {}
    database.write(6)
    assert recycling.grown().keys() == {6}


def test_a_log_that_was_recycled_after_all_of_it_was_read(recycling: Following) -> None:
    database = recycling.database
    switch(database, 5)
    recycling.grown()
    database.flush(10, (1, database.sequence), 5)
    database.create_wal(6, recycled_from=4)
    before = database.sequence
    database.write(6, count=2)
    assert recycling.grown()[6] == len(encode.write_log([encode.batch(before, 1)] * 2, log_number=6).content)


def test_bytes_of_a_log_that_was_recycled_cannot_be_had(recycling: Following) -> None:
    database = recycling.database
    database.write(4, count=5)
    switch(database, 5)
    (reading,) = recycling.readings()
    database.flush(10, (1, database.sequence), 5)
    database.create_wal(6, recycled_from=4)
    with pytest.raises(SourceChangedError, match="recycled"):
        reading.grown[0].log.read(0, 10)


def test_a_log_that_moves_to_the_archive(following: Following, database: HandmadeDatabase) -> None:
    switch(database, 5)
    database.flush(10, (1, database.sequence), 5)
    (database.path / "archive").mkdir()
    database.wal_path(4).rename(database.path / "archive" / "000004.log")
    assert following.grown() == {5: size_of(database, 5)}


def test_a_damaged_log_is_an_error_and_ends_the_epoch(following: Following, database: HandmadeDatabase) -> None:
    whole = database.wal_path(4).read_bytes()
    database.write(4, count=2, body=bytes(100))
    content = database.wal_path(4).read_bytes()
    overwrite(database.wal_path(4), len(whole) + 30, b"damage")
    with pytest.raises(CorruptFileError, match="damaged"):
        following.follower.read()
    found, ended = following.take()
    assert found == []
    assert "damaged" in ended
    overwrite(database.wal_path(4), 0, content)
    following.follower.read()
    (reason,) = following.follower.take_seals()
    assert reason.startswith("the database can be read again, after: ")
    following.begin()


def test_a_database_that_goes_away_and_comes_back(following: Following, database: HandmadeDatabase) -> None:
    away = database.path.with_name("away")
    database.path.rename(away)
    for _ in range(2):
        with pytest.raises(SourceError, match="no RocksDB database"):
            following.follower.read()
    assert following.follower.take_seals() == []
    away.rename(database.path)
    following.follower.read()
    (reason,) = following.follower.take_seals()
    assert reason.startswith("the database can be read again, after: ")
    following.begin()
    database.write(4)
    assert following.grown() == {4: size_of(database, 4)}


# --- what is held, and for how long --------------------------------------------------------------------


def large_switch(database: HandmadeDatabase, new: int) -> None:
    """Fill the log before with a mebibyte, and go on with a new one."""
    database.write(new - 1, count=16, body=bytes(MEBIBYTE // 16))
    switch(database, new, count=1)


def test_what_nobody_needs_is_let_go_of(following: Following, database: HandmadeDatabase) -> None:
    large_switch(database, 5)
    following.follower.read()
    flush(database, 10, 1, keep=5)
    following.follower.read()
    assert following.follower.pinned_bytes >= MEBIBYTE
    assert open_deleted_logs(database) == 1
    following.take()
    following.follower.read()
    assert following.follower.pinned_bytes == 0
    assert open_deleted_logs(database) == 0


def test_the_slowest_user_decides(following: Following, database: HandmadeDatabase) -> None:
    slow = User(next_serial=following.user.next_serial)
    following.follower.add_user(slow)
    large_switch(database, 5)
    following.grown()
    flush(database, 10, 1, keep=5)
    following.grown()
    assert following.follower.pinned_bytes >= MEBIBYTE
    found, _ = following.follower.readings_since(slow.next_serial, following.epoch)
    assert [item.log.number for reading in found for item in reading.grown][:2] == [4, 5]
    slow.next_serial = found[-1].serial + 1
    following.grown()
    assert following.follower.pinned_bytes == 0


def test_over_budget_the_oldest_logs_go_first_and_who_needed_them_is_told(tmp_path: Path) -> None:
    following = Following(
        begin(HandmadeDatabase(tmp_path / "db")), tmp_path / "root", budget_bytes=5 * MEBIBYTE // 2
    )
    following.begin()
    database = following.database
    slow = User(next_serial=following.user.next_serial)
    following.follower.add_user(slow)
    for log in (5, 6, 7):
        large_switch(database, log)
        following.grown()
    middle = User(next_serial=following.user.next_serial - 1)  # from the reading of log 6 and 7 on
    following.follower.add_user(middle)
    flush(database, 10, 1, keep=7)
    database.write(7)
    assert following.grown() == {7: size_of(database, 7)}  # whoever keeps up is not concerned
    assert 2 * MEBIBYTE <= following.follower.pinned_bytes <= 5 * MEBIBYTE // 2
    following.grown()
    with pytest.raises(SourceChangedError, match="let go of"):
        following.follower.readings_since(slow.next_serial, following.epoch)
    slow.next_serial = NEVER
    found, ended = following.follower.readings_since(middle.next_serial, following.epoch)
    assert not ended
    for reading in found:
        for item in reading.grown:
            assert len(item.log.read(0, item.length_bytes)) == item.length_bytes
    following.close()


def test_open_files_do_not_run_short_of_logs(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        following = Following(begin(HandmadeDatabase(tmp_path / "db")), tmp_path / "root")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    following.begin()
    slow = User(next_serial=following.user.next_serial)
    following.follower.add_user(slow)
    for log in range(5, 5 + 256 // 4 + 2):
        following.database.create_wal(log)
        following.database.write(log)
        assert log in following.grown()
    with pytest.raises(SourceChangedError, match="more logs than may be held"):
        following.follower.readings_since(slow.next_serial, following.epoch)
    following.close()


def test_without_room_no_deleted_log_is_held(following: Following, database: HandmadeDatabase) -> None:
    following.follower.may_hold_deleted(allowed=False)
    next_serial = following.user.next_serial
    large_switch(database, 5)
    following.follower.read()
    flush(database, 10, 1, keep=5)
    database.write(5)
    for _ in range(2):
        following.follower.read()
    assert following.follower.pinned_bytes == 0
    assert open_deleted_logs(database) == 0
    with pytest.raises(SourceChangedError, match="let go of"):
        following.follower.readings_since(next_serial, following.epoch)
    following.begin()
    database.write(5)
    assert following.grown() == {5: size_of(database, 5)}


def test_deleted_logs_that_are_held_go_at_once(following: Following, database: HandmadeDatabase) -> None:
    next_serial = following.user.next_serial
    large_switch(database, 5)
    following.follower.read()
    flush(database, 10, 1, keep=5)
    database.write(5)
    following.follower.read()
    assert open_deleted_logs(database) == 1
    following.follower.may_hold_deleted(allowed=False)
    assert open_deleted_logs(database) == 0
    assert following.follower.pinned_bytes == 0
    # All of it had been read: nothing is missed by who has taken it.
    assert following.follower.take_seals() == []
    following.follower.read()
    with pytest.raises(SourceChangedError, match="let go of"):
        following.follower.readings_since(next_serial, following.epoch)


def test_a_deleted_log_that_was_not_read_to_its_end_ends_the_epoch(
    following: Following, database: HandmadeDatabase
) -> None:
    """Nobody else would notice: what was missed is in a log that had been seen."""
    following.follower.may_hold_deleted(allowed=False)
    database.write(4, count=3)
    database.create_wal(5)
    flush(database, 10, 1, keep=5)
    following.follower.pin()
    assert open_deleted_logs(database) == 0
    (reason,) = following.follower.take_seals()
    assert reason == "000004.log was let go of before it was read to its end: too little is free"
    assert following.take() == ([], reason)
    database.write(5)
    following.follower.read()
    assert following.take() == ([], reason)
    following.follower.may_hold_deleted(allowed=True)
    following.begin()
    database.write(5)
    assert following.grown() == {5: size_of(database, 5)}


def test_what_was_let_go_of_can_be_found_out_by_who_reads_it(tmp_path: Path) -> None:
    following = Following(begin(HandmadeDatabase(tmp_path / "db")), tmp_path / "root", budget_bytes=0)
    following.begin()
    large_switch(following.database, 5)
    (reading,) = following.readings()
    flush(following.database, 10, 1, keep=5)
    following.grown()
    with pytest.raises(SourceChangedError, match="let go of"):
        reading.grown[0].log.read(0, 10)
    following.close()


@pytest.mark.parametrize("who", ["hold", "user"])
def test_logs_are_held_for_a_checkpoint_that_is_on_its_way(
    following: Following, database: HandmadeDatabase, who: str
) -> None:
    held_log = following.follower.hold()
    checkpoint = following.capture()
    if who == "user":
        following.user.pending_log = held_log
        following.follower.end_hold()
    for log in (5, 6):
        large_switch(database, log)
        following.grown()
    flush(database, 10, 1, keep=6)
    for _ in range(2):
        following.grown()
    assert following.follower.pinned_bytes >= 2 * MEBIBYTE
    continuation = following.follower.continuation(checkpoint)
    assert continuation is not None
    assert [item.log.number for item in continuation.logs] == [4, 5, 6]
    following.user.pending_log = NEVER
    following.follower.end_hold()
    following.grown()
    assert following.follower.pinned_bytes == 0


# --- what a checkpoint lacks ---------------------------------------------------------------------------


def lengths(continuation: Continuation | None) -> dict[int, int]:
    assert continuation is not None
    return {item.log.number: item.length_bytes for item in continuation.logs}


def test_a_checkpoint_of_just_now_lacks_nothing(following: Following, database: HandmadeDatabase) -> None:
    assert lengths(following.follower.continuation(following.capture())) == {4: size_of(database, 4)}


def test_a_checkpoint_lacks_what_was_written_since(following: Following, database: HandmadeDatabase) -> None:
    switch(database, 5)
    checkpoint = following.capture()
    database.write(5, count=2)
    switch(database, 6)
    continuation = following.follower.continuation(checkpoint)
    assert lengths(continuation) == {5: size_of(database, 5), 6: size_of(database, 6)}
    assert continuation is not None
    assert continuation.reading.epoch == following.epoch


def test_a_log_without_a_write_is_not_the_last_that_a_checkpoint_needs(
    following: Following, database: HandmadeDatabase
) -> None:
    """The one before may still be completed."""
    database.create_wal(5)
    checkpoint = following.capture()
    database.write(4, count=2)
    database.write(5)
    assert lengths(following.follower.continuation(checkpoint)) == {
        4: size_of(database, 4),
        5: size_of(database, 5),
    }


def test_a_follower_that_begins_after_the_checkpoint(following: Following, database: HandmadeDatabase) -> None:
    checkpoint = following.capture()
    switch(database, 5)
    late = LogFollower(database.path, budget_bytes=0)
    assert lengths(late.continuation(checkpoint)) == {4: size_of(database, 4), 5: size_of(database, 5)}
    late.close()


@pytest.mark.parametrize("edits", EVENTS)
def test_a_checkpoint_before_an_event_is_not_continued(
    following: Following, database: HandmadeDatabase, edits: list[bytes]
) -> None:
    checkpoint = following.capture()
    database.write_table(10)
    database.edit(*edits)
    assert following.follower.continuation(checkpoint) is None


def test_a_checkpoint_of_another_manifest_is_not_continued(
    following: Following, database: HandmadeDatabase
) -> None:
    checkpoint = following.capture()
    database.begin_manifest(20, encode.log_number(4) + encode.min_log_number(4))
    assert following.follower.continuation(checkpoint) is None


def test_a_checkpoint_of_a_manifest_of_that_name_with_other_bytes_is_not_continued(
    following: Following, database: HandmadeDatabase
) -> None:
    checkpoint = following.capture()
    shutil.rmtree(database.path)
    anew = begin(HandmadeDatabase(database.path, identity="another"))
    anew.edit(encode.number_field(4, 7))
    assert following.follower.continuation(checkpoint) is None


def test_a_checkpoint_whose_logs_are_not_all_held_is_not_continued(
    following: Following, database: HandmadeDatabase
) -> None:
    checkpoint = following.capture()
    for log in (5, 6):
        large_switch(database, log)
        following.grown()
    flush(database, 10, 1, keep=6)
    for _ in range(2):
        following.grown()
    assert following.follower.continuation(checkpoint) is None


def test_a_checkpoint_before_a_log_that_came_and_went_is_not_continued(
    following: Following, database: HandmadeDatabase
) -> None:
    checkpoint = following.capture()
    come_and_go(database)
    database.write(6)
    assert following.follower.continuation(checkpoint) is None
    later = following.capture()
    database.write(6)
    assert lengths(following.follower.continuation(later)) == {6: size_of(database, 6)}


# --- the time of a reading -----------------------------------------------------------------------------


def test_what_was_written_before_the_time_of_a_reading_is_in_it(
    following: Following, database: HandmadeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it went into a log that was created just after the folder was listed."""
    clock = itertools.count()
    monkeypatch.setattr("replicator.checkpoint.log_follower.time.time", lambda: next(clock))
    written_at: list[int] = []

    def happen() -> None:
        switch(database, 5)
        written_at.append(next(clock))

    Calls(monkeypatch, LogFolder, "pin").after(1, happen)
    (reading,) = following.readings()
    assert not reading.grown
    assert reading.taken_at_seconds < written_at[0]
