"""A destination breaks, hangs, is away, is full or is closed: the old generation stays, the next try finishes.

And nobody else waits for it.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from tests.support.databases import BATCHES_AFTER, BATCHES_BEFORE, TwoStates
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.primaries import MEBIBYTE, Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import (
    assert_sound,
    finished_uploads,
    position_of,
    wait_for_mid_file,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW = "4MiB/s"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a filesystem without a disk


@pytest.fixture
def server_in_memory() -> Iterator[OpenSshServer]:
    """One that never waits for a disk."""
    with OpenSshServer(ServerOptions(place=SHARED_MEMORY)) as started:
        started.make_folder("account")
        yield started


def test_sessions_killed_in_mid_file(
    config: ConfigFile, server_in_memory: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    server = server_in_memory
    config.database("app", states.begin(tmp_path / "db"), interval="1h")
    config.sftp("standby", server, "account", limit=SLOW)
    replica = server.local_base / "account" / "app"
    with RunningProgram("run", "-c", config.write()) as service:
        wait_for_mid_file(replica, finished=3)
        server.kill_sessions()
        there = finished_uploads(replica)
        retry = service.wait_for("destination.retry", destination="standby")
        done = service.wait_for("publish.done")
        assert not service.stop().events("publish.failed")
    assert retry["error_type"] == "ConnectionLostError"
    assert retry["next_try_in"]
    current = (replica / "checkpoint_current").resolve()
    # By their inodes: what was finished was not sent again, but for a file whose last answer was on its way.
    sent_again = [name for name, (inode, _) in there.items() if (current / name).stat().st_ino != inode]
    assert len(sent_again) <= 1 < len(there)
    total_bytes = sum(path.stat().st_size for path in states.before.iterdir() if (current / path.name).exists())
    assert done["bytes_sent"] <= total_bytes + 2 * MEBIBYTE
    assert position_of(current) == BATCHES_BEFORE
    assert_sound(replica)


def test_a_stalled_server_holds_up_nobody(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    settings = PrimarySettings(
        layout=Layout(value_bytes=4000), write_buffer_bytes=MEBIBYTE, batches_per_second=200
    )
    config.database("app", tmp_path / "db", interval="1s")
    config.sftp("standby", server, account, limit=SLOW, timeout="3s")
    config.directory("here", tmp_path / "here")
    replica = server.local_base / account / "app"
    with Primary(tmp_path / "db", settings) as primary:
        primary.wait_for(400)
        with RunningProgram("run", "-c", config.write()) as service:
            wait_for_mid_file(replica)
            server.stall_sessions()
            try:
                before = service.events("publish.done", destination="standby")
                service.wait_for_more("publish.done", destination="here", more=2)
                assert service.events("publish.done", destination="standby") == before
                retry = service.wait_for("destination.retry", destination="standby")
            finally:
                server.resume_sessions()
            assert retry["error_type"] == "DestinationTimeoutError"
            service.wait_for_more("publish.done", destination="standby")
            finished = service.stop()
    assert not finished.events("publish.failed")
    assert not finished.events("destination.retry", destination="here")
    assert position_of(replica / "checkpoint_current") >= 400
    assert position_of(tmp_path / "here" / "app" / "checkpoint_current") >= 400


def test_a_server_that_is_down_at_the_start(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    with OpenSshServer(ServerOptions(chroot=True)) as server:
        server.make_folder("account")
        server.stop()
        config.database("app", states.begin(tmp_path / "db"), interval="1s")
        config.sftp("standby", server, "account").directory("here", tmp_path / "here")
        with RunningProgram("run", "-c", config.write()) as service:
            retry = service.wait_for("destination.retry", destination="standby")
            assert retry["error_type"] == "ConnectionLostError"
            service.wait_for("publish.done", destination="here")
            service.wait_for("publish.unchanged", destination="here")
            assert not service.events("publish.done", destination="standby")
            server.start()
            service.wait_for("publish.done", destination="standby")
            service.stop()
        assert position_of(server.local_base / "account" / "app" / "checkpoint_current") == BATCHES_BEFORE


@contextmanager
def small_disk(server: OpenSshServer, account: str, size_bytes: int) -> Iterator[None]:
    """Put a disk of that size under the account's folder."""
    folder = server.local_base / account
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(folder)], check=True)
    server.give(folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, when: str
) -> None:
    database = states.begin(config.folder / "db")
    config.database("app", database, interval="1s")
    config.sftp("standby", server, account, limit=SLOW, keep={"last": 1})
    replica = server.local_base / account / "app"
    filler = server.local_base / account / "filler"
    with small_disk(server, account, 32 * MEBIBYTE):
        run_program("run", "-c", config.write(), "--once")
        states.go_on(database)
        if when == "before":
            fill(filler)
        with RunningProgram("run", "-c", config.path) as service:
            if when == "meanwhile":
                wait_for_mid_file(replica)
                fill(filler)
            failed = service.wait_for("publish.failed", destination="standby")
            assert failed["error_type"] == "NoSpaceError"
            assert failed["hint"]
            assert failed["next_try_in"]
            assert position_of(replica / "checkpoint_current") == BATCHES_BEFORE
            filler.unlink()
            service.wait_for("publish.done", destination="standby")
            service.stop()
        assert position_of(replica / "checkpoint_current") == BATCHES_AFTER
        run_program("run", "-c", config.path, "--once")
        assert_sound(replica)


def fill(filler: Path) -> None:
    """Leave no free block on the disk that `filler` is on."""
    with filler.open("wb", buffering=0) as file:
        block = bytes(64 * 1024)
        while True:
            try:
                file.write(block)
            except OSError:
                return


def test_permission_taken_away(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    database = states.begin(tmp_path / "db")
    config.database("app", database, interval="1s").sftp("standby", server, account)
    replica = server.local_base / account / "app"
    run_program("run", "-c", config.write(), "--once")
    states.go_on(database)
    folders = [replica, replica / "incoming", replica / "generations"]
    modes = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(0o555)
    with RunningProgram("run", "-c", config.path) as service:
        failed = service.wait_for("publish.failed", destination="standby")
        assert failed["error_type"] == "AccessDeniedError"
        assert str(failed["error"]).count("app") >= 1
        assert position_of(replica / "checkpoint_current") == BATCHES_BEFORE
        for folder, mode in modes.items():
            folder.chmod(mode)
        service.wait_for("publish.done", destination="standby")
        service.stop()
    wait_until(lambda: position_of(replica / "checkpoint_current") == BATCHES_AFTER, "the new generation")
