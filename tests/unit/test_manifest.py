"""The state that a MANIFEST adds up to: files, WALs, column families, and where it may be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptFileError
from replicator.rocksdb.live_files import BlobFile
from replicator.rocksdb.manifest import ManifestState, blob_identity, table_identity
from replicator.rocksdb.record_log import Tail
from tests.support import rocksdb_encoding as encode
from tests.support.rocksdb_encoding import write_log


def _state(*edits: bytes) -> ManifestState:
    state = ManifestState()
    state.feed(bytes(write_log(edits).content))
    return state


def test_an_empty_manifest_has_the_default_column_family_and_nothing_else() -> None:
    version = _state().snapshot()
    assert version.column_family_names == ("default",)
    assert (version.cut_offset, version.last_sequence, version.lowest_needed_wal) == (0, 0, 0)
    assert not version.tables
    assert not version.blobs
    assert not version.wals


def test_tables_come_go_and_move() -> None:
    state = _state(
        encode.new_table(10, size_bytes=100) + encode.log_number(4),
        encode.new_table(11, size_bytes=200) + encode.log_number(5),
        encode.delete_table(0, 10) + encode.new_table(10, level=6, size_bytes=100),
        encode.delete_table(0, 11) + encode.new_table(12, level=1, size_bytes=300),
    )
    assert {number: (table.level, table.size_bytes) for number, table in state.tables.items()} == {
        10: (6, 100),
        12: (1, 300),
    }


def test_scalars_are_kept() -> None:
    state = _state(
        encode.database_id("id"),
        encode.number_field(3, 20) + encode.number_field(4, 1000),
        encode.number_field(3, 30) + encode.number_field(4, 2000),
    )
    assert (state.database_id, state.next_file_number, state.last_sequence) == ("id", 30, 2000)


def test_a_dropped_column_family_takes_its_files_along() -> None:
    state = _state(
        encode.add_family(1, "one") + encode.log_number(3),
        encode.add_family(2, "two", "reverse") + encode.log_number(3),
        encode.in_family(1) + encode.new_table(10) + encode.log_number(4),
        encode.in_family(2) + encode.new_table(11) + encode.log_number(4),
        encode.drop_family(1),
    )
    assert state.snapshot().column_family_names == ("default", "two")
    assert state.column_families[2].comparator == "reverse"
    assert set(state.tables) == {11}


def test_an_atomic_group_takes_effect_as_a_whole() -> None:
    edits = [
        encode.new_table(10) + encode.log_number(4),
        encode.new_table(11) + encode.log_number(5) + encode.in_group(2),
        encode.in_family(0) + encode.new_table(12) + encode.log_number(5) + encode.in_group(1),
        encode.new_table(13) + encode.log_number(5) + encode.in_group(0),
        encode.new_table(14) + encode.log_number(6),
    ]
    log = write_log(edits)
    state = ManifestState()
    seen = []
    for end in log.ends:
        state.feed(bytes(log.content[state.next_offset : end]))
        seen.append((set(state.tables), state.cut_offset))
    assert seen == [
        ({10}, log.ends[0]),
        ({10}, log.ends[0]),
        ({10}, log.ends[0]),
        ({10, 11, 12, 13}, log.ends[3]),
        ({10, 11, 12, 13, 14}, log.ends[4]),
    ]


@pytest.mark.parametrize(
    "edits",
    [
        [encode.in_group(2), encode.in_group(2)],
        [encode.in_group(1), encode.log_number(1)],
        [encode.add_family(1, "a"), encode.add_family(1, "a")],
        [encode.drop_family(1)],
        [encode.in_family(9) + encode.new_table(1)],
        [encode.delete_table(0, 1)],
        [encode.new_table(1), encode.delete_table(1, 1)],
        [encode.new_table(1), encode.new_table(1)],
        [encode.blob_garbage(1, count=1, garbage_bytes=1)],
        [encode.new_blob(1, count=1, total_bytes=1), encode.new_blob(1, count=1, total_bytes=1)],
    ],
)
def test_edits_that_do_not_fit_are_refused(edits: list[bytes]) -> None:
    with pytest.raises(CorruptFileError, match="MANIFEST"):
        _state(*edits)


@given(st.data())
def test_any_split_gives_the_same_state(data: st.DataObject) -> None:
    edits = [
        encode.new_table(number, smallest=bytes(number % 50) * 90) + encode.log_number(number // 2 + 1)
        for number in range(1, 60)
    ]
    log = write_log(edits)
    state = ManifestState()
    for visible in sorted(data.draw(st.lists(st.integers(0, len(log.content)), max_size=10))):
        state.feed(bytes(log.content[state.next_offset : visible]))
        assert len(state.tables) == sum(end <= visible for end in log.ends)
    state.feed(bytes(log.content[state.next_offset :]))
    assert state.snapshot() == _state(*edits).snapshot()


def test_a_snapshot_does_not_change_with_what_comes_after() -> None:
    edits = [
        encode.new_table(1, oldest_blob=5) + encode.new_blob(5, count=1, total_bytes=10) + encode.log_number(1),
        encode.add_wal(3),
    ]
    log = write_log([*edits, encode.add_wal(4), encode.delete_table(0, 1)])
    state = ManifestState()
    state.feed(bytes(log.content[: log.ends[1]]))
    before = state.snapshot()
    state.feed(bytes(log.content[state.next_offset :]))
    assert before == _state(*edits).snapshot()
    assert state.snapshot() != before


def test_a_torn_end_is_told_and_left_out() -> None:
    log = write_log([encode.new_table(1), encode.new_table(2)])
    state = ManifestState()
    state.feed(bytes(log.content[:-1]))
    assert set(state.tables) == {1}
    assert state.cut_offset == log.ends[0]
    assert state.tail() is Tail.TORN


def test_blob_files_live_from_the_oldest_that_a_table_names() -> None:
    flushes = [
        encode.new_blob(number, count=4, total_bytes=400)
        + encode.new_table(number + 100, oldest_blob=number)
        + encode.log_number(number)
        for number in (5, 6, 7)
    ]
    assert _state(*flushes).blobs[6] == BlobFile(6, 462, 4, b"")
    # 6 is named by no table any more, but one that names an older file may refer to it as well.
    merged = encode.delete_table(0, 106) + encode.delete_table(0, 105) + encode.new_table(200, oldest_blob=5)
    assert set(_state(*flushes, merged).blobs) == {5, 6, 7}
    all_garbage = encode.blob_garbage(6, count=4, garbage_bytes=400)
    assert set(_state(*flushes, merged, all_garbage).blobs) == {5, 7}
    some_garbage = encode.blob_garbage(6, count=3, garbage_bytes=300)
    assert set(_state(*flushes, merged, some_garbage).blobs) == {5, 6, 7}
    # Nothing names 5 any more: it goes although it is not all garbage.
    moved_on = encode.delete_table(0, 105) + encode.new_table(200, oldest_blob=6)
    assert set(_state(*flushes, moved_on).blobs) == {6, 7}
    # A file that is all garbage stays while a table names it.
    assert set(_state(*flushes, encode.blob_garbage(6, count=4, garbage_bytes=400)).blobs) == {5, 6, 7}
    gone = b"".join(encode.delete_table(0, number) for number in (105, 106, 107))
    assert not _state(*flushes, gone).blobs


def test_blob_files_of_column_families_are_counted_apart() -> None:
    state = _state(
        encode.add_family(1, "one"),
        encode.new_blob(9, count=1, total_bytes=10) + encode.new_table(10, oldest_blob=9) + encode.log_number(1),
        encode.in_family(1)
        + encode.new_blob(5, count=1, total_bytes=10)
        + encode.new_table(6, oldest_blob=5)
        + encode.log_number(1),
    )
    assert set(state.blobs) == {5, 9}


def test_wals_are_tracked_as_the_manifest_says() -> None:
    tracked = [
        encode.add_wal(3),
        encode.add_wal(4),
        encode.add_wal(3, 100),
        encode.add_wal(3, 50),
        encode.add_wal(5, 0),
    ]
    assert _state(*tracked).wals == {3: 100, 4: None, 5: 0}
    assert _state(*tracked, encode.delete_wals_before(4)).wals == {4: None, 5: 0}
    assert _state(*tracked, encode.delete_wals_before(6), encode.add_wal(5, 10)).wals == {}
    assert _state(*tracked, encode.delete_wals_before(5), encode.delete_wals_before(2)).wals == {5: 0}


def test_needed_wals_follow_the_database_wide_number_where_there_is_one() -> None:
    idle_family = [encode.add_family(1, "idle") + encode.log_number(3), encode.log_number(20)]
    state = _state(*idle_family)
    assert (state.lowest_needed_wal, state.wals_deletable_below) == (3, 20)
    state = _state(*idle_family, encode.min_log_number(18), encode.min_log_number(15))
    assert (state.lowest_needed_wal, state.wals_deletable_below) == (18, 18)


def test_a_dropped_family_still_tells_how_far_wals_may_be_gone() -> None:
    state = _state(
        encode.log_number(4),
        encode.add_family(1, "busy") + encode.log_number(20),
        encode.drop_family(1),
    )
    assert (state.lowest_needed_wal, state.wals_deletable_below) == (4, 20)


def test_log_numbers_never_fall() -> None:
    assert _state(encode.log_number(9), encode.log_number(7)).column_families[0].log_number == 9


def test_what_the_wals_do_not_carry_is_counted() -> None:
    flush = encode.new_table(10, epoch=1) + encode.log_number(4)
    assert _state(flush).discontinuities == 0
    ingestion = encode.new_table(11, epoch=2)
    assert _state(flush, ingestion).discontinuities == 1
    compaction = encode.delete_table(0, 10) + encode.new_table(12, level=1, epoch=1)
    assert _state(flush, compaction).discontinuities == 0
    replacement = encode.delete_table(0, 10) + encode.new_table(12, level=6, epoch=3)
    assert _state(flush, replacement).discontinuities == 1
    move = encode.delete_table(0, 10) + encode.new_table(10, level=6, epoch=1)
    assert _state(flush, move).discontinuities == 0
    assert _state(flush, encode.delete_table(0, 10)).discontinuities == 0
    assert _state(encode.add_family(1, "a"), encode.drop_family(1)).discontinuities == 2


def test_the_identity_of_a_table_follows_it_through_levels() -> None:
    for table in (
        {"unique_id": bytes(range(16))},
        {"created_seconds": 1_700_000_000},
    ):
        at_top = _state(encode.new_table(1, level=0, epoch=4, **table))
        moved = _state(encode.new_table(1, level=6, epoch=2, **table))
        assert table_identity(at_top.tables[1], "db") == table_identity(moved.tables[1], "db") != ""


def test_different_tables_have_different_identities() -> None:
    variants = [
        encode.new_table(1, unique_id=bytes(range(16))),
        encode.new_table(1, unique_id=bytes(range(1, 17))),
        encode.new_table(1, unique_id=bytes(range(16)), sequences=(7, 7)),
        encode.new_table(1, created_seconds=1),
        encode.new_table(1, created_seconds=2),
        encode.new_table(1, created_seconds=1, smallest=b"b"),
        encode.new_table(1, created_seconds=1, largest=b"y"),
        encode.new_table(1, created_seconds=1, smallest=b"ab", largest=b"z"),
        encode.new_table(1, created_seconds=1, sequences=(2, 9)),
        encode.new_table(1, created_seconds=1, checksum=(b"1234", b"crc")),
    ]
    identities = {table_identity(_state(edit).tables[1], "db") for edit in variants}
    identities |= {table_identity(_state(edit).tables[1], "other") for edit in variants}
    assert len(identities) == 2 * len(variants)


def test_nothing_tells_a_table_apart_that_has_neither_id_nor_time() -> None:
    assert table_identity(_state(encode.new_table(1)).tables[1], "db") == ""


def test_a_blob_file_is_told_apart_by_checksum_or_time() -> None:
    blob = BlobFile(5, 462, 4, b"")
    assert blob_identity(blob, "db") == ""
    assert blob_identity(blob, "db", 1) != blob_identity(blob, "db", 2) != ""
    summed = BlobFile(5, 462, 4, b"abcd")
    assert blob_identity(summed, "db", 1) == blob_identity(summed, "db", 2) != ""
    assert blob_identity(summed, "db") != blob_identity(summed, "other")
