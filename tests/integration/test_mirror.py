"""Mirrors, by the program: a real tree, real inotify, a folder or a real OpenSSH server as the destination."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.mirror.excludes import Excludes
from replicator.mirror.scan import LocalTree
from tests.support.mirroring import inotify_limit, mirrored
from tests.support.openssh import UNPRIVILEGED_USER, OpenSshServer
from tests.support.program import PROGRAM, ConfigFile, Finished, RunningProgram, run_program
from tests.support.published import wait_until
from tests.support.trees import Writers, differences, wait_until_equal

if TYPE_CHECKING:
    from collections.abc import Collection

SEED = 20261125


class Media:
    """A source with some files in it, and a folder as the destination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.target = folder / "there" / "media"
        (self.source / "a" / "b").mkdir(parents=True)
        (self.source / "empty").mkdir()
        for index in range(10):
            (self.source / "a" / f"{index}.jpg").write_text(f"picture {index}")
        (self.source / "a" / "b" / "link").symlink_to("../0.jpg")

    def config(self, **more: object) -> Path:
        """Write a configuration."""
        config = ConfigFile(self.folder / "replicator.toml")
        config.mirror("media", self.source, **{"quiet": "100ms", "max_delay": "1s", **more})
        return config.directory("backup", self.folder / "there").write()

    def once(self, *options: str, code: int = 0, **more: object) -> Finished:
        """Run one pass."""
        return run_program("run", "-c", self.config(**more), "--once", *options, code=code)


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path)


def test_processes_that_help_can_open_what_is_to_be_sent(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "picture").write_text("seen")
    with LocalTree(tmp_path, Excludes([])) as tree:
        source = tree.source_of("a/picture")
        read = subprocess.run(["cat", str(source)], stdout=subprocess.PIPE, check=True)
    assert read.stdout == b"seen"


# --- one pass ----------------------------------------------------------------------------------------


def test_one_pass_makes_both_trees_equal(media: Media) -> None:
    odd = media.source / os.fsdecode(b"\xff\n-")
    odd.mkdir(mode=0o700)
    (odd / ("x" * 255)).write_bytes(b"long")
    sparse = media.source / "sparse"
    sparse.touch()
    os.truncate(sparse, 3_000_000)
    (media.source / "a" / "0.jpg").chmod(0o600)
    os.utime(media.source / "a" / "1.jpg", (1, 1))
    (media.source / "second name").hardlink_to(media.source / "a" / "2.jpg")
    media.once()
    assert differences(media.source, media.target) == []
    again = media.once().event("mirror.compared")
    assert (again["files"], again["deletes"]) == (0, 0)


def test_drift_on_either_side_is_repaired(media: Media) -> None:
    media.once()
    (media.target / "a" / "0.jpg").write_text("changed there")
    (media.target / "a" / "b" / "link").unlink()
    (media.target / "a" / "b" / "link").symlink_to("elsewhere")
    (media.target / "empty").chmod(0o700)
    (media.target / "added there").mkdir()
    (media.target / "added there" / "x").touch()
    (media.source / "a" / "1.jpg").unlink()
    media.once()
    assert differences(media.source, media.target) == []


def test_types_change_into_each_other(media: Media) -> None:
    media.once()
    for path in (media.source / "a" / "0.jpg", media.source / "a" / "b" / "link"):
        path.unlink()
    (media.source / "a" / "0.jpg").mkdir()
    (media.source / "a" / "0.jpg" / "in it").touch()
    (media.source / "a" / "b" / "link").write_text("a file now")
    (media.source / "empty").rmdir()
    (media.source / "empty").symlink_to("a")
    media.once()
    assert differences(media.source, media.target) == []


def test_folders_that_nobody_may_write_to(tmp_path: Path) -> None:
    with mirrored(tmp_path) as mirror:
        closed = mirror.source / "closed"
        (closed / "below").mkdir(parents=True)
        (closed / "below" / "file").write_text("one")
        (closed / "below").chmod(0o500)
        closed.chmod(0o500)
        run_program("run", "-c", mirror.config, "--once")
        assert differences(mirror.source, mirror.target) == []
        (closed / "below" / "file").write_text("two, and longer")
        (closed / "other").write_text("new")
        (closed / "below" / "file").rename(closed / "below" / "renamed")
        run_program("run", "-c", mirror.config, "--once")
        assert differences(mirror.source, mirror.target) == []


def test_sockets_and_pipes_are_left_out_and_named(media: Media) -> None:
    os.mkfifo(media.source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(media.source / "socket"))
        finished = media.once()
    assert {event["path"] for event in finished.events("mirror.left_out")} == {"pipe", "socket"}
    assert sorted(path.name for path in media.target.iterdir()) == ["a", "empty"]


