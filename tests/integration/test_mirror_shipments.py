"""Whole folders on their way to a real OpenSSH server while other things happen: nothing is lost."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_helpers import NO_SHARING, Sharing
from replicator.errors import InterruptedTransferError
from replicator.mirror.backlog import Backlog
from replicator.mirror.coalesce import Coalescer
from replicator.mirror.deletes import DeleteBudget
from replicator.mirror.session import MirrorSession
from tests.integration.test_mirror_small_files import age, fill
from tests.integration.test_sftp_shared import helpers, kill_a_helper
from tests.support.destinations import ALWAYS_SHARED
from tests.support.mirror_in_memory import rules_of
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.trees import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from replicator.destination.interface import Destination, FolderObserver, FolderUpload


class Pace:
    """Goes on, until it `heard` of so many bytes: then it is `busy` or `stopped`, and `then` is called."""

    def __init__(self, *, after_bytes: float = float("inf"), stops: bool = True) -> None:
        self._after_bytes = after_bytes
        self._stops = stops
        self._sent_bytes = 0
        self.waits = 0

    def may_begin(self) -> bool:
        return self._sent_bytes < self._after_bytes

    def wait(self) -> None:
        if self.may_begin():
            return
        if self._stops:
            raise InterruptedTransferError("stopped")
        self.waits += 1
        self._after_bytes += self._sent_bytes

    def note_sent(self, count_bytes: int) -> None:
        self._sent_bytes += count_bytes


class Interfering(SftpDestination):
    """Does something when whole folders are about to be sent, once."""

    act: Callable[[], None] | None = None

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        if uploads and self.act:
            act, self.act = self.act, None
            act()
        super().upload_folders(uploads, observer)


class Mirror:
    """A tree here and its mirror over `place`, in the account's folder."""

    def __init__(self, source: Path, account: Path, place: Destination) -> None:
        self.source = source
        self.target = account / "media"
        self._account = account
        # Nothing that is changed now is so young that it would be sent with another time first.
        self.session = MirrorSession(
            rules_of(source),
            place,
            Backlog(Coalescer(0.0, 0.0)),
            DeleteBudget(lambda files: files),
            clock=lambda: time.time() + 1000,
        )

    def compare(self, pace: Pace | None = None) -> None:
        self.session.compare_all(pace or Pace(), between=lambda: None)

    def differences(self) -> list[str]:
        """What differs, and what is left of files on their way."""
        left = [str(path) for path in self._account.glob(".replicator-mirror-*/parts-*/*")]
        return differences(self.source, self.target) + left


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer() as server:
        yield server


