"""The primary's disk comes first: what is given up when it fills up, on a small filesystem with a real primary."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from tests.support.filesystems import another_filesystem
from tests.support.primaries import MEBIBYTE, Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import wait_for_mid_file, wait_until
from tests.support.tight_disk import free_bytes, held_bytes, ran_full_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

#: Write the same keys again and again: tables are replaced all the time. The small one needs a few MiB only.
SMALL = PrimarySettings(layout=Layout(ring=100, value_bytes=4000), batches_per_second=200)
LARGE = PrimarySettings(layout=Layout(value_bytes=4000), write_buffer_bytes=MEBIBYTE, batches_per_second=300)
#: Makes logs of 8 MiB: those that it deletes are worth as much as its tables.
LARGE_LOGS = PrimarySettings(
    layout=Layout(value_bytes=4000), write_buffer_bytes=8 * MEBIBYTE, batches_per_second=500
)
FLOOR_BYTES = 24 * MEBIBYTE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with another_filesystem(folder, size="160m"):
        yield folder


def leave_free(disk: Path, free_bytes: int) -> None:
    """Let something else take all but so much."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free_bytes)))


def given_up(service: RunningProgram) -> list[str]:
    return [what for line in service.events("space.given_up") for what in line["given_up"]]


def shown(config: ConfigFile) -> str:
    return run_program("status", "-c", config.path).output + "\n"


def pinned_bytes(config: ConfigFile) -> int:
    document = run_program("status", "-c", config.path, "--json").document
    return int(document["databases"]["app"]["pinned_bytes"])


