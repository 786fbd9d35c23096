"""Publishing to a folder: what arrives, what is not sent again, and what a cut at any point leaves behind."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicator.destination.directory import DirectoryDestination
from replicator.destination.interface import Capabilities
from replicator.errors import (
    AccessDeniedError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    ProtocolError,
    SourceChangedError,
    WrongWriterError,
)
from replicator.replica.publish import Published, PublishStep, publish
from replicator.replica.retention import KeepPolicy
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
    directory,
    sound_catalog,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Link
    from replicator.replica.catalog import Writer
    from replicator.replica.decision import PublishRequest


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def primary(tmp_path: Path) -> FakePrimary:
    return FakePrimary(tmp_path / "primary")


def send(base: Path, request: PublishRequest) -> tuple[Published, set[str]]:
    """Publish; return also the names of the files that were sent."""
    observer = RecordingObserver()
    published = publish(request, directory(base), observer)
    names = sent_names(observer)
    assert published.files_sent == len(names)
    assert published.bytes_sent == observer.moved_bytes
    assert published.problems == ()
    return published, names


def sent_names(observer: RecordingObserver) -> set[str]:
    return {target.rpartition("/")[2] for target, _ in observer.done}


def killer(step: PublishStep) -> Callable[[PublishStep], None]:
    def progress(reached: PublishStep) -> None:
        if reached is step:
            raise Killed

    return progress


def generations(base: Path) -> list[str]:
    return sorted(path.name for path in (base / DATABASE / "generations").iterdir())


def test_a_publish_arrives_as_it_is(base: Path, primary: FakePrimary) -> None:
    published, names = send(base, primary.request())
    generation = current_generation(base)
    catalog = sound_catalog(generation)
    assert generation.name == str(published.generation) == "20261122T153100.000Z"
    assert database_files(generation) == primary.contents()
    assert names == set(primary.contents())
    assert published.bytes_sent == sum(map(len, primary.contents().values()))
    assert catalog.writer == WRITER
    assert catalog.column_families == ("default", "events")
    assert not list((base / DATABASE / "incoming").iterdir())
    assert (base / DATABASE / "checkpoint_current").readlink().as_posix() == f"generations/{generation.name}"
    assert not (base / DATABASE / "checkpoint_prev").exists()


def test_a_catalog_too_large_to_be_read_back_is_refused_before_anything_is_sent(
    base: Path, primary: FakePrimary, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(base, primary.request())
    size_bytes = (current_generation(base) / "replica.json").stat().st_size
    # The real limit takes a quarter of a million files to reach.
    monkeypatch.setattr("replicator.replica.publication.CATALOG_LIMIT_BYTES", size_bytes - 1)
    observer = RecordingObserver()
    with pytest.raises(ProtocolError, match="catalog would be larger"):
        publish(primary.request(), directory(base), observer)
    assert not observer.done
    assert len(generations(base)) == 1


def test_a_folder_that_vanishes_is_told_and_not_made_anew(base: Path, primary: FakePrimary) -> None:
    place = directory(base)
    base.rename(base.with_name("away"))
    with pytest.raises(NotFoundError, match="there is no folder") as caught:
        publish(primary.request(), place, RecordingObserver())
    assert "mount" in caught.value.hint
    assert not base.exists()


def test_coreutils_accept_the_checksums(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=current_generation(base), check=True)


def test_a_second_publish_sends_next_to_nothing(base: Path, tmp_path: Path) -> None:
    primary = FakePrimary(tmp_path / "primary", table_bytes=200_000)
    first, _ = send(base, primary.request())
    second, names = send(base, primary.request())
    assert names == ALWAYS_SENT
    assert second.bytes_sent * 100 < first.bytes_sent
    assert second.files_reused == len(primary.contents()) - len(ALWAYS_SENT)
    assert second.generation > first.generation
    assert database_files(current_generation(base)) == primary.contents()
    assert (base / DATABASE / "checkpoint_prev").resolve().name == str(first.generation)
    sound_catalog(current_generation(base))


def test_a_table_of_equal_name_and_size_with_other_contents_is_sent(base: Path, primary: FakePrimary) -> None:
    first, _ = send(base, primary.request())
    primary.add_table(11)
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT | {"000011.sst"}
    assert database_files(current_generation(base)) == primary.contents()
    sound_catalog(base / DATABASE / "generations" / str(first.generation))


def test_a_damaged_stored_file_of_another_size_is_sent_again(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    with (current_generation(base) / "000011.sst").open("ab") as file:
        file.write(b"!")
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT | {"000011.sst"}
    sound_catalog(current_generation(base))


def test_of_a_grown_log_only_the_rest_is_sent_and_the_old_generation_does_not_change(
    base: Path, primary: FakePrimary
) -> None:
    first, _ = send(base, primary.request())
    old = base / DATABASE / "generations" / str(first.generation)
    before = database_files(old)
    primary.append("000014.log", 77)
    second, names = send(base, primary.request())
    assert names == ALWAYS_SENT | {"000014.log"}
    small = sum(len(primary.contents()[name]) for name in ALWAYS_SENT)
    assert second.bytes_sent == small + 77
    assert database_files(old) == before
    assert database_files(current_generation(base)) == primary.contents()


def test_generations_share_tables_and_closed_logs_but_not_the_newest_log(base: Path, primary: FakePrimary) -> None:
    first, _ = send(base, primary.request())
    send(base, primary.request())
    old, new = base / DATABASE / "generations" / str(first.generation), current_generation(base)
    shared = {name for name in primary.contents() if (old / name).samefile(new / name)}
    assert shared == {"000008.log", "000010.sst", "000011.sst", "000012.sst", "000013.blob"}


def test_ids_rise_though_the_clock_is_set_back(base: Path, primary: FakePrimary) -> None:
    early, late = primary.request(), primary.request()
    first, _ = send(base, late)
    second, _ = send(base, early)
    assert second.generation > first.generation
    assert current_generation(base).name == str(second.generation)


# --- generations that were shipped to ---------------------------------------------------------------


def test_what_was_shipped_is_not_sent_again(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    old = current_generation(base)
    for size_bytes in (70, 80, 90):
        grown = primary.append("000014.log", size_bytes)
        ship(old, "000014.log", grown, BEGINNING)
    primary.write("000020.log", bytes(500))
    ship(old, "000020.log", bytes(400), BEGINNING)
    append(old, "000020.log", b"torn")
    before = database_files(old)
    # Not all that was shipped is in the checkpoint, nor all that is in the checkpoint was shipped.
    (primary.folder / "000014.log").write_bytes(primary.contents()["000014.log"][:-30])
    published, names = send(base, primary.request())
    assert names == ALWAYS_SENT | {"000014.log", "000020.log"}
    small = sum(len(primary.contents()[name]) for name in ALWAYS_SENT)
    assert published.bytes_sent == small + 60 + 100
    assert database_files(current_generation(base)) == primary.contents()
    assert database_files(old) == before
    sound_catalog(current_generation(base))


def test_a_log_that_was_shipped_to_its_end_is_linked_once_there_is_a_newer_one(
    base: Path, primary: FakePrimary
) -> None:
    send(base, primary.request())
    old = current_generation(base)
    ship(old, "000014.log", primary.append("000014.log", 77), BEGINNING)
    primary.write("000020.log", bytes(500))
    ship(old, "000020.log", bytes(500), BEGINNING)
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT
    new = current_generation(base)
    assert (old / "000014.log").samefile(new / "000014.log")
    assert not (old / "000020.log").samefile(new / "000020.log")
    assert database_files(new) == primary.contents()
    sound_catalog(new)


@pytest.mark.parametrize(
    "step", [PublishStep.PREPARE, PublishStep.REUSE, PublishStep.UPLOAD, PublishStep.COMPLETE]
)
def test_what_is_shipped_while_a_publish_is_under_way_does_not_get_into_it(
    base: Path, primary: FakePrimary, step: PublishStep
) -> None:
    send(base, primary.request())
    old = current_generation(base)

    def meanwhile(reached: PublishStep) -> None:
        if reached is step:
            ship(old, "000014.log", b"shipped meanwhile", BEGINNING)
            append(old, "000014.log", b"torn")

    publish(primary.request(), directory(base), RecordingObserver(), progress=meanwhile)
    assert database_files(current_generation(base)) == primary.contents()
    sound_catalog(current_generation(base))


@pytest.mark.parametrize("content", [b"rubbish\n", b"", b"x" * 200])
def test_a_journal_that_cannot_be_used_does_not_hold_up_a_publish(
    base: Path, primary: FakePrimary, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(base, primary.request())
    (current_generation(base) / "shipped.jsonl").write_bytes(content)
    monkeypatch.setattr("replicator.replica.generations.SHIPPED_LIMIT_BYTES", 100)
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT


# --- writers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stranger",
    [replace(WRITER, host="beta"), replace(WRITER, database_path="/srv"), replace(WRITER, database_id="other")],
)
def test_another_writer_is_refused_until_it_takes_over(base: Path, primary: FakePrimary, stranger: Writer) -> None:
    first, _ = send(base, primary.request())
    with pytest.raises(WrongWriterError, match=f"host 'alpha'.* published {first.generation} last") as caught:
        send(base, primary.request(writer=stranger))
    assert "--take-over" in caught.value.hint
    assert generations(base) == [str(first.generation)]

    send(base, primary.request(writer=stranger, take_over=True))
    send(base, primary.request(writer=stranger))
    with pytest.raises(WrongWriterError):
        send(base, primary.request())


def test_a_writer_who_comes_second_does_not_flip(base: Path, primary: FakePrimary) -> None:
    stranger = replace(WRITER, host="beta")
    slow = primary.request()

    def meanwhile(step: PublishStep) -> None:
        if step is PublishStep.COMPLETE:
            send(base, primary.request(writer=stranger))

    with pytest.raises(WrongWriterError, match="in the meantime"):
        publish(slow, directory(base), RecordingObserver(), progress=meanwhile)
    assert sound_catalog(current_generation(base)).writer == stranger


def test_with_every_catalog_damaged_nobody_is_the_writer(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    (current_generation(base) / "replica.json").write_bytes(b"{}")
    with pytest.raises(WrongWriterError, match="catalogs are all damaged"):
        send(base, primary.request())
    _, names = send(base, primary.request(take_over=True))
    assert names == set(primary.contents())


def test_a_damaged_newest_catalog_leaves_the_one_before_to_go_by(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    send(base, primary.request())
    (current_generation(base) / "replica.json").write_bytes(b"{}")
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT
    sound_catalog(current_generation(base))


def test_names_that_do_not_belong_there_are_left_alone(base: Path, primary: FakePrimary) -> None:
    foreign = [base / DATABASE / "generations" / "lost+found", base / DATABASE / "incoming" / "notes"]
    for folder in foreign:
        folder.mkdir(parents=True)
    (base / DATABASE / "checkpoint_current").symlink_to("../../etc")
    send(base, primary.request())
    sound_catalog(current_generation(base))
    assert all(folder.is_dir() for folder in foreign)


# --- a cut at any point ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", PublishStep)
@pytest.mark.parametrize("first_publish", [True, False], ids=["first", "second"])
def test_a_kill_before_any_step_costs_nothing_that_was_finished(
    base: Path, primary: FakePrimary, step: PublishStep, *, first_publish: bool
) -> None:
    before = None
    if not first_publish:
        before, _ = send(base, primary.request())
    held = primary.contents()
    primary.add_table(21)
    primary.append("000014.log", 500)
    observer = RecordingObserver()
    with pytest.raises(Killed):
        publish(primary.request(), directory(base), observer, progress=killer(step))

    link = base / DATABASE / "checkpoint_current"
    flipped = step in {PublishStep.RETIRE, PublishStep.CLEAN}
    if flipped:
        sound_catalog(current_generation(base))
        assert database_files(current_generation(base)) == primary.contents()
    elif before:
        assert current_generation(base).name == str(before.generation)
        sound_catalog(current_generation(base))
        assert database_files(current_generation(base)) == held
    else:
        assert not link.is_symlink()

    published, names = send(base, primary.request())
    uploaded = bool(observer.done)
    assert uploaded == (list(PublishStep).index(step) > list(PublishStep).index(PublishStep.UPLOAD))
    if uploaded:
        assert names == ALWAYS_SENT
    elif before:
        assert names == ALWAYS_SENT | {"000021.sst", "000014.log"}
    else:
        assert names == set(primary.contents())
    assert current_generation(base).name == str(published.generation)
    assert database_files(current_generation(base)) == primary.contents()
    for name in generations(base):
        sound_catalog(base / DATABASE / "generations" / name)
    assert not list((base / DATABASE / "incoming").iterdir())


def test_a_kill_in_the_middle_of_a_file_costs_that_file(base: Path, primary: FakePrimary) -> None:
    moved: list[int] = []

    def on_bytes(count: int) -> None:
        moved.append(count)
        if len(moved) == 6:
            raise Killed

    observer = RecordingObserver(on_bytes=on_bytes)
    with pytest.raises(Killed):
        publish(primary.request(), directory(base), observer)
    done = sent_names(observer)
    assert done & {"000010.sst", "000011.sst"}
    _, names = send(base, primary.request())
    assert names == (set(primary.contents()) - done) | ALWAYS_SENT
    assert database_files(current_generation(base)) == primary.contents()
    sound_catalog(current_generation(base))


def test_an_upload_that_broke_off_is_not_mistaken_for_what_came_since(base: Path, primary: FakePrimary) -> None:
    with pytest.raises(Killed):
        publish(primary.request(), directory(base), RecordingObserver(), progress=killer(PublishStep.CATALOG))
    primary.add_table(11)
    primary.remove("000012.sst")
    primary.write("000014.log", b"another log of this name")
    _, names = send(base, primary.request())
    assert names == ALWAYS_SENT | {"000011.sst", "000014.log"}
    assert database_files(current_generation(base)) == primary.contents()
    sound_catalog(current_generation(base))


def test_an_upload_of_somebody_else_that_broke_off_is_not_used(base: Path, primary: FakePrimary) -> None:
    with pytest.raises(Killed):
        publish(primary.request(), directory(base), RecordingObserver(), progress=killer(PublishStep.CATALOG))
    _, names = send(base, primary.request(writer=replace(WRITER, host="beta")))
    assert names == set(primary.contents())
    assert not list((base / DATABASE / "incoming").iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_current_generation_is_sound_and_ids_rise(
    base: Path, primary: FakePrimary, seed: int
) -> None:
    chance = random.Random(seed)
    highest = ""
    for turn in range(25):
        change = chance.randrange(4)
        if change == 0:
            primary.add_table(chance.choice([11, 12, 30 + turn]))
        elif change == 1:
            primary.append("000014.log", chance.randrange(1, 2000))
        step = chance.choice([*PublishStep, None, None])
        request = primary.request(keep=KeepPolicy(last=3))
        try:
            publish(
                request,
                directory(base),
                RecordingObserver(),
                progress=killer(step) if step else lambda _step: None,
            )
        except Killed:
            pass
        else:
            assert database_files(current_generation(base)) == primary.contents()
        if (base / DATABASE / "checkpoint_current").is_symlink():
            current = current_generation(base)
            sound_catalog(current)
            assert current.name >= highest
            highest = current.name
        for name in generations(base) if (base / DATABASE / "generations").is_dir() else ():
            sound_catalog(base / DATABASE / "generations" / name)


# --- retention ---------------------------------------------------------------------------------------


def test_old_generations_go(base: Path, primary: FakePrimary) -> None:
    published = [send(base, primary.request(keep=KeepPolicy(last=3)))[0] for _ in range(5)]
    assert generations(base) == [str(one.generation) for one in published[-3:]]
    for name in generations(base):
        sound_catalog(base / DATABASE / "generations" / name)


def test_what_a_link_names_stays(base: Path, primary: FakePrimary) -> None:
    first, _ = send(base, primary.request(keep=KeepPolicy(last=1)))
    (base / DATABASE / "before-the-upgrade").symlink_to(f"generations/{first.generation}")
    later = [send(base, primary.request(keep=KeepPolicy(last=1)))[0] for _ in range(3)]
    assert generations(base) == [str(one.generation) for one in (first, *later[-2:])]


class NoRemoval(DirectoryDestination):
    """A folder of which nothing can be removed."""

    def remove_tree(self, path: PurePosixPath) -> None:
        raise AccessDeniedError(f"may not remove {path}")


def test_a_publish_succeeds_though_old_generations_cannot_be_removed(base: Path, primary: FakePrimary) -> None:
    for _ in range(2):
        send(base, primary.request())
    keep = KeepPolicy(last=1)
    published = publish(primary.request(keep=keep), NoRemoval(base, label="test"), RecordingObserver())
    assert "may not remove" in published.problems[0]
    assert current_generation(base).name == str(published.generation)
    # What could not be removed is neither a generation any more nor taken for an upload to go on with.
    retired = {path.name for path in (base / DATABASE / "incoming").iterdir()}
    assert retired
    with pytest.raises(Killed):
        publish(primary.request(), directory(base), RecordingObserver(), progress=killer(PublishStep.UPLOAD))
    assert retired < {path.name for path in (base / DATABASE / "incoming").iterdir()}
    _, names = send(base, primary.request(keep=keep))
    assert names == ALWAYS_SENT
    assert not list((base / DATABASE / "incoming").iterdir())


# --- destinations that can do less, and trouble ------------------------------------------------------


class Restricted(DirectoryDestination):
    """A folder behind a server that lacks operations."""

    offered = Capabilities(hard_link=False, server_copy=False, fsync=False, free_space=False)

    def capabilities(self) -> Capabilities:
        return self.offered

    def link(self, links: Sequence[Link]) -> None:
        if links:
            raise MissingCapabilityError("no hard links")

    def copy(self, links: Sequence[Link]) -> None:
        if links and not self.offered.server_copy:
            raise MissingCapabilityError("no copies")


class CopyOnly(Restricted):
    """Has the server-side copy only."""

    offered = Restricted.offered._replace(server_copy=True)

    def copy(self, links: Sequence[Link]) -> None:
        DirectoryDestination.copy(self, links)


def test_without_hard_links_the_server_copies(base: Path, primary: FakePrimary) -> None:
    send(base, primary.request())
    observer = RecordingObserver()
    published = publish(primary.request(), CopyOnly(base, label="test"), observer)
    assert published.files_sent == len(ALWAYS_SENT)
    sound_catalog(current_generation(base))


def test_a_server_that_lacks_everything_is_refused_unless_full_uploads_are_allowed(
    base: Path, primary: FakePrimary
) -> None:
    base.mkdir()
    destination = Restricted(base, label="test")
    with pytest.raises(MissingCapabilityError):
        publish(primary.request(), destination, RecordingObserver())
    assert not list(base.iterdir())
    for _ in range(2):
        published = publish(replace(primary.request(), reupload=True), destination, RecordingObserver())
        assert published.files_sent == len(primary.contents())
    sound_catalog(current_generation(base))


def test_too_little_space_is_noticed_before_anything_is_sent(base: Path, primary: FakePrimary) -> None:
    class Full(DirectoryDestination):
        def free_bytes(self) -> int:
            return 1000

    base.mkdir()
    with pytest.raises(NoSpaceError, match="1000 are free"):
        publish(primary.request(), Full(base, label="test"), RecordingObserver())
    assert not list(base.iterdir())


def test_a_file_that_the_destination_loses_is_noticed_before_the_flip(base: Path, primary: FakePrimary) -> None:
    before, _ = send(base, primary.request())

    def lose(step: PublishStep) -> None:
        if step is PublishStep.CATALOG:
            (path,) = (base / DATABASE / "incoming").iterdir()
            (path / "000011.sst").unlink()

    with pytest.raises(ProtocolError, match=r"000011\.sst is missing"):
        publish(primary.request(), directory(base), RecordingObserver(), progress=lose)
    assert current_generation(base).name == str(before.generation)
    send(base, primary.request())
    sound_catalog(current_generation(base))


def test_a_checkpoint_that_goes_away_is_the_sources_trouble(base: Path, primary: FakePrimary) -> None:
    for name in ("000014.log", "000011.sst"):
        request = primary.request()
        primary.remove(name)
        with pytest.raises(SourceChangedError, match=name):
            publish(request, directory(base), RecordingObserver())