def test_what_is_left_out_is_told_once_however_often_it_is_seen(media: Media) -> None:
    (media.source / "new").mkdir()
    os.mkfifo(media.source / "new" / "pipe")
    (media.source / "new" / "file").write_text("beside it")
    expected = {"new/pipe", "later"}
    if os.geteuid() == 0:
        os.mknod(media.source / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(media.source / "new" / "block", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
        expected |= {"device", "new/block"}
    with RunningProgram("run", "-c", media.config(rescan="1s")) as program:
        program.wait_for("mirror.compared")
        os.mkfifo(media.source / "later")
        program.wait_for("mirror.left_out", path="later")
        (media.source / "new" / "pipe").chmod(0o600)
        program.wait_for_more("mirror.compared", more=2)
        assert sorted(event["path"] for event in program.events("mirror.left_out")) == sorted(expected)
        assert not program.events("mirror.incomplete")
        program.stop()
    assert {path.name for path in media.target.iterdir()} == {"a", "empty", "new"}
    assert [path.name for path in (media.target / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_cannot_be_read_is_told_and_the_others_go_on(
    is_folder: bool,  # noqa: FBT001 - a parameter
) -> None:
    # Root may read everything, so somebody else runs it; not below pytest's folder, which is closed to others.
    with tempfile.TemporaryDirectory(dir="/srv" if os.geteuid() == 0 else None) as name:
        media = Media(Path(name))
        kept = media.target / "secret" / "kept"
        kept.parent.mkdir(parents=True)
        kept.touch()
        secret = media.source / "secret"
        if is_folder:
            secret.mkdir(mode=0)
        else:
            kept.unlink()
            kept.parent.rmdir()
            secret.touch(mode=0)
        finished = run_as_somebody(media, media.config())
        assert finished.code == 3, finished.errors
        told = finished.event("mirror.incomplete")
        assert told["failed_files"] == 1
        assert "secret: " in told["first"][0]
        assert (media.target / "a" / "9.jpg").read_text() == "picture 9"
        assert kept.exists() == is_folder


@pytest.mark.parametrize("over_sftp", [False, True])
def test_a_file_that_cannot_be_read_does_not_keep_the_others_in_a_new_folder(*, over_sftp: bool) -> None:
    # As a whole such a folder cannot be sent, so each file has to be tried by itself.
    with tempfile.TemporaryDirectory(dir="/srv" if os.geteuid() == 0 else None) as name, OpenSshServer() as server:
        media = Media(Path(name))
        config, target = media.config(), media.target
        (media.source / "secret").touch(mode=0)
        folders = [media.source / "a" / "b" / f"{number}" for number in range(3)]
        for folder in folders:
            folder.mkdir()
            for file in "xyz":
                (folder / file).write_text(file)
            (folder / "y").chmod(0)
        if over_sftp:
            server.give(server.identity_file)
            target = server.make_folder("account") / "media"
            written = ConfigFile(config).mirror("media", media.source)
            config = written.sftp("standby", server, "account").write()
        finished = run_as_somebody(media, config, but={folder / "y" for folder in folders})
        assert finished.code == 3, finished.errors
        assert finished.event("mirror.incomplete")["failed_files"] == 4
        for folder in folders:
            there = target / folder.relative_to(media.source)
            assert sorted(path.name for path in there.iterdir()) == ["x", "z"]
        assert len(list((target / "a").iterdir())) == 11


def run_as_somebody(media: Media, config: Path, *, but: Collection[Path] = ()) -> Finished:
    """Run a pass as somebody who may not read everything: all but the secret, and `but`, becomes theirs."""
    command: tuple[object, ...] = (PROGRAM,)
    if os.geteuid() == 0:
        account = pwd.getpwnam(UNPRIVILEGED_USER)
        for path in (media.folder, *media.folder.rglob("*")):
            if path != media.source / "secret" and path not in but:
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        groups = ("--regid", account.pw_gid, "--clear-groups")
        command = ("setpriv", "--reuid", account.pw_uid, *groups, PROGRAM)
    with RunningProgram(
        "run", "-c", config, "--once", command=command, environment={"HOME": str(media.folder)}
    ) as program:
        return program.wait()


# --- what is removed ---------------------------------------------------------------------------------


def test_too_many_deletes_are_refused_until_somebody_allows_them(media: Media) -> None:
    media.once(max_delete="10%")
    for index in range(6):
        (media.source / "a" / f"{index}.jpg").unlink()
    refused = media.once(max_delete="10%", code=3).event("mirror.incomplete")
    assert "6 deletes refused: max_delete allows 1" in refused["error"]
    assert "--allow-deletes" in refused["hint"]
    assert len(list((media.target / "a").iterdir())) == 11
    media.once("--allow-deletes", max_delete="10%")
    assert differences(media.source, media.target) == []
    (media.source / "a" / "6.jpg").unlink()
    media.once(max_delete="20%")
    assert differences(media.source, media.target) == []


@pytest.mark.parametrize("how", ["empty", "missing"])
def test_a_source_that_is_not_there_empties_nothing(media: Media, how: str) -> None:
    media.once()
    media.source.rename(media.folder / "away")
    if how == "empty":
        media.source.mkdir()
    finished = media.once("--allow-deletes", code=3 if how == "empty" else 1)
    assert (
        "is its filesystem mounted"
        in (finished.events("mirror.incomplete") or finished.events("mirror.failed"))[0]["hint"]
    )
    assert differences(media.folder / "away" / "a", media.target / "a") == []


def test_without_delete_nothing_is_removed_and_what_is_in_the_way_is_told(media: Media) -> None:
    media.once(delete=False)
    (media.source / "a" / "0.jpg").unlink()
    (media.source / "a" / "1.jpg").unlink()
    (media.source / "a" / "1.jpg").mkdir()
    finished = media.once(delete=False, code=3)
    assert finished.event("mirror.incomplete")["first"][0].startswith("a/1.jpg: is another kind of thing")
    assert (media.target / "a" / "0.jpg").exists()
    assert (media.target / "a" / "1.jpg").is_file()


def test_what_is_excluded_is_neither_sent_nor_deleted(media: Media) -> None:
    exclude = ["*.tmp", "/cache/"]
    (media.source / "cache").mkdir()
    (media.source / "cache" / "x").touch()
    (media.source / "a" / "x.tmp").touch()
    (media.source / "gone").mkdir()
    (media.source / "gone" / "file").touch()
    media.once(exclude=exclude)
    assert not (media.target / "cache").exists()
    assert not (media.target / "a" / "x.tmp").exists()
    (media.target / "gone" / "kept.tmp").touch()
    (media.target / "cache").mkdir()
    (media.target / "cache" / "there").touch()
    (media.source / "gone" / "file").unlink()
    (media.source / "gone").rmdir()
    media.once(exclude=exclude)
    assert [path.name for path in (media.target / "gone").iterdir()] == ["kept.tmp"]
    assert (media.target / "cache" / "there").exists()


# --- who writes --------------------------------------------------------------------------------------


def test_another_writer_is_refused_until_it_takes_over(media: Media) -> None:
    media.once()
    media.source = media.source.rename(media.folder / "other")
    failed = media.once(code=1).event("mirror.failed")
    assert "is a mirror of" in failed["error"]
    assert "--take-over" in failed["hint"]
    assert "next_try_in" not in failed
    media.once("--take-over")
    media.once()


# --- steadily ----------------------------------------------------------------------------------------


def test_changes_arrive_and_moves_are_moves(media: Media) -> None:
    with RunningProgram("run", "-c", media.config()) as program:
        program.wait_for("mirror.compared")
        # Right after a comparison nothing is trusted; a little later it is.
        kept, place = False, "a"
        (media.source / "new").mkdir()
        for index in range(20):
            time.sleep(2.5)
            inode = (media.target / place / "0.jpg").stat().st_ino
            moved = f"new/{index}"
            (media.source / place).rename(media.source / moved)
            (media.source / f"beside {index}").write_text("another")
            wait_until_equal(media.source, media.target)
            kept, place = (media.target / moved / "0.jpg").stat().st_ino == inode, moved
            if kept:
                break
        assert kept
        program.stop()


def test_a_file_that_is_written_forever_arrives(media: Media) -> None:
    with RunningProgram("run", "-c", media.config(quiet="10s", max_delay="300ms")) as program:
        program.wait_for("mirror.compared")
        with (media.source / "log").open("ab", buffering=0) as log:

            def has_arrived() -> bool:
                log.write(b"line\n" * 1000)
                return (media.target / "log").exists()

            wait_until(has_arrived, "the file arrives")
        wait_until_equal(media.source, media.target)
        program.stop()


def test_a_removed_mount_point_is_noticed_while_the_service_runs(media: Media) -> None:
    with RunningProgram("run", "-c", media.config()) as program:
        program.wait_for("mirror.compared")
        media.source.rename(media.folder / "away")
        program.wait_for("mirror.not_watched")
        media.source.mkdir()
        program.wait_for("mirror.incomplete", error="the source is empty: nothing is removed")
        media.source.rmdir()
        (media.folder / "away" / "late").touch()
        (media.folder / "away").rename(media.source)
        wait_until_equal(media.source, media.target)
        program.stop()


def test_random_changes_over_openssh(tmp_path: Path) -> None:
    with mirrored(tmp_path) as mirror, RunningProgram("run", "-c", mirror.config) as program:
        program.wait_for("mirror.compared")
        writers = mirror.write(seed=SEED, operations=300)
        mirror.server.kill_sessions()
        writers.wait()
        wait_until_equal(mirror.source, mirror.target)
        status = run_program("status", "-c", mirror.config, "--json").document
        assert status["mirrors"]["media"]["destinations"]["standby"]["files"] > 0
        program.stop()


@pytest.mark.alone
def test_an_overflow_is_noticed(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "only root may set the limit"
    with (
        inotify_limit("max_queued_events", 2),
        mirrored(tmp_path) as mirror,
        RunningProgram("run", "-c", mirror.config) as program,
    ):
        program.wait_for("mirror.compared")
        Writers(mirror.source, mirror.outside, seed=SEED, operations=200).wait()
        program.wait_for("mirror.overflow")
        wait_until_equal(mirror.source, mirror.target)
        program.stop()