@pytest.fixture
def account(request: pytest.FixtureRequest, server: OpenSshServer) -> Path:
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)
    return server.make_folder(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def connected(server: OpenSshServer, account: Path, sharing: Sharing = NO_SHARING) -> Interfering:
    place = Interfering.connect(server.settings(account.name), sharing=sharing)
    assert isinstance(place, Interfering)
    place.warm_up()
    return place


# --- who stops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", [NO_SHARING, ALWAYS_SHARED], ids=["alone", "shared"])
@pytest.mark.parametrize("after_bytes", [1, 5_000_000, 30_000_000])
def test_a_pass_that_is_told_to_stop_ends_and_the_next_one_sends_the_rest(
    server: OpenSshServer, account: Path, source: Path, sharing: Sharing, after_bytes: int
) -> None:
    fill(source, 600)  # which count as 600 * 4 * 16 KiB
    age(source)
    with connected(server, account, sharing) as place:
        mirror = Mirror(source, account, place)
        with pytest.raises(InterruptedTransferError):
            mirror.compare(Pace(after_bytes=after_bytes))
        arrived = sum(path.is_file() for path in mirror.target.rglob("*"))
        assert arrived < 600 * 4
        assert mirror.session.counts.files <= arrived
        mirror.compare()
        assert mirror.differences() == []
        assert mirror.session.counts.files >= 600 * 4


@pytest.mark.parametrize("sharing", [NO_SHARING, ALWAYS_SHARED], ids=["alone", "shared"])
def test_a_destination_that_has_more_urgent_things_to_do_gets_all_in_the_end(
    server: OpenSshServer, account: Path, source: Path, sharing: Sharing
) -> None:
    fill(source, 600)
    age(source)
    pace = Pace(after_bytes=1_000_000, stops=False)
    with connected(server, account, sharing) as place:
        mirror = Mirror(source, account, place)
        mirror.compare(pace)
        assert pace.waits > 1
        assert mirror.differences() == []
        assert mirror.session.counts.files == 600 * 4


# --- what changes after it was seen ------------------------------------------------------------------


def test_what_changes_between_the_look_and_the_sending_is_sent_as_it_is_then(
    server: OpenSshServer, account: Path, source: Path
) -> None:
    fill(source, 12)
    age(source)

    def change() -> None:
        (source / "0" / "inner" / "0").write_text("a longer text than before")
        (source / "1" / "inner" / "0").write_text("1 1")  # as long as before
        (source / "2" / "inner" / "0").unlink()
        (source / "3" / "inner" / "new").write_text("new")
        (source / "4" / "inner" / "0").chmod(0o600)
        shutil.rmtree(source / "5" / "inner")
        shutil.rmtree(source / "6")
        (source / "7" / "inner" / "0").unlink()
        (source / "7" / "inner" / "0").mkdir()
        (source / "7" / "inner" / "0" / "below").touch()
        (source / "8" / "inner").rename(source / "8" / "other")
        (source / "lowest 9").rename(source / "moved")
        (source / "lowest 10").chmod(0o711)

    with connected(server, account) as place:
        mirror = Mirror(source, account, place)
        place.act = change
        mirror.compare()
        assert place.act is None
        assert mirror.session.failures == {}
        assert (mirror.target / "0" / "inner" / "1").read_text() == "0 1"
        mirror.compare()
        assert mirror.session.failures == {}
        assert mirror.differences() == []


@pytest.mark.parametrize("place_in_tree", ["0/inner", "0", "lowest 0"])
def test_a_folder_that_becomes_a_link_leads_nobody_outside(
    server: OpenSshServer, account: Path, source: Path, place_in_tree: str
) -> None:
    fill(source, 2)
    age(source)
    outside = source.parent / "outside"
    shutil.copytree(source / place_in_tree, outside)  # the same sizes and times

    def lead_outside() -> None:
        shutil.rmtree(source / place_in_tree)
        for path in outside.rglob("*"):
            if path.is_file():
                path.write_text(path.read_text().upper()[:-1] + "X")
                os.utime(path, (10**9, 10**9))
        (source / place_in_tree).symlink_to(outside)

    with connected(server, account) as place:
        mirror = Mirror(source, account, place)
        place.act = lead_outside
        mirror.compare()
        assert place.act is None
        assert not [path for path in mirror.target.rglob("*") if path.is_file() and path.read_text().endswith("X")]
        assert mirror.session.failures == {}
        mirror.compare()
        assert mirror.session.failures == {}
        assert mirror.differences() == []
        assert (mirror.target / place_in_tree).is_symlink()


# --- what folders carry ------------------------------------------------------------------------------

_MODES = [0o755, 0o700, 0o711, 0o500, 0o000, 0o1777, 0o555, 0o300]


def make_levels(top: Path) -> None:
    """Make folders of each mode, side by side and one below the other, with files and without."""
    for mode in _MODES:
        for inner in _MODES:
            folder = top / f"{mode:o}" / f"{inner:o}"
            (folder / "deep" / "deeper").mkdir(parents=True)
            (folder / "deep" / "deeper" / "file").write_text(f"{mode:o} {inner:o}")
            (folder / "leaf").mkdir()
            (folder / "leaf" / "file").touch(mode=0o640)
            (folder / "leaf").chmod(inner)
            (folder / "empty").mkdir()
            (folder / "empty").chmod(inner)
    age(top)
    for mode in _MODES:
        for inner in _MODES:
            (top / f"{mode:o}" / f"{inner:o}" / "deep" / "deeper").chmod(inner)
            (top / f"{mode:o}" / f"{inner:o}").chmod(inner)
        (top / f"{mode:o}").chmod(mode)


def test_new_folders_of_every_mode_come_with_their_attributes(
    server: OpenSshServer, account: Path, source: Path
) -> None:
    make_levels(source)
    with connected(server, account) as place:
        mirror = Mirror(source, account, place)
        mirror.compare()
        assert mirror.session.failures == {}
        assert mirror.differences() == []
        before = mirror.session.counts.files
        mirror.compare()
        assert mirror.session.counts.files == before
        # And more in them, whatever they allow.
        for number, path in enumerate(sorted(source.rglob("*"))):
            if path.is_dir():
                (path / f"more {number}").mkdir()
                (path / f"more {number}" / "file").write_text("more")
        mirror.compare()
        assert mirror.session.failures == {}
        assert mirror.differences() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_of_folders_that_come_whole_are_kept(source: Path) -> None:
    make_levels(source)
    fill(source, 3)
    age(source)
    (source / "755" / "755").chmod(0o2775)
    (source / "755" / "700" / "leaf").chmod(0o2770)
    for number, path in enumerate(sorted(source.rglob("*"))):
        mode = path.stat().st_mode & 0o7777
        os.chown(path, 4000 + number % 3, 5000 + number % 5)
        path.chmod(mode)
    os.chown(source / "0" / "inner", 4321, 8765)
    with OpenSshServer(ServerOptions(user="root")) as server:
        account = server.make_folder("account")
        with connected(server, account) as place:
            mirror = Mirror(source, account, place)
            mirror.compare()
            assert mirror.session.failures == {}
            assert mirror.differences() == []
            for path in source.rglob("*"):
                here, there = path.lstat(), (mirror.target / path.relative_to(source)).lstat()
                assert (here.st_uid, here.st_gid) == (there.st_uid, there.st_gid), path


# --- helpers -----------------------------------------------------------------------------------------


def test_a_helper_that_is_killed_while_it_sends_costs_a_new_try(
    server: OpenSshServer, account: Path, source: Path
) -> None:
    fill(source, 700)
    age(source)
    killed: list[int] = []

    class Killing(Pace):
        def note_sent(self, count_bytes: int) -> None:
            super().note_sent(count_bytes)
            if len(killed) < 2 and helpers() and self._sent_bytes > (len(killed) + 1) * 10_000_000:
                kill_a_helper()
                killed.append(self._sent_bytes)

    with RetryingDestination(
        lambda: connected(server, account, ALWAYS_SHARED),
        label="retrying",
        policy=RetryPolicy(first_wait_seconds=0.01),
    ) as place:
        mirror = Mirror(source, account, place)
        mirror.compare(Killing())
        assert len(killed) == 2
        assert mirror.session.failures == {}
        mirror.compare()
        assert differences(mirror.source, mirror.target) == []


def test_helpers_that_are_not_let_in_are_done_without(
    server: OpenSshServer, account: Path, source: Path, tmp_path: Path
) -> None:
    fill(source, 300)
    age(source)
    settings = server.settings(account.name)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(server.known_hosts.read_text())
    with SftpDestination.connect(replace(settings, known_hosts=known_hosts), sharing=ALWAYS_SHARED) as place:
        known_hosts.write_text("")
        mirror = Mirror(source, account, place)
        mirror.compare()
        assert mirror.differences() == []
        assert helpers() == []