def test_all_is_given_up_in_its_order_before_the_primary_is_hurt(config: ConfigFile, disk: Path) -> None:
    config.database("app", disk / "db", interval="1s", ship_wal="100ms", min_free=f"{FLOOR_BYTES}B").directory(
        "here", config.folder / "here"
    )
    root = disk / "db.checkpoints"
    with Primary(disk / "db", SMALL) as primary, RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done", times=2)
        assert (root / "checkpoint_prev").exists()
        leave_free(disk, FLOOR_BYTES * 3 // 4)
        failed = service.wait_for("checkpoint.failed")
        assert given_up(service)[:4] == ["transfer copies", "checkpoint_prev", "pinned logs", "new checkpoints"]
        assert "no new checkpoint is made" in failed["error"]
        assert not (root / "checkpoint_prev").exists()
        assert not (root / "checkpoint_staging").exists()
        words = "given up: transfer copies, checkpoint_prev, pinned logs, new checkpoints"
        wait_until(lambda: f"app: less than min_free is free; {words}" in shown(config), "the words")
        wait_until(lambda: pinned_bytes(config) == 0, "no pinned logs")
        assert (root / "checkpoint_current").exists() == ("checkpoint_current" not in given_up(service))
        # It goes on, and needs what it has deleted.
        leave_free(disk, FLOOR_BYTES // 3)
        service.wait_for("space.given_up", given_up=["checkpoint_current"])
        primary.wait_for(primary.position + 600)
        assert not (root / "checkpoint_current").exists()
        (disk / "filler").unlink()
        service.wait_for("space.recovered")
        service.wait_for_more("checkpoint.made", more=2)
        service.wait_for_more("publish.done")
        wait_until(lambda: "given up" not in shown(config), "no such words any more")
        service.stop()


def test_what_is_enough_is_all_that_is_given_up(config: ConfigFile, disk: Path) -> None:
    config.database("app", disk / "db", interval="1h", ship_wal="off", min_free=f"{FLOOR_BYTES}B")
    config.directory("here", config.folder / "here")
    root = disk / "db.checkpoints"
    with Primary(disk / "db", LARGE) as primary:
        primary.wait_for(1000)
        run_program("run", "-c", config.write(), "--once")
        primary.wait_for(primary.position + 1500)
        with RunningProgram("run", "-c", config.path) as service:
            service.wait_for("publish.done")
            # The primary has deleted by now most of what checkpoint_prev has.
            primary.wait_for(primary.position + 300)
            leave_free(disk, FLOOR_BYTES - MEBIBYTE)
            service.wait_for("space.given_up")
            service.wait_for("space.recovered")
            assert given_up(service) == ["transfer copies", "checkpoint_prev"]
            assert not (root / "checkpoint_prev").exists()
            assert (root / "checkpoint_current").exists()
            finished = service.stop()
    assert not finished.events("checkpoint.failed")


def test_a_slow_transfer_of_an_outdated_checkpoint_is_given_up(
    config: ConfigFile, server: OpenSshServer, account: str, disk: Path
) -> None:
    config.database("app", disk / "db", interval="1s", ship_wal="off", min_free=f"{FLOOR_BYTES}B")
    config.sftp("standby", server, account, limit="256KiB/s")
    with Primary(disk / "db", SMALL) as primary:
        primary.wait_for(1000)
        with RunningProgram("run", "-c", config.write()) as service:
            service.wait_for("checkpoint.made", times=3)
            assert [path.name for path in (disk / "db.checkpoints").glob("transfer-*")] == ["transfer-standby"]
            leave_free(disk, FLOOR_BYTES * 3 // 4)
            failed = service.wait_for("publish.failed")
            (disk / "filler").unlink()
            service.wait_for("space.recovered")
            service.stop()
    assert "the checkpoint on its way was given up" in failed["error"]
    assert "min_free" in failed["hint"]


def test_a_transfer_that_stalls_holds_no_deleted_file(
    config: ConfigFile, server: OpenSshServer, account: str, disk: Path
) -> None:
    """Of the file that it was sending either: long before its destination is given up."""
    config.database("app", disk / "db", interval="1h", ship_wal="off", min_free=f"{FLOOR_BYTES}B")
    config.sftp("standby", server, account, limit="1MiB/s", timeout="10m")
    root = disk / "db.checkpoints"
    with Primary(disk / "db", replace(LARGE, batches_per_second=1500)) as primary:
        primary.wait_for(1500)
        with RunningProgram("run", "-c", config.write()) as service:
            wait_for_mid_file(server.local_base / account / "app")
            server.stall_sessions()
            try:
                # Until all that is in the checkpoint was compacted away.
                primary.wait_for_more(1500)
                primary.stop()
                leave_free(disk, FLOOR_BYTES // 4)
                wait_until(lambda: "checkpoint_current" in given_up(service), "that it goes")
                wait_until(lambda: held_bytes(root, service.process.pid) == 0, "nothing that is held")
            finally:
                server.resume_sessions()
            failed = service.wait_for("publish.failed")
            assert "the checkpoint on its way was given up" in failed["error"]
            # What was given up comes back as soon as there is room, whatever the interval.
            (disk / "filler").unlink()
            service.wait_for("checkpoint.made", times=2)
            assert (root / "checkpoint_current").exists()


def test_a_primary_that_needs_nearly_all_of_its_disk_is_not_hurt(config: ConfigFile, disk: Path) -> None:
    config.database("app", disk / "db", interval="1s", ship_wal="100ms", min_free=f"{FLOOR_BYTES}B")
    config.directory("slow", config.folder / "slow", limit="256KiB/s")
    with Primary(disk / "db", LARGE_LOGS) as primary:
        primary.wait_for(500)
        with RunningProgram("run", "-c", config.write()) as service:
            service.wait_for("checkpoint.made")
            # Its logs and tables grow to 47 MiB at their peak.
            used_bytes = shutil.disk_usage(disk).total - free_bytes(disk)
            leave_free(disk, max(8 * MEBIBYTE, 56 * MEBIBYTE - used_bytes))
            primary.wait_for_more(3000)
            assert ran_full_at(disk / "db") is None
            assert given_up(service)
            service.stop()
