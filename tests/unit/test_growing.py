"""A generation that is shipped to: what is appended, what the journal says of it, what is done after an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ConnectionLostError, NotFoundError, ProtocolError
from replicator.replica.growing import GrowingGeneration, Growth, LogPrefix, Mark
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.shipped import SHIPPED_NAME, ShippedLine, decode_lines
from tests.support.memory_destination import MemoryDestination

if TYPE_CHECKING:
    from pathlib import PurePosixPath

LAYOUT = ReplicaLayout("app")
BEGINNING = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
GENERATION = GenerationId.at(BEGINNING)
FOLDER = LAYOUT.generation(GENERATION)
LIMIT_BYTES = 1 << 20
LOG, NEXT_LOG = "000012.log", "000014.log"


@dataclass
class Breaking:
    """A destination in memory that breaks in the `at`-th change from now on, as often as it is set."""

    destination: MemoryDestination = field(init=False)
    at: int = 0

    def __post_init__(self) -> None:
        self.destination = MemoryDestination(before_change=self._before_change)
        self.destination.make_folder(FOLDER)

    def _before_change(self, _action: str, _path: PurePosixPath) -> None:
        if self.at:
            self.at -= 1
            if not self.at:
                raise ConnectionLostError("broken")

    def read(self, name: str) -> bytes:
        return self.destination.read_bytes(FOLDER / name, limit_bytes=LIMIT_BYTES)

    def lines(self) -> tuple[ShippedLine, ...]:
        """Return the journal, all of which must make sense."""
        content = self.read(SHIPPED_NAME)
        found = decode_lines(content)
        assert len(found) == content.count(b"\n")
        assert content.endswith(b"\n")
        return found


@pytest.fixture
def there() -> Breaking:
    return Breaking()


@pytest.fixture
def growing(there: Breaking) -> GrowingGeneration:
    """Return one whose log 12 was published with five bytes."""
    there.destination.write_bytes(FOLDER / LOG, b"first")
    return GrowingGeneration(LAYOUT, GENERATION, {LOG: prefix_of(b"first")})


def prefix_of(content: bytes) -> LogPrefix:
    prefix = LogPrefix()
    prefix.add(content)
    return prefix


def at(seconds: int) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def growth_of(*parts: tuple[str, bytes], marks: list[Mark]) -> Growth:
    growth = Growth(marks=marks)
    for name, data in parts:
        growth.add(name, data)
    return growth


def line(seconds: int, name: str, content: bytes) -> ShippedLine:
    return ShippedLine(at(seconds), name, len(content), sha256(content).hexdigest())


def test_a_log_grows_from_where_it_was_published(there: Breaking, growing: GrowingGeneration) -> None:
    growing.extend(there.destination, growth_of((LOG, b" second"), marks=[Mark(at(1), LOG, 12)]))
    assert there.read(LOG) == b"first second"
    assert there.lines() == (line(1, LOG, b"first second"),)
    assert growing.size_bytes(LOG) == 12


def test_marks_within_one_append_have_the_digests_of_what_was_there_then(
    there: Breaking, growing: GrowingGeneration
) -> None:
    marks = [Mark(at(1), LOG, 7), Mark(at(2), LOG, 9), Mark(at(2), NEXT_LOG, 2), Mark(at(3), NEXT_LOG, 4)]
    growing.extend(there.destination, growth_of((LOG, b"abcd"), (NEXT_LOG, b"wxyz"), marks=marks))
    assert there.lines() == (
        line(1, LOG, b"firstab"),
        line(2, LOG, b"firstabcd"),
        line(2, NEXT_LOG, b"wx"),
        line(3, NEXT_LOG, b"wxyz"),
    )


def test_bytes_without_a_mark_are_told_of_later(there: Breaking, growing: GrowingGeneration) -> None:
    growing.extend(there.destination, growth_of((LOG, b"ab"), marks=[]))
    with pytest.raises(NotFoundError):
        there.read(SHIPPED_NAME)
    growing.extend(there.destination, growth_of((LOG, b"cd"), marks=[Mark(at(1), LOG, 9)]))
    assert there.lines() == (line(1, LOG, b"firstabcd"),)


def test_a_mark_without_bytes_says_that_nothing_has_happened(there: Breaking, growing: GrowingGeneration) -> None:
    growing.extend(there.destination, growth_of((LOG, b"ab"), marks=[Mark(at(1), LOG, 7)]))
    growing.extend(there.destination, growth_of(marks=[Mark(at(6), LOG, 7)]))
    assert there.lines() == (line(1, LOG, b"firstab"), line(6, LOG, b"firstab"))


@pytest.mark.parametrize("broken_at", [1, 2, 3])
def test_after_an_error_the_same_bytes_are_sent_again(
    there: Breaking, growing: GrowingGeneration, broken_at: int
) -> None:
    """Whether the log broke, the log that is new, or the journal."""
    growing.extend(there.destination, growth_of((LOG, b"ab"), marks=[Mark(at(1), LOG, 7)]))
    growth = growth_of((LOG, b"cd"), (NEXT_LOG, b"wxyz"), marks=[Mark(at(2), LOG, 9), Mark(at(2), NEXT_LOG, 4)])
    there.at = broken_at
    with pytest.raises(ConnectionLostError):
        growing.extend(there.destination, growth)
    assert (growing.size_bytes(LOG), growing.size_bytes(NEXT_LOG)) == (7, 0)
    growing.extend(there.destination, growth)
    assert (there.read(LOG), there.read(NEXT_LOG)) == (b"firstabcd", b"wxyz")
    assert there.lines() == (line(1, LOG, b"firstab"), line(2, LOG, b"firstabcd"), line(2, NEXT_LOG, b"wxyz"))


def test_lines_that_came_before_an_error_are_cut_off_before_anything_else_is_sent(
    there: Breaking, growing: GrowingGeneration
) -> None:
    """The server may have written them without the bytes that they tell of."""
    growing.extend(there.destination, growth_of((LOG, b"ab"), marks=[Mark(at(1), LOG, 7)]))
    sure = there.read(SHIPPED_NAME)
    there.at = 1
    with pytest.raises(ConnectionLostError):
        growing.extend(there.destination, growth_of((LOG, b"cd"), marks=[Mark(at(2), LOG, 9)]))
    there.destination.write_bytes(FOLDER / SHIPPED_NAME, sure + b'{"at": "2026')

    there.at = 2  # the first change cuts the journal, the second appends to the log
    with pytest.raises(ConnectionLostError):
        growing.extend(there.destination, growth_of((LOG, b"cdef"), marks=[Mark(at(3), LOG, 11)]))
    assert there.read(SHIPPED_NAME) == sure
    growing.extend(there.destination, growth_of((LOG, b"cdef"), marks=[Mark(at(3), LOG, 11)]))
    assert there.lines() == (line(1, LOG, b"firstab"), line(3, LOG, b"firstabcdef"))


def test_a_journal_that_has_lost_lines_is_not_gone_on_with(there: Breaking, growing: GrowingGeneration) -> None:
    for second in (1, 2):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(second), LOG, 5 + second)]))
    there.at = 1
    with pytest.raises(ConnectionLostError):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(3), LOG, 8)]))
    first_line = there.read(SHIPPED_NAME).splitlines(keepends=True)[0]
    there.destination.write_bytes(FOLDER / SHIPPED_NAME, first_line)
    with pytest.raises(ProtocolError, match="has lost lines"):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(3), LOG, 8)]))
    assert there.read(SHIPPED_NAME) == first_line


def test_a_generation_that_was_removed(there: Breaking, growing: GrowingGeneration) -> None:
    there.destination.remove_tree(FOLDER)
    with pytest.raises(NotFoundError):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(1), LOG, 6)]))


def test_a_journal_never_becomes_too_large_to_be_read(
    there: Breaking, growing: GrowingGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.replica.growing.LONGEST_JOURNAL_BYTES", 500)
    for second in (1, 2, 3):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(second), LOG, 5 + second)]))
    before = there.read(LOG), there.read(SHIPPED_NAME)
    with pytest.raises(ProtocolError, match="full"):
        growing.extend(there.destination, growth_of((LOG, b"x"), marks=[Mark(at(4), LOG, 9)]))
    assert (there.read(LOG), there.read(SHIPPED_NAME)) == before


@pytest.mark.parametrize("published", [b"", b"first"])
def test_a_log_is_taken_over_from_another_generation(there: Breaking, published: bytes) -> None:
    later = GenerationId.at(at(60))
    folder = LAYOUT.generation(later)
    there.destination.make_folder(folder)
    there.destination.write_bytes(FOLDER / LOG, b"first, second and more that is not sure yet")
    other = GrowingGeneration(LAYOUT, GENERATION, {LOG: prefix_of(b"first, second")})
    logs = {LOG: prefix_of(published)} if published else {}
    if published:
        there.destination.write_bytes(folder / LOG, published)
    growing = GrowingGeneration(LAYOUT, later, logs)

    growing.take_over(there.destination, other, LOG, [b"first, second"[len(published) :]])
    assert there.destination.read_bytes(folder / LOG, limit_bytes=LIMIT_BYTES) == b"first, second"
    assert growing.size_bytes(LOG) == 13
    growing.extend(there.destination, growth_of((LOG, b", third"), marks=[Mark(at(61), LOG, 20)]))
    journal = there.destination.read_bytes(folder / SHIPPED_NAME, limit_bytes=LIMIT_BYTES)
    assert decode_lines(journal) == (line(61, LOG, b"first, second, third"),)
    assert there.read(LOG) == b"first, second and more that is not sure yet"


@given(
    parts=st.lists(st.tuples(st.sampled_from([LOG, NEXT_LOG]), st.binary(max_size=5)), min_size=1, max_size=8),
    breaks=st.lists(st.integers(0, 4), max_size=4),
)
def test_wherever_it_breaks_every_line_is_true_in_the_end(
    parts: list[tuple[str, bytes]], breaks: list[int]
) -> None:
    there = Breaking()
    there.destination.write_bytes(FOLDER / LOG, b"first")
    growing = GrowingGeneration(LAYOUT, GENERATION, {LOG: prefix_of(b"first")})
    contents = {LOG: b"first", NEXT_LOG: b""}
    expected = []
    for second, (name, data) in enumerate(sorted(parts, key=lambda part: part[0])):
        contents[name] += data
        growth = growth_of((name, data), marks=[Mark(at(second), name, len(contents[name]))])
        expected.append(line(second, name, contents[name]))
        for there.at in [*breaks, 0]:
            try:
                growing.extend(there.destination, growth)
            except ConnectionLostError:
                continue
            break
    assert there.lines() == tuple(expected)
    there.at = 0
    assert there.read(LOG) == contents[LOG]
