"""What the demo reads in the served folder: what can be restored at an instant, and nothing that came later."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicator.demo.served import Held, ServedReplica
from replicator.replica.publish import publish
from tests.support.grown import append, ship
from tests.support.observer import RecordingObserver
from tests.support.replicas import BEGINNING, DATABASE, FakePrimary, current_generation, directory

if TYPE_CHECKING:
    from pathlib import Path

CAPTURED = BEGINNING + timedelta(minutes=1)
FIRST, SECOND, THIRD = (CAPTURED + timedelta(seconds=seconds) for seconds in (1, 2, 3))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    return base


@pytest.fixture
def primary(tmp_path: Path) -> FakePrimary:
    return FakePrimary(tmp_path / "primary")


@pytest.fixture
def generation(base: Path, primary: FakePrimary) -> Path:
    publish(primary.request(), directory(base), RecordingObserver())
    return current_generation(base)


def held(replica: ServedReplica) -> Held:
    found = replica.held()
    assert found is not None
    return found


def test_before_a_publish_nothing_is_held(base: Path) -> None:
    assert ServedReplica(base, DATABASE).held() is None


@pytest.mark.usefixtures("generation")
def test_without_shipping_it_is_the_checkpoint(base: Path) -> None:
    replica = ServedReplica(base, DATABASE)
    assert held(replica).state_at == replica.last_complete(held(replica)) == CAPTURED
    assert replica.shipped_bytes() == 0


def test_what_is_confirmed_counts_at_once(base: Path, generation: Path) -> None:
    replica = ServedReplica(base, DATABASE)
    ship(generation, "000014.log", b"one", FIRST)
    append(generation, "000014.log", b"of which no line tells yet")
    assert held(replica).state_at == replica.last_complete(held(replica)) == FIRST
    assert replica.shipped_bytes() == len(b"one")


def test_what_comes_later_does_not_count(base: Path, generation: Path) -> None:
    replica = ServedReplica(base, DATABASE)
    ship(generation, "000014.log", b"one", FIRST)
    then = held(replica)
    ship(generation, "000014.log", b"two", SECOND)
    ship(generation, "000016.log", b"three", THIRD)
    assert replica.last_complete(then) == FIRST


def test_a_state_that_was_there_in_part_does_not_count(base: Path, generation: Path) -> None:
    replica = ServedReplica(base, DATABASE)
    ship(generation, "000014.log", b"one", FIRST)
    ship(generation, "000014.log", b"two", SECOND)
    then = held(replica)
    ship(generation, "000016.log", b"of the same look", SECOND)
    assert then.state_at == SECOND
    assert replica.last_complete(then) == FIRST


def test_all_generations_have_grown(base: Path, generation: Path, primary: FakePrimary) -> None:
    ship(generation, "000014.log", b"one", FIRST)
    publish(primary.request(), directory(base), RecordingObserver())
    ship(current_generation(base), "000016.log", b"three", CAPTURED + timedelta(minutes=2))
    assert ServedReplica(base, DATABASE).shipped_bytes() == len(b"one") + len(b"three")
