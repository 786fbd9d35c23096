"""Restoring what was shipped: the newest state, any earlier one, and how a restore goes on while shipping does."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicator.errors import DamageError, NotFoundError, TargetError
from replicator.moments import format_moment
from replicator.replica.layout import ReplicaLayout
from replicator.replica.publish import publish
from replicator.replica.restore import Restored, plan_restore, restore
from tests.support.grown import append, ship, tell
from tests.support.observer import RecordingObserver
from tests.support.replicas import BEGINNING, DATABASE, FakePrimary, current_generation, directory

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

LAYOUT = ReplicaLayout(DATABASE)
SECOND = timedelta(seconds=1)
#: When the first and the second generation are captured.
FIRST, NEXT = BEGINNING + timedelta(minutes=1), BEGINNING + timedelta(minutes=2)
#: What a generation holds besides a database.
OURS = {"replica.json", "SHA256SUMS", "shipped.jsonl"}


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def primary(tmp_path: Path) -> FakePrimary:
    return FakePrimary(tmp_path / "primary", table_bytes=100_000)


@pytest.fixture
def base(tmp_path: Path, primary: FakePrimary) -> Path:
    """Hold one generation, captured at `FIRST`."""
    base = tmp_path / "base"
    send(base, primary)
    return base


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "restored"


def send(base: Path, primary: FakePrimary) -> Path:
    publish(primary.request(), directory(base), RecordingObserver())
    return current_generation(base)


def bring(
    base: Path, target: Path, *, wanted: str | None = None, at: datetime | None = None, force: bool = False
) -> Restored:
    destination = directory(base)
    plan = plan_restore(destination, LAYOUT, target, wanted=wanted, at=at, force=force)
    restored = restore(plan, destination, RecordingObserver())
    assert restored.state_at == plan.state_at
    return restored


def break_off(base: Path, target: Path, *, at: datetime | None = None) -> None:
    """Restore until all but CURRENT is there, so the logs too."""

    def on_bytes(_count: int) -> None:
        if (target / "CURRENT.part").exists():
            raise Killed

    plan = plan_restore(directory(base), LAYOUT, target, at=at)
    with pytest.raises(Killed):
        restore(plan, directory(base), RecordingObserver(on_bytes=on_bytes))
    assert (target / "000014.log").exists()
    assert not (target / "CURRENT").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def grow(generation: Path, primary: FakePrimary, since: datetime) -> list[tuple[datetime, dict[str, bytes]]]:
    """Ship some appends, a second apart, the logs of each reading with one time; return all states."""
    chance = random.Random(1)
    states = [(since, primary.contents())]
    at = since
    for names in (["000014.log"], ["000014.log"], ["000014.log", "000016.log"], ["000016.log", "000020.log"]):
        at += SECOND
        state = dict(states[-1][1])
        for name in names:
            data = chance.randbytes(chance.randrange(1, 5000))
            ship(generation, name, data, at)
            state[name] = state.get(name, b"") + data
        states.append((at, state))
    return states


# --- which state -------------------------------------------------------------------------------------


def test_the_newest_state_is_restored(base: Path, primary: FakePrimary, target: Path) -> None:
    generation = current_generation(base)
    at, newest = grow(generation, primary, FIRST)[-1]
    append(generation, "000020.log", b"torn")
    append(generation, "000022.log", b"of which no line tells yet")
    restored = bring(base, target)
    assert contents(target) == newest
    assert restored.state_at == at
    assert restored.files == len(newest)
    assert restored.size_bytes == restored.bytes_fetched == sum(map(len, newest.values()))


def test_any_instant_is_restored(base: Path, primary: FakePrimary, tmp_path: Path) -> None:
    states = grow(current_generation(base), primary, FIRST)
    for number, (at, expected) in enumerate(states):
        for later in (timedelta(0), SECOND * 0.99):
            target = tmp_path / f"{number}-{later}"
            assert bring(base, target, at=at + later).state_at == at
            assert contents(target) == expected


def test_the_generation_before_has_its_newest_state_too(base: Path, primary: FakePrimary, target: Path) -> None:
    _, newest = grow(current_generation(base), primary, FIRST)[-1]
    send(base, primary)
    bring(base, target, wanted="prev")
    assert contents(target) == newest


def test_without_lines_the_state_is_that_of_the_checkpoint(base: Path, target: Path) -> None:
    assert plan_restore(directory(base), LAYOUT, target).state_at == FIRST


def test_what_cannot_be_believed_is_not_restored(base: Path, primary: FakePrimary, target: Path) -> None:
    generation = current_generation(base)
    at, newest = grow(generation, primary, FIRST)[-1]
    tell(generation, "000020.log", at + SECOND, bytes=10**9)
    assert bring(base, target).state_at == at
    assert contents(target) == newest


def test_nothing_as_old_as_that(base: Path, primary: FakePrimary, target: Path) -> None:
    grow(current_generation(base), primary, FIRST)
    send(base, primary)
    with pytest.raises(NotFoundError, match=r"no state as old as 2026-11-22T15:30:59\.999999Z") as caught:
        bring(base, target, at=FIRST - timedelta(microseconds=1))
    assert format_moment(FIRST) in caught.value.hint
    assert not target.exists()
    with pytest.raises(NotFoundError, match="there is no replica in other"):
        plan_restore(directory(base), ReplicaLayout("other"), target, at=FIRST)


def test_a_generation_and_an_instant_exclude_each_other(base: Path, target: Path) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        bring(base, target, wanted="current", at=FIRST)


# --- across generations ------------------------------------------------------------------------------


def test_the_generation_that_was_shipped_to_meanwhile_has_the_better_state(
    base: Path, primary: FakePrimary, tmp_path: Path
) -> None:
    old = current_generation(base)
    before = grow(old, primary, FIRST)
    # While the next one is uploaded, the old one is shipped to.
    new = send(base, primary)
    meanwhile = [(NEXT + step * SECOND, b"meanwhile %d" % step) for step in range(1, 4)]
    for at, data in meanwhile:
        ship(old, "000020.log", data, at)
    since = grow(new, primary, NEXT + 10 * SECOND)

    newest_of_old = before[-1][1]
    expected = [*before, (NEXT, primary.contents())]
    grown = newest_of_old["000020.log"]
    for at, data in meanwhile:
        grown += data
        expected.append((at, {**newest_of_old, "000020.log": grown}))
    expected += since[1:]
    for number, (at, state) in enumerate(expected):
        restored = bring(base, tmp_path / str(number), at=at + SECOND / 2)
        assert restored.state_at == at
        assert contents(tmp_path / str(number)) == state


def test_the_newest_of_equal_states_is_taken(base: Path, primary: FakePrimary, target: Path) -> None:
    ship(current_generation(base), "000014.log", b"more", NEXT)
    new = send(base, primary)
    assert str(bring(base, target, at=NEXT).generation) == new.name


def test_a_generation_that_cannot_be_read_is_left_out_and_said_so(
    base: Path, primary: FakePrimary, target: Path
) -> None:
    _, newest = grow(current_generation(base), primary, FIRST)[-1]
    damaged = send(base, primary)
    (damaged / "replica.json").write_text("{}")
    plan = plan_restore(directory(base), LAYOUT, target, at=NEXT + SECOND)
    assert f"generation {damaged.name} is left out" in plan.note
    restore(plan, directory(base), RecordingObserver())
    assert contents(target) == newest


def test_with_nothing_to_be_read_there_is_no_state(base: Path, target: Path) -> None:
    (current_generation(base) / "replica.json").write_text("{}")
    for at in (FIRST, FIRST - SECOND):
        with pytest.raises(NotFoundError, match="no generation that can be read"):
            bring(base, target, at=at)


def test_an_id_that_is_later_than_its_capture_does_not_hide_it(tmp_path: Path) -> None:
    primary = FakePrimary(tmp_path / "other-primary")
    early, late = primary.request(), primary.request()
    base = tmp_path / "other"
    for request in (late, early):
        publish(request, directory(base), RecordingObserver())
    # Only the one that was captured after the clock was set back is left, under the id that it got.
    shutil.rmtree(min((base / DATABASE / "generations").iterdir()))
    assert bring(base, tmp_path / "restored", at=FIRST).state_at == FIRST


# --- broken off --------------------------------------------------------------------------------------


def test_a_restore_goes_on_though_the_generation_has_grown(base: Path, primary: FakePrimary, target: Path) -> None:
    generation = current_generation(base)
    at, _ = grow(generation, primary, FIRST)[-1]
    break_off(base, target)
    ship(generation, "000020.log", b"since then", at + SECOND)
    ship(generation, "000030.log", b"born since then", at + 2 * SECOND)
    plan = plan_restore(directory(base), LAYOUT, target)
    assert "going on" in plan.note
    assert {file.name for file in plan.keep} >= {"000010.sst", "000014.log", "000016.log"}
    restore(plan, directory(base), RecordingObserver())
    assert plan.state_at == at + 2 * SECOND
    assert contents(target) == {
        path.name: path.read_bytes() for path in generation.iterdir() if path.name not in OURS
    }


@pytest.mark.parametrize("again", ["same command", "no option", "a moment later"])
def test_a_restore_of_an_instant_goes_on(base: Path, primary: FakePrimary, target: Path, again: str) -> None:
    generation = current_generation(base)
    states = grow(generation, primary, FIRST)
    (asked, first), (next_at, following) = states[2:4]
    break_off(base, target, at=asked)
    ship(generation, "000020.log", b"since then", next_at + 9 * SECOND)
    send(base, primary)
    at = {"same command": asked, "no option": None, "a moment later": next_at}[again]
    plan = plan_restore(directory(base), LAYOUT, target, at=at)
    assert "going on" in plan.note
    assert "000010.sst" in {file.name for file in plan.keep}
    restore(plan, directory(base), RecordingObserver())
    assert contents(target) == (following if again == "a moment later" else first)


def test_an_instant_of_another_generation_is_refused(base: Path, primary: FakePrimary, target: Path) -> None:
    begun = current_generation(base).name
    expected = primary.contents()
    break_off(base, target, at=FIRST)
    primary.append("000014.log", 10)
    newer = send(base, primary)
    with pytest.raises(TargetError, match=f"of generation {begun}, not of {newer.name}") as caught:
        bring(base, target, at=NEXT)
    assert "--force" in caught.value.hint
    bring(base, target)
    assert contents(target) == expected
    bring(base, target, at=NEXT, force=True)
    assert contents(target) == primary.contents()


# --- damage ------------------------------------------------------------------------------------------


def test_of_a_damaged_log_an_earlier_state_can_be_restored(
    base: Path, primary: FakePrimary, tmp_path: Path
) -> None:
    generation = current_generation(base)
    states = grow(generation, primary, FIRST)
    with (generation / "000014.log").open("r+b") as log:
        log.seek(len(states[1][1]["000014.log"]))
        log.write(b"damaged")
    with pytest.raises(DamageError, match=r"000014\.log does not have the SHA-256") as caught:
        bring(base, tmp_path / "newest")
    assert f"--at and a time before {format_moment(states[-1][0])}" in caught.value.hint
    assert not (tmp_path / "newest" / "CURRENT").exists()
    bring(base, tmp_path / "earlier", at=states[1][0])
    assert contents(tmp_path / "earlier") == states[1][1]


def test_of_a_damaged_table_no_state_of_that_generation_can(
    base: Path, primary: FakePrimary, target: Path
) -> None:
    generation = current_generation(base)
    grow(generation, primary, FIRST)
    (generation / "000011.sst").write_bytes(bytes(100_000))
    with pytest.raises(DamageError) as caught:
        bring(base, target)
    assert "another generation" in caught.value.hint
