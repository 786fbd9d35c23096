"""The journal of what was shipped survives its encoding, and nothing in it is believed too much."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.replica.catalog import Catalog, CatalogFile, Writer
from replicator.replica.layout import GenerationId
from replicator.replica.shipped import (
    ShippedLine,
    believable,
    decode_lines,
    encode_line,
    judge_journal,
    newest_state,
    state_at,
)
from replicator.rocksdb.filenames import FileKind, wal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.replica.shipped import ReplicaState

CAPTURED = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
CATALOG = Catalog(
    generation=GenerationId.at(CAPTURED),
    captured_at=CAPTURED,
    writer=Writer("alpha", "/var/lib/chat", "db-1"),
    rocksdb_version="11.9.0",
    column_families=("default",),
    manifest_name="MANIFEST-000005",
    files=(
        CatalogFile("000008.log", FileKind.WAL, 400, "", "08" * 32),
        CatalogFile("000010.sst", FileKind.TABLE, 1000, "db-1:unique", "10" * 32),
        CatalogFile("000012.log", FileKind.WAL, 100, "", "12" * 32),
        CatalogFile("CURRENT", FileKind.CURRENT, 16, "", "cc" * 32),
        CatalogFile("MANIFEST-000005", FileKind.MANIFEST, 10, "", "55" * 32),
    ),
)
#: What the folder holds, logs born after the checkpoint among it.
SIZES: dict[str, int | None] = {
    **{file.name: file.size_bytes for file in CATALOG.files},
    "000012.log": 500,
    "000014.log": 900,
    "000016.log": 0,
}


def line(name: str, size_bytes: int, seconds: float = 1, sha256: str = "") -> ShippedLine:
    return ShippedLine(
        CAPTURED + timedelta(seconds=seconds), name, size_bytes, sha256 or f"{size_bytes % 251:02x}" * 32
    )


def encode(lines: Sequence[ShippedLine]) -> bytes:
    return b"".join(map(encode_line, lines))


GROWN = (
    line("000012.log", 300, 1),
    line("000012.log", 300, 6),
    line("000012.log", 500, 7),
    line("000014.log", 200, 7),
    line("000014.log", 900, 8.25),
)


@st.composite
def journals(draw: st.DrawFn) -> tuple[ShippedLine, ...]:
    """Journals as a shipper writes them, of any logs; the clock may go back."""
    lines = []
    number, size_bytes = draw(st.integers(0, 2**64 - 1)), draw(st.integers(0, 10**6))
    for step in draw(st.lists(st.integers(0, 10**6), max_size=12)):
        if step % 4 == 3 and number < 2**64 - 1:
            number, size_bytes = draw(st.integers(number + 1, 2**64 - 1)), 0
        size_bytes += step
        at = draw(st.datetimes(timezones=st.just(UTC)))
        lines.append(ShippedLine(at, wal_name(number), size_bytes, f"{size_bytes % 251:02x}" * 32))
    return tuple(lines)


# --- encoding ----------------------------------------------------------------------------------------


def test_a_line_is_one_json_object() -> None:
    shipped = ShippedLine(datetime(2026, 11, 24, 22, 1, 2, 123456, tzinfo=UTC), "000012.log", 12345, "ab" * 32)
    assert encode_line(shipped) == (
        b'{"at": "2026-11-24T22:01:02.123456Z", "wal": "000012.log", "bytes": 12345, "sha256": "%s"}\n'
        % (b"ab" * 32)
    )


@given(journals())
def test_a_journal_comes_back(lines: tuple[ShippedLine, ...]) -> None:
    assert decode_lines(encode(lines)) == lines


@given(journals(), st.data())
def test_of_a_journal_cut_anywhere_the_whole_lines_count(
    lines: tuple[ShippedLine, ...], data: st.DataObject
) -> None:
    encoded = encode(lines)
    cut = encoded[: data.draw(st.integers(0, len(encoded)))]
    assert decode_lines(cut) == lines[: cut.count(b"\n")]


@given(st.binary())
def test_arbitrary_bytes_are_no_lines(data: bytes) -> None:
    assert decode_lines(data) == ()


@given(journals(), st.integers(0), st.binary(min_size=1, max_size=3))
def test_what_stands_before_a_garbled_place_is_read(
    lines: tuple[ShippedLine, ...], place: int, garbage: bytes
) -> None:
    encoded = encode(lines)
    place %= len(encoded) + 1
    before = encoded[:place].count(b"\n")
    found = decode_lines(encoded[:place] + garbage + encoded[place + len(garbage) :])
    assert found[:before] == lines[:before]


VALID = encode_line(line("000012.log", 300))


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"000012.log"', b'"000012.sst"'),
        (b'"000012.log"', b'"../000012.log"'),
        (b'"000012.log"', b'"12.log"'),
        (b'"000012.log"', b'"0000012.log"'),
        (b'"000012.log"', b'"CURRENT"'),
        (b'"000012.log"', b'"000012.log\\u0000"'),
        (b'"000012.log"', '"\u0660\u0660\u0660\u0660\u0661\u0662.log"'.encode()),
        (b'"000012.log"', b'"' + b"9" * 300 + b'.log"'),
        (b"300", b"-300"),
        (b"300", b"300.0"),
        (b"300", b'"300"'),
        (b"300", b"true"),
        (b"300", b"0300"),
        (b"300", b"9" * 40),
        (b"22:00:01.000000Z", b"22:00:01Z"),
        (b"22:00:01.000000Z", b"22:00:01.000000+00:00"),
        (b"22:00:01.000000Z", b"22:00:61.000000Z"),
        (b"2026-11-24", b"2026-13-24"),
        (b"2026-11-24", b"0000-11-24"),
        (b"}\n", b', "more": 1}\n'),
        (b"}\n", b"}\r\n"),
        (b"}\n", b"} \n"),
        (b"}\n", b"},\n"),
        (b'{"at"', b'{"at": "", "at"'),
        (b'{"at"', b"[" * 100_000 + b'{"at"'),
    ],
)
def test_a_malformed_line_ends_it(part: bytes, other: bytes) -> None:
    assert VALID.count(part) == 1
    hostile = VALID.replace(part, other)
    assert decode_lines(VALID + VALID) == (line("000012.log", 300),) * 2
    assert decode_lines(VALID + hostile + VALID) == (line("000012.log", 300),)
    assert judge_journal(VALID + hostile + VALID, CATALOG, SIZES).problem == "is damaged: line 2 makes no sense"


def test_digests_are_64_hex_digits() -> None:
    for sha256 in ("AB" * 32, "ab" * 31, "ab" * 33, "", "xy" * 32):
        assert decode_lines(encode_line(replace(line("000012.log", 300), sha256=sha256 or " "))) == ()


@pytest.mark.parametrize(
    "second",
    [
        line("000012.log", 299),
        line("000012.log", 300, sha256="ff" * 32),
        line("000010.log", 400),
        line("000008.log", 300),
    ],
    ids=["shrinks", "changes", "an older log", "an older one of equal length"],
)
def test_lines_that_contradict_those_before_them_end_it(second: ShippedLine) -> None:
    assert decode_lines(encode([GROWN[0], second, *GROWN[2:]])) == GROWN[:1]
    assert "line 2 makes no sense" in judge_journal(encode([GROWN[0], second]), CATALOG, SIZES).problem


# --- belief ------------------------------------------------------------------------------------------


def test_what_nothing_contradicts_is_believed() -> None:
    assert believable(GROWN, CATALOG, SIZES) == GROWN
    assert judge_journal(encode(GROWN), CATALOG, SIZES).problem == ""
    assert judge_journal(b"", CATALOG, SIZES).problem == ""


@pytest.mark.parametrize("cut", [1, 50, 100])
def test_a_cut_last_line_is_no_problem(cut: int) -> None:
    assert judge_journal(encode(GROWN)[:-cut], CATALOG, SIZES).problem == ""


@pytest.mark.parametrize(
    ("hostile", "changes", "problem"),
    [
        (line("000012.log", 501), {}, "tells of 501 bytes of 000012.log, there are 500 (line 2)"),
        (line("000014.log", 5), {"000014.log": 4}, "tells of 5 bytes of 000014.log, there are 4 (line 2)"),
        (line("000014.log", 0), {"000014.log": None}, "tells of 0 bytes of 000014.log, there are 0 (line 2)"),
        (line("000099.log", 0), {}, "tells of 0 bytes of 000099.log, there are 0 (line 2)"),
    ],
)
def test_lines_that_the_folder_contradicts_end_it(
    hostile: ShippedLine, changes: dict[str, int | None], problem: str
) -> None:
    sizes = SIZES | changes
    assert believable([GROWN[0], hostile, *GROWN[2:]], CATALOG, sizes) == GROWN[:1]
    assert judge_journal(encode([GROWN[0], hostile]), CATALOG, sizes).problem == problem


@pytest.mark.parametrize(
    ("hostile", "problem"),
    [
        (line("000012.log", 99), "tells of 99 bytes of 000012.log, the catalog of 100"),
        (line("000012.log", 100), "tells of another SHA-256 of 000012.log than the catalog"),
        (line("000009.log", 10), "tells of 000009.log, which is older than the checkpoint"),
    ],
)
def test_lines_that_the_catalog_contradicts_end_it(hostile: ShippedLine, problem: str) -> None:
    sizes = SIZES | {"000009.log": 10}
    first = line("000008.log", 400, sha256="08" * 32)
    assert believable([first, hostile], CATALOG, sizes) == (first,)
    assert judge_journal(encode([first, hostile]), CATALOG, sizes).problem == f"{problem} (line 2)"


def test_the_state_of_the_checkpoint_may_be_told_again() -> None:
    still_so = (line("000012.log", 100, 5, sha256="12" * 32),)
    assert believable(still_so, CATALOG, SIZES) == still_so
    assert newest_state(CATALOG, still_so).files == CATALOG.files


# --- states ------------------------------------------------------------------------------------------


def sizes_of(state: ReplicaState) -> dict[str, tuple[int, str | None]]:
    return {file.name: (file.size_bytes, file.sha256) for file in state.files}


def test_without_lines_the_state_is_that_of_the_checkpoint() -> None:
    assert newest_state(CATALOG, ()).files == CATALOG.files
    assert newest_state(CATALOG, ()).at == CAPTURED


def test_lines_override_the_catalog_and_add_logs() -> None:
    state = newest_state(CATALOG, GROWN)
    assert state.at == CAPTURED + timedelta(seconds=8.25)
    assert sizes_of(state) == {
        **sizes_of(newest_state(CATALOG, ())),
        "000012.log": (500, GROWN[2].sha256),
        "000014.log": (900, GROWN[4].sha256),
    }
    assert state.size_bytes == CATALOG.size_bytes + 400 + 900
    assert {file.kind for file in state.files if file.name.endswith(".log")} == {FileKind.WAL}


@pytest.mark.parametrize(
    ("seconds", "lines_that_count"), [(0, 0), (0.999, 0), (1, 1), (6.5, 2), (7, 4), (8.249, 4), (8.25, 5), (99, 5)]
)
def test_the_last_state_at_a_moment(seconds: float, lines_that_count: int) -> None:
    found = state_at(CATALOG, GROWN, CAPTURED + timedelta(seconds=seconds))
    assert found == newest_state(CATALOG, GROWN[:lines_that_count])


def test_before_the_checkpoint_there_is_no_state() -> None:
    assert state_at(CATALOG, GROWN, CAPTURED - timedelta(microseconds=1)) is None


def test_though_the_clock_was_set_back_the_order_is_that_of_the_lines() -> None:
    lines = (line("000012.log", 200, 50), line("000012.log", 300, -20), line("000012.log", 400, 90))
    assert newest_state(CATALOG, lines).at == CAPTURED + timedelta(seconds=90)
    for seconds, expected in ((95, 3), (60, 2), (-20, 2)):
        found = state_at(CATALOG, lines, CAPTURED + timedelta(seconds=seconds))
        assert found == newest_state(CATALOG, lines[:expected])
    assert state_at(CATALOG, lines, CAPTURED - timedelta(seconds=21)) is None


@given(journals())
def test_states_only_grow(lines: tuple[ShippedLine, ...]) -> None:
    sizes = {item.name: item.size_bytes for item in lines}
    trusted = believable(lines, CATALOG, SIZES | sizes)
    assert trusted == lines[: len(trusted)]
    before = newest_state(CATALOG, ())
    for count in range(1, len(trusted) + 1):
        state = newest_state(CATALOG, trusted[:count])
        assert state.at == trusted[count - 1].at
        now = {file.name: file.size_bytes for file in state.files}
        assert all(now[file.name] >= file.size_bytes for file in before.files)
        before = state
