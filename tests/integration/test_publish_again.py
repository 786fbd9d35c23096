"""Publishing again and again from one process: what it left is not looked at again, nor anything lost by that."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from replicator.destination.directory import DirectoryDestination
from replicator.errors import WrongWriterError
from replicator.replica.confirming import confirm, unchanged_generation
from replicator.replica.generations import read_catalog, read_shipped
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.memory import ReplicaMemory
from replicator.replica.publish import Published, PublishStep, publish
from replicator.replica.retention import KeepPolicy
from replicator.replica.shipped import newest_state
from tests.support.grown import append, ship
from tests.support.observer import RecordingObserver
from tests.support.replicas import (
    ALWAYS_SENT,
    BEGINNING,
    DATABASE,
    WRITER,
    FakePrimary,
    current_generation,
    database_files,
    sound_catalog,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Entry, Link
    from replicator.replica.shipped import ReplicaState, ShippedLine

KEEP = KeepPolicy(last=1)


class Watched(DirectoryDestination):
    """Counts what is listed and linked; `session` is as the test says."""

    number = 1

    def __init__(self, base: Path) -> None:
        base.mkdir(exist_ok=True)
        super().__init__(base, label="watched")
        self.listed: list[str] = []
        self.linked: list[str] = []
        self.fails_at = ""

    @property
    def session(self) -> int:
        return self.number

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        self.listed.append(folder.name)
        return super().list_folder(folder)

    def link(self, links: Sequence[Link]) -> None:
        self.linked += [item.target.name for item in links]
        super().link(links)


class Killed(BaseException):
    """The process dies here."""


class Place:
    """One database at one destination, published to from one process."""

    def __init__(self, tmp_path: Path) -> None:
        self.base = tmp_path / "base"
        self.primary = FakePrimary(tmp_path / "primary")
        self.destination = Watched(self.base)
        self.memory = ReplicaMemory()

    @property
    def folder(self) -> Path:
        return self.base / DATABASE

    def publish(
        self, *, kill_at: PublishStep | None = None, keep: KeepPolicy = KEEP, restarted: bool = False
    ) -> tuple[Published, set[str]]:
        """Publish and check the replica; return also the names that were sent."""

        def progress(step: PublishStep) -> None:
            if step is kill_at:
                raise Killed

        if restarted:
            self.memory = ReplicaMemory()
        self.destination.listed.clear()
        self.destination.linked.clear()
        observer = RecordingObserver()
        published = publish(
            self.primary.request(keep=keep), self.destination, observer, memory=self.memory, progress=progress
        )
        assert published.problems == ()
        self.check()
        assert current_generation(self.base).name == str(published.generation)
        assert database_files(current_generation(self.base)) == self.primary.contents()
        return published, {target.rpartition("/")[2] for target, _ in observer.done}

    def check(self) -> None:
        """Every generation is whole, and no more than a seed lies in `incoming/`, which takes no space."""
        for generation in (self.folder / "generations").iterdir():
            if not (generation / "shipped.jsonl").exists():
                sound_catalog(generation)
        for seed in (self.folder / "incoming").iterdir():
            for path in seed.iterdir():
                assert path.name == "replica.json" or path.suffix in {".sst", ".blob"}
                assert path.name == "replica.json" or path.samefile(current_generation(self.base) / path.name)

    def seeds(self) -> list[Path]:
        return list((self.folder / "incoming").iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def settled(place: Place) -> Place:
    """Publish as often as it takes until a retired generation is the seed of the next."""
    for _ in range(3):
        place.publish()
    assert place.seeds()
    return place


def test_a_known_replica_is_neither_listed_nor_linked_anew(place: Place) -> None:
    settled(place)
    place.primary.add_table(21)
    _, names = place.publish()
    assert names == ALWAYS_SENT | {"000021.sst"}
    # Of the folders of generations only the one that was retired is listed.
    assert [name for name in place.destination.listed if name.startswith("2026")] == [place.seeds()[0].name]
    assert place.destination.linked == ["000008.log"]
    place.primary.remove("000010.sst")
    settled(place)
    assert place.destination.linked == ["000008.log"]


def test_each_generation_may_be_the_seed_when_more_are_kept(place: Place) -> None:
    keep = KeepPolicy(last=4)
    for number in range(30, 42):
        place.primary.add_table(number)
        if number % 3 == 0:
            place.primary.remove(f"{number - 1:06d}.sst") if number > 30 else None
        _, names = place.publish(keep=keep)
        assert names >= ALWAYS_SENT
        if number > 30:
            assert names == ALWAYS_SENT | {f"{number:06d}.sst"}
    assert len(list((place.folder / "generations").iterdir())) == 4
    assert set(place.destination.linked) <= {"000008.log", *(f"{number:06d}.sst" for number in range(36, 41))}


def test_what_the_seed_has_of_another_table_of_the_same_name_is_not_taken(place: Place) -> None:
    settled(place)
    place.primary.add_table(11)
    _, names = place.publish()
    assert names == ALWAYS_SENT | {"000011.sst"}
    for _ in range(3):
        _, names = place.publish()
        assert names == ALWAYS_SENT


def test_what_was_shipped_to_a_retired_generation_does_not_come_back(place: Place) -> None:
    settled(place)
    for number in range(4):
        generation = current_generation(place.base)
        place.primary.write(f"{30 + number:06d}.log", bytes(500))
        ship(generation, f"{30 + number:06d}.log", bytes(500), BEGINNING)
        _, names = place.publish()
        assert names == ALWAYS_SENT
        # A log that was begun, of which no line tells.
        generation = current_generation(place.base)
        append(generation, f"{90 + number:06d}.log", b"torn")
        (generation / "LOG").write_bytes(b"somebody opened it")
        (generation / "shipped.jsonl").touch()
        place.publish()


def test_only_the_rest_of_a_log_that_was_shipped_is_sent(place: Place) -> None:
    settled(place)
    ship(current_generation(place.base), "000014.log", place.primary.append("000014.log", 300), BEGINNING)
    place.primary.append("000014.log", 70)
    published, names = place.publish()
    assert names == ALWAYS_SENT | {"000014.log"}
    small = sum(len(place.primary.contents()[name]) for name in ALWAYS_SENT)
    assert published.bytes_sent == small + 70


def test_lines_of_bytes_that_are_not_there_count_for_nothing(place: Place) -> None:
    settled(place)
    ship(current_generation(place.base), "000014.log", place.primary.append("000014.log", 300), BEGINNING)
    log = current_generation(place.base) / "000014.log"
    os.truncate(log, log.stat().st_size - 10)
    place.publish()


def test_another_writer_is_noticed(place: Place) -> None:
    settled(place)
    stranger = FakePrimary(place.base.with_name("stranger"))
    for _ in range(10):
        stranger.request()
    request = stranger.request(writer=type(WRITER)("beta", "/srv", "other"), take_over=True)
    publish(request, Watched(place.base), RecordingObserver())
    with pytest.raises(WrongWriterError):
        place.publish()


@pytest.mark.parametrize("meddling", ["removed", "added to the seed", "removed from the seed", "link", "session"])
def test_what_is_not_as_it_was_left_is_looked_at_again(place: Place, meddling: str) -> None:
    settled(place)
    (seed,) = place.seeds()
    if meddling == "removed":
        for path in (current_generation(place.base) / "000012.sst", seed / "000012.sst"):
            path.unlink()
    elif meddling == "added to the seed":
        (seed / "000099.log").write_bytes(b"not ours")
    elif meddling == "removed from the seed":
        (seed / "000012.sst").unlink()
    elif meddling == "link":
        (place.folder / "checkpoint_current").unlink()
    else:
        place.destination.number = 2
    if meddling not in {"link", "session"}:
        # The clock of a folder counts seconds, and the test takes less.
        os.utime(seed, (1, 1))
    _, names = _published_unchecked(place)
    assert names == ALWAYS_SENT | ({"000012.sst"} if meddling == "removed" else set())


def test_a_table_that_is_gone_from_where_it_is_linked_from_is_sent_again(place: Place) -> None:
    settled(place)
    place.primary.add_table(21)
    place.publish()
    (current_generation(place.base) / "000021.sst").unlink()
    _, names = _published_unchecked(place)
    assert names == ALWAYS_SENT | {"000021.sst"}


def _published_unchecked(place: Place) -> tuple[Published, set[str]]:
    """Publish where older generations are not whole."""
    observer = RecordingObserver()
    published = publish(place.primary.request(keep=KEEP), place.destination, observer, memory=place.memory)
    sound_catalog(current_generation(place.base))
    assert database_files(current_generation(place.base)) == place.primary.contents()
    return published, {target.rpartition("/")[2] for target, _ in observer.done}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("step", PublishStep)
def test_a_kill_at_any_step_costs_nothing(place: Place, step: PublishStep, *, restarted: bool) -> None:
    settled(place)
    before, held = current_generation(place.base), place.primary.contents()
    place.primary.add_table(11)
    place.primary.add_table(21)
    place.primary.remove("000010.sst")
    with pytest.raises(Killed):
        place.publish(kill_at=step)
    if step not in {PublishStep.RETIRE, PublishStep.CLEAN}:
        assert current_generation(place.base) == before
        assert database_files(before) == held
    sound_catalog(current_generation(place.base))
    _, names = place.publish(restarted=restarted)
    was_sent = list(PublishStep).index(step) > list(PublishStep).index(PublishStep.UPLOAD)
    assert names == ALWAYS_SENT | (set() if was_sent else {"000011.sst", "000021.sst"})
    settled(place)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_the_current_generation_is_sound(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    keep = KeepPolicy(last=chance.choice([1, 2, 3]))
    for turn in range(40):
        change = chance.randrange(5)
        if change == 0:
            place.primary.add_table(chance.choice([11, 12, 30 + turn]))
        elif change == 1:
            place.primary.append("000014.log", chance.randrange(1, 900))
        elif change == 2 and (place.folder / "checkpoint_current").exists():
            generation = current_generation(place.base)
            ship(generation, "000014.log", place.primary.append("000014.log", 100), BEGINNING)
        elif change == 3:
            tables = sorted(path.name for path in place.primary.folder.glob("*.sst"))
            if len(tables) > 2:
                place.primary.remove(chance.choice(tables))
        if chance.random() < 0.1:
            place.destination.number += 1
        step = chance.choice([None, None, None, *PublishStep])
        with pytest.raises(Killed) if step else nullcontext():
            place.publish(kill_at=step, keep=keep, restarted=chance.random() < 0.2)
    place.publish(keep=keep)


# --- nothing new ---------------------------------------------------------------------------------------


def confirmed(place: Place) -> datetime | None:
    """Let the current generation say that it is as new as the checkpoint; return when that was, if it does."""
    request = place.primary.request(keep=KEEP)
    if unchanged_generation(request, place.destination, place.memory) is None:
        return None
    return request.captured_at if confirm(request, place.destination, place.memory) else None


def test_a_database_that_rests_is_confirmed_again_and_again(place: Place) -> None:
    settled(place)
    generation = current_generation(place.base)
    for count in range(1, 4):
        at = confirmed(place)
        assert at is not None
        state, lines = _state(place)
        assert state.at == at
        assert len(lines) == count
        assert {file.name: (file.size_bytes, file.sha256) for file in state.files} == {
            name: (len(content), hashlib.sha256(content).hexdigest())
            for name, content in place.primary.contents().items()
        }
    assert current_generation(place.base) == generation
    place.primary.add_table(21)
    assert confirmed(place) is None
    _, names = place.publish()
    assert names == ALWAYS_SENT | {"000021.sst"}
    settled(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda primary: primary.append("000014.log", 1),
        lambda primary: primary.add_table(11),
        lambda primary: primary.remove("000010.sst"),
        lambda primary: primary.write("MANIFEST-000004", bytes(700)),
        lambda primary: primary.write("000014.log", bytes(3_000)),
        lambda primary: primary.write("000099.log", b""),
        lambda primary: primary.write("000013.blob", bytes(20_000)),
    ],
)
def test_whatever_changes_makes_a_generation(place: Place, change: Callable[[FakePrimary], None]) -> None:
    settled(place)
    change(place.primary)
    assert confirmed(place) is None
    place.publish()
    assert confirmed(place) is not None


def test_what_is_not_known_for_sure_is_published(place: Place) -> None:
    assert confirmed(place) is None
    place.publish()
    assert confirmed(place) is not None
    place.destination.number += 1
    assert confirmed(place) is None
    place.publish()
    (place.folder / "checkpoint_current").unlink()
    assert confirmed(place) is None


def test_a_journal_that_is_not_as_it_was_left_makes_a_generation(place: Place) -> None:
    settled(place)
    assert confirmed(place) is not None
    (current_generation(place.base) / "shipped.jsonl").unlink()
    assert confirmed(place) is None
    place.publish()


def _state(place: Place) -> tuple[ReplicaState, tuple[ShippedLine, ...]]:
    layout = ReplicaLayout(DATABASE)
    generation = GenerationId.parse(current_generation(place.base).name)
    catalog = read_catalog(place.destination, layout, generation)
    lines = read_shipped(place.destination, layout, catalog)
    return newest_state(catalog, lines), lines
