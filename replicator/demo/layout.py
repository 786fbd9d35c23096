"""What the demo's primary writes, and whether a replica's contents are one point in that history. Pure.

Batch number `n` (from 1) is one atomic write over all column families. Into each of them it puts its number
under `POSITION_KEY`, and under slot `n mod ring` a value made of the family's name and `n`. So a replica that
says "position p" must hold p in every family, and in each slot the newest number at or below p.

Three storms can be added, each judged just as exactly:

- range deletions: each batch leaves a key of its own in a *trail*; every `delete_range_every`-th batch
  deletes the trail before it with one range.
- ingestion: after each `ingest_every`-th batch, and before the next, an SST that carries its number is
  ingested into each of the families.
- churn: before each `churn_every`-th batch `n` a column family `churn-<n>` is created, which that batch and
  all later ones write too; after the batch the previous one is dropped.

Reading a database is the job of `oracle`, writing one that of `primary`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import shake_128
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_FAMILY = "default"
CHURN_PREFIX = "churn-"
POSITION_KEY = b"position"
INGESTED_KEY = b"ingested"
#: In the default column family, from batch 1 on: the layout as JSON, so that a replica describes itself.
LAYOUT_KEY = b"layout"
_SLOT_PREFIX = b"slot-"
_TRAIL_PREFIX = b"trail-"

#: Findings beyond this many are counted but not described.
_MAX_DETAILS = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of the batches; a storm is off when its `_every` is 0. Counts are in batches."""

    column_families: int = 3
    ring: int = 1000
    value_bytes: int = 100
    delete_range_every: int = 0
    ingest_every: int = 0
    churn_every: int = 0

    def to_json(self) -> bytes:
        """Return the form kept under `LAYOUT_KEY`."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Layout:
        """Read the form kept under `LAYOUT_KEY`. Raises `ValueError` or `TypeError` for anything else."""
        return cls(**json.loads(data))

    @property
    def fixed_families(self) -> tuple[str, ...]:
        """Return the column families that are there from the beginning."""
        return (DEFAULT_FAMILY, *(f"cf-{index}" for index in range(1, self.column_families)))

    def newest_churn(self, number: int) -> int:
        """Return the batch that the newest churned family written by batch `number` began with, or 0."""
        return number - number % self.churn_every if self.churn_every else 0


@dataclass(frozen=True, slots=True)
class FamilyWrite:
    """What one batch does in one column family: the range is deleted first, then the entries are put."""

    family: str
    entries: tuple[tuple[bytes, bytes], ...]
    delete_range: tuple[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of a replica.

    `position` is the lowest batch number that a column family holds; `torn` the count of column families
    that disagree with it, are missing or should not be there; `holes` the count of entries that are not what
    they must be at their family's position. Where the engine could not open or read it, `opened` is False
    and `details` says why.
    """

    opened: bool
    position: int = 0
    torn: int = 0
    holes: int = 0
    column_families: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether it opens and is exactly one point in the primary's history."""
        return self.opened and not self.torn and not self.holes

    def to_json(self) -> str:
        """Return the form that the judge prints."""
        return json.dumps({**asdict(self), "exact": self.exact})

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read that form. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        fields: dict[str, Any] = json.loads(text)
        del fields["exact"]
        for name in ("column_families", "details"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def churn_family(number: int) -> str:
    """Return the name of the column family that is created before batch `number`."""
    return f"{CHURN_PREFIX}{number}"


def value_of(family: str, number: int, layout: Layout) -> bytes:
    """Return the value that batch `number` puts into `family`: incompressible, and different in each."""
    return b"%d:" % number + shake_128(f"{family}:{number}".encode()).digest(layout.value_bytes)


def position_value(number: int) -> bytes:
    """Return the form of a batch number under `POSITION_KEY`."""
    return b"%d" % number


def batch_writes(number: int, layout: Layout) -> Iterator[FamilyWrite]:
    """Yield all that batch `number` does; it is to be written as one atomic batch, in this order."""
    families = layout.fixed_families
    if churn := layout.newest_churn(number):
        families = (*families, churn_family(churn))
    for family in families:
        value = value_of(family, number, layout)
        entries = [(POSITION_KEY, position_value(number)), (_slot_key(number % layout.ring), value)]
        deleted = None
        if layout.delete_range_every:
            entries.append((_trail_key(number), value))
            if number % layout.delete_range_every == 0:
                deleted = (_trail_key(0), _trail_key(number))
        if number == 1 and family == DEFAULT_FAMILY:
            entries.append((LAYOUT_KEY, layout.to_json()))
        yield FamilyWrite(family, tuple(entries), deleted)


def judge_contents(contents: Mapping[str, Mapping[bytes, bytes]]) -> Verdict:
    """Judge all keys and values of all column families of a replica."""
    described = contents.get(DEFAULT_FAMILY, {}).get(LAYOUT_KEY)
    if described is None:
        return _judge_unwritten(contents)
    try:
        layout = Layout.from_json(described)
    except (ValueError, TypeError):
        return Verdict(opened=True, holes=1, column_families=tuple(contents), details=("layout is unreadable",))
    return _Judgement(layout, contents).verdict()


def _judge_unwritten(contents: Mapping[str, Mapping[bytes, bytes]]) -> Verdict:
    """Judge a replica without batch 1: nothing else may be in it either."""
    details = [f"{family}: has entries, though batch 1 is missing" for family, held in contents.items() if held]
    return Verdict(
        opened=True, torn=len(details), column_families=tuple(contents), details=tuple(details[:_MAX_DETAILS])
    )


class _Judgement:
    """The count of what is wrong with one replica."""

    def __init__(self, layout: Layout, contents: Mapping[str, Mapping[bytes, bytes]]) -> None:
        self._layout = layout
        self._contents = contents
        self._positions = {name: _number_of(held.get(POSITION_KEY)) for name, held in contents.items()}
        self._details: list[str] = []
        self._torn = 0
        self._holes = 0

    def verdict(self) -> Verdict:
        fixed = {name: self._positions.get(name, 0) for name in self._layout.fixed_families}
        position, newest = min(fixed.values()), max(fixed.values())
        for name, number in fixed.items():
            if name not in self._contents:
                self._tear(f"{name}: missing")
            elif number != newest:
                self._tear(f"{name}: is at batch {number}, others at {newest}")
        self._judge_churn(newest)
        for name, number in fixed.items():
            if name in self._contents:
                self._judge_family(name, first=1, position=number)
        return Verdict(
            opened=True,
            position=position,
            torn=self._torn,
            holes=self._holes,
            column_families=tuple(self._contents),
            details=tuple(self._details[:_MAX_DETAILS]),
        )

    def _judge_churn(self, position: int) -> None:
        """Only the churned families that can be there at `position`, each holding what it must."""
        every = self._layout.churn_every
        current = self._layout.newest_churn(position)
        expected = {churn_family(current): position} if current else {}
        allowed = dict(expected)
        if every and position == current and current > every:
            allowed[churn_family(current - every)] = position - 1  # its drop comes after this batch
        if every and position + 1 == current + every:
            allowed[churn_family(current + every)] = 0  # created, and its first batch not yet written
        for name in expected.keys() - self._contents.keys():
            self._tear(f"{name}: missing at batch {position}")
        for name in self._contents.keys() - set(self._layout.fixed_families):
            if name not in allowed:
                self._tear(f"{name}: should not be there at batch {position}")
            elif self._positions[name] != allowed[name]:
                self._tear(f"{name}: is at batch {self._positions[name]}, expected {allowed[name]}")
            else:
                first = int(name.removeprefix(CHURN_PREFIX))
                self._judge_family(name, first=first, position=allowed[name])

    def _judge_family(self, name: str, *, first: int, position: int) -> None:
        """All entries of one family that began with batch `first` and says that it is at `position`."""
        held = dict(self._contents[name])
        held.pop(POSITION_KEY, None)
        held.pop(LAYOUT_KEY, None)
        self._judge_ingested(name, held.pop(INGESTED_KEY, None), position)
        expected = self._expected_entries(name, first, position)
        for key in expected.keys() | held.keys():
            if held.get(key) != expected.get(key):
                self._punch(f"{name}: {key.decode(errors='replace')} {_difference(held, expected, key)}")

    def _expected_entries(self, name: str, first: int, position: int) -> dict[bytes, bytes]:
        layout = self._layout
        oldest_slot = max(first, position - layout.ring + 1)
        entries = {
            _slot_key(number % layout.ring): value_of(name, number, layout)
            for number in range(oldest_slot, position + 1)
        }
        if every := layout.delete_range_every:
            oldest_trail = max(first, position - position % every)
            for number in range(oldest_trail, position + 1):
                entries[_trail_key(number)] = value_of(name, number, layout)
        return entries

    def _judge_ingested(self, name: str, value: bytes | None, position: int) -> None:
        """The newest due number, or the one before if the newest is due just now."""
        every = self._layout.ingest_every
        due = position - position % every if every and not name.startswith(CHURN_PREFIX) else 0
        allowed = {due, due - every} if due and due == position else {due}
        if value not in {ingested_value(name, number, self._layout) for number in allowed}:
            self._punch(f"{name}: ingested {_shown(value)}, expected {' or '.join(map(str, sorted(allowed)))}")

    def _tear(self, detail: str) -> None:
        self._torn += 1
        self._details.append(detail)

    def _punch(self, detail: str) -> None:
        self._holes += 1
        self._details.append(detail)


def ingested_value(family: str, number: int, layout: Layout) -> bytes | None:
    """Return what `INGESTED_KEY` holds once the file of batch `number` is ingested; None for number 0."""
    return value_of(family, number, layout) if number else None


def _slot_key(slot: int) -> bytes:
    return b"%s%06d" % (_SLOT_PREFIX, slot)


def _trail_key(number: int) -> bytes:
    return b"%s%016d" % (_TRAIL_PREFIX, number)


def _number_of(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() else 0


def _shown(value: bytes | None) -> str:
    """Return the batch number at the head of a value, for messages."""
    return "nothing" if value is None else value.partition(b":")[0].decode(errors="replace")


def _difference(held: Mapping[bytes, bytes], expected: Mapping[bytes, bytes], key: bytes) -> str:
    found, wanted = _shown(held.get(key)), _shown(expected.get(key))
    return f"holds {found}, expected {wanted}" if found != wanted else f"holds {found} with a damaged value"
