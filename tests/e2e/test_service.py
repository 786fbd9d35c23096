"""`replicator run` as a service manager and an operator see it: signals, locks, several of everything."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from rocksdict import Options, Rdict

from replicator.demo.settings import PrimarySettings
from tests.support.databases import BATCHES_BEFORE, TwoStates, write_batches
from tests.support.filesystems import another_filesystem
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import (
    assert_sound,
    finished_uploads,
    position_of,
    wait_for_mid_file,
)
from tests.support.service_manager import NotifySocket

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

FAILED = 1
USAGE = 2
PARTLY = 3
INTERRUPTED = 130


# --- signals -----------------------------------------------------------------------------------------


def test_sigterm_finishes_the_file_and_ends(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).sftp("standby", server, account, limit="2MiB/s")
    replica = server.local_base / account / "app"
    with RunningProgram("run", "-c", config.write()) as service:
        wait_for_mid_file(replica)
        finished = service.stop()
    assert finished.events("service.stopping", signal="SIGTERM")
    assert finished.events("publish.interrupted")
    assert finished.events("service.stopped")
    assert not finished.events("publish.done")
    [upload] = (replica / "incoming").iterdir()
    assert [path.name for path in upload.glob("*.part")] == []
    there = finished_uploads(replica)
    assert 1 < len(there) < len(list(states.before.glob("*.sst")))
    assert [path.name for path in (tmp_path / "db.checkpoints").glob("transfer-*")] == []

    done = run_program("run", "-c", config.path, "--once").event("publish.done")
    assert done["files_reused"] >= len(there)
    assert position_of(replica / "checkpoint_current") == BATCHES_BEFORE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(
    config: ConfigFile,
    server: OpenSshServer,
    account: str,
    states: TwoStates,
    number: signal.Signals,
) -> None:
    # At this rate the first table alone takes minutes.
    config.database("app", states.begin(config.folder / "db")).sftp("standby", server, account, limit="8KiB/s")
    with RunningProgram("run", "-c", config.write()) as service:
        wait_for_mid_file(server.local_base / account / "app", finished=0)
        service.send(number)
        service.wait_for("service.stopping")
        assert service.process.poll() is None
        service.send(number)
        assert service.wait().code == 128 + number


@pytest.mark.parametrize("more", [(), ("--once",)])
def test_ctrl_c(
    config: ConfigFile,
    server: OpenSshServer,
    account: str,
    states: TwoStates,
    more: tuple[str, ...],
) -> None:
    config.database("app", states.begin(config.folder / "db")).sftp("standby", server, account, limit="4MiB/s")
    with RunningProgram("run", "-c", config.write(), *more) as program:
        wait_for_mid_file(server.local_base / account / "app")
        program.send(signal.SIGINT)
        finished = program.wait()
    assert finished.code == INTERRUPTED
    assert "interrupted" in finished.errors


def test_sigterm_while_a_server_is_away(config: ConfigFile, states: TwoStates, server: OpenSshServer) -> None:
    config.database("app", states.begin(config.folder / "db"))
    url = "sftp://nobody@127.0.0.1:1/base"
    config.destinations.append({"name": "nowhere", "url": url, "known_hosts": server.known_hosts})
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("destination.retry", times=2)
        service.stop()


def test_sigterm_while_a_server_is_stalled(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates
) -> None:
    config.database("app", states.begin(config.folder / "db"))
    config.sftp("standby", server, account, limit="2MiB/s", timeout="2s")
    with RunningProgram("run", "-c", config.write()) as service:
        wait_for_mid_file(server.local_base / account / "app")
        server.stall_sessions()
        try:
            finished = service.stop()
        finally:
            server.resume_sessions()
    assert finished.events("publish.interrupted")


def test_a_server_that_never_says_a_word(config: ConfigFile, states: TwoStates, server: OpenSshServer) -> None:
    config.database("app", states.begin(config.folder / "db"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"sftp://nobody@127.0.0.1:{silent.getsockname()[1]}/base"
        keys = {"known_hosts": server.known_hosts, "identity_file": server.identity_file}
        config.destinations.append({"name": "silent", "url": url, "timeout": "1s", **keys})
        with RunningProgram("run", "-c", config.write()) as service:
            retry = service.wait_for("destination.retry")
            service.stop()
    assert retry["error_type"] == "DestinationTimeoutError"


# --- reloading ---------------------------------------------------------------------------------------


def test_a_reload_changes_what_can_be_changed(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "db", interval="1h").directory("here", tmp_path / "here")
    with Primary(tmp_path / "db") as primary, NotifySocket(tmp_path) as heard:
        primary.wait_for(1)
        environment = heard.environment()
        with RunningProgram("run", "-c", config.write(), environment=environment) as service:
            service.wait_for("publish.done")
            config.databases[0] = {**config.databases[0], "interval": "1s", "ship_wal": "off", "min_free": "2MiB"}
            config.destinations[0] = {**config.destinations[0], "keep": {"last": 2}}
            config.service.update({"log_level": "debug", "state_dir": tmp_path / "elsewhere"})
            config.directory("there", tmp_path / "there").write()
            sent_at_microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            service.send(signal.SIGHUP)
            done = service.wait_for("reload.done")
            service.wait_for_more("publish.done", more=3)
            heard.wait_for("READY", times=2)
            finished = service.stop()
        # By that, Type=notify-reload tells the answer to its signal from an earlier one.
        assert int(heard.wait_for("RELOADING")["MONOTONIC_USEC"]) >= sent_at_microseconds
    assert done["changed"] == [
        "database app.interval",
        "database app.min_free",
        "destination here.keep",
        "service.log_level",
    ]
    assert [line["key"] for line in finished.events("reload.needs_restart")] == [
        "database app.ship_wal",
        "service.state_dir",
        "destination there",
    ]
    assert len(list((tmp_path / "here" / "app" / "generations").iterdir())) == 2
    assert not list((tmp_path / "there").iterdir())


def test_a_reload_of_a_file_with_problems_changes_nothing(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s").directory("here", tmp_path / "here")
    right = config.write().read_text()
    with RunningProgram("run", "-c", config.path) as service:
        service.wait_for("publish.done")
        config.path.write_text(right.replace('"1s"', '"soon"') + 'log_level = "loud"\n')
        service.send(signal.SIGHUP)
        refused = service.wait_for("reload.refused")
        service.wait_for_more("publish.unchanged")
        config.path.write_text(right)
        service.send(signal.SIGHUP)
        assert service.wait_for("reload.done")["changed"] == []
        service.stop()
    assert [problem.split(" ")[0] for problem in refused["problems"]] == [
        "database[0].interval",
        "service.log_level",
    ]
    assert "still in force" in refused["hint"]


# --- hooks -------------------------------------------------------------------------------------------


def test_hooks_and_what_they_do_wrong(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    # The service blocks the signals that end it; what it starts must not.
    hook.write_text(
        f"#!/bin/sh\nenv > {tmp_path}/$REPLICATOR_EVENT.new\n"
        f"mv {tmp_path}/$REPLICATOR_EVENT.new {tmp_path}/$REPLICATOR_EVENT\nkill -TERM $$\n"
    )
    hook.chmod(0o755)
    config.database("app", states.begin(tmp_path / "db"), interval="1s").directory("here", tmp_path / "here")
    config.database("none", tmp_path / "no-database", interval="1s")
    config.service.update({"on_publish": [hook], "on_failure": [hook]})
    environment = {"NOTIFY_SOCKET": "@nobody-listens-here"}
    with RunningProgram("run", "-c", config.write(), environment=environment) as service:
        service.wait_for("publish.unchanged")
        failed = service.wait_for("checkpoint.failed", times=2)
        killed = service.wait_for("hook.failed", on="checkpoint_failed")
        service.wait_for("hook.failed", on="published")
        finished = service.stop()
    assert "was killed by signal 15" in killed["error"]
    assert len(finished.events("hook.failed", on="checkpoint_failed")) == 1
    assert len(finished.events("hook.failed", on="published")) == 1
    published = (tmp_path / "published").read_text().splitlines()
    assert "REPLICATOR_DATABASE=app" in published
    assert "REPLICATOR_DESTINATION=here" in published
    assert any(line.startswith("REPLICATOR_GENERATION=2") for line in published)
    assert not any(line.startswith("NOTIFY_SOCKET") for line in published)
    variables = (tmp_path / "checkpoint_failed").read_text().splitlines()
    assert f"REPLICATOR_ERROR={failed['error']}" in variables


# --- one process for a checkpoint root ---------------------------------------------------------------


def test_a_second_process_is_told_who_is_there(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    database = states.begin(tmp_path / "db")
    config.database("app", database).directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done")
        for command in (
            ["run", "-c", config.path],
            ["run", "-c", config.path, "--once"],
            ["checkpoint", database, tmp_path / "db.checkpoints"],
        ):
            refused = run_program(*command, code=FAILED)
            assert f"process {service.process.pid} (" in refused.errors
            assert "hint: " in refused.errors
        service.stop()
    made = run_program("checkpoint", database, tmp_path / "db.checkpoints")
    assert "checkpoint_current" in made.output
    assert position_of(tmp_path / "db.checkpoints" / "checkpoint_current") == BATCHES_BEFORE


# --- what is checked at the start --------------------------------------------------------------------


def test_what_is_wrong_at_the_start_is_said_and_heals(
    config: ConfigFile, server: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    database = states.begin(tmp_path / "away")
    config.database("app", tmp_path / "db", interval="1s").directory("here", tmp_path / "here")
    config.sftp("missing", server, "no-such-folder")
    with RunningProgram("run", "-c", config.write()) as service:
        done = service.wait_for("check.done")
        database.rename(tmp_path / "db")
        service.wait_for("publish.done", destination="here")
        finished = service.stop()
    failed = finished.events("check.failed")
    assert {line["subject"] for line in failed} >= {"database app", "destination missing"}
    assert all(line["hint"] for line in failed)
    assert done["failed"] == len(failed)
    assert done["ok"] > 0


def test_a_sound_start_says_so_in_one_line(config: ConfigFile, states: TwoStates, tmp_path: Path) -> None:
    config.database("app", states.begin(tmp_path / "db")).directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        assert service.wait_for("check.done")["failed"] == 0
        finished = service.stop()
    assert not finished.events("check.failed")
    assert not finished.events("check.warning", what="one process")


# --- several of everything ---------------------------------------------------------------------------


def test_several_databases_and_destinations(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    settings = PrimarySettings(batches_per_second=500)
    config.database("one", tmp_path / "one", interval="1s")
    config.database("two", tmp_path / "two", interval="1s", destinations=["standby"])
    config.sftp("standby", server, account).directory("here", tmp_path / "here")
    with Primary(tmp_path / "one", settings) as one, Primary(tmp_path / "two", settings) as two:
        floors = {"one": one.wait_for(200), "two": two.wait_for(200)}
        with RunningProgram("run", "-c", config.write()) as service:
            for database, destination in (("one", "standby"), ("two", "standby"), ("one", "here")):
                service.wait_for("publish.done", times=2, database=database, destination=destination)
            finished = service.stop()
    assert not finished.events("publish.done", database="two", destination="here")
    assert not finished.events("publish.failed")
    for replica, floor in (
        (server.local_base / account / "one", floors["one"]),
        (server.local_base / account / "two", floors["two"]),
        (tmp_path / "here" / "one", floors["one"]),
    ):
        assert position_of(replica / "checkpoint_current") >= floor


def test_one_dead_destination_makes_a_pass_partial(
    config: ConfigFile, server: OpenSshServer, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"))
    config.directory("here", tmp_path / "here").sftp("missing", server, "no-such-folder")
    finished = run_program("run", "-c", config.write(), "--once", code=PARTLY)
    failed = finished.event("publish.failed", destination="missing")
    assert failed["error_type"] == "NotFoundError"
    assert "no-such-folder" in failed["error"]
    assert position_of(tmp_path / "here" / "app" / "checkpoint_current") == BATCHES_BEFORE


def test_a_pass_in_which_nothing_works(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "no-database").directory("here", tmp_path / "here")
    finished = run_program("run", "-c", config.write(), "--once", code=FAILED)
    assert "no-database" in finished.event("checkpoint.failed")["error"]
    assert finished.event("checkpoint.failed")["hint"]


# --- checkpoint roots --------------------------------------------------------------------------------


def test_a_checkpoint_root_elsewhere_works_and_says_what_it_costs(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    root = tmp_path / "elsewhere"
    config.database("app", states.begin(tmp_path / "db"), checkpoint_root=root).directory(
        "here", tmp_path / "here"
    )
    root.mkdir()
    with another_filesystem(root):
        finished = run_program("run", "-c", config.write(), "--once")
        warned = finished.event("checkpoint.copied")
        assert warned["level"] == "warning"
        assert str(root) in warned["hint"]
        assert "MiB" in warned["copied"]
        assert not run_program("run", "-c", config.path, "--once").events("checkpoint.copied")
        assert position_of(root / "checkpoint_current") == BATCHES_BEFORE
    assert position_of(tmp_path / "here" / "app" / "checkpoint_current") == BATCHES_BEFORE


FOREIGN_PRIMARY = """
import os, sys
from rocksdict import Checkpoint, Options, Rdict
path, root = sys.argv[1:]
database = Rdict(path, Options(raw_mode=True))
for number in sys.stdin:
    database[b"number"] = number.strip().encode()
    Checkpoint(database).create_checkpoint(f"{root}/new")
    if os.path.exists(f"{root}/checkpoint_current"):
        os.rename(f"{root}/checkpoint_current", f"{root}/old-{number.strip()}")
    os.rename(f"{root}/new", f"{root}/checkpoint_current")
"""


def number_in(generation: Path, copy: Path) -> bytes | None:
    """Read what the foreign primary wrote; from a copy, since opening a database leaves files in it."""
    shutil.copytree(generation, copy)
    database = Rdict(str(copy), Options(raw_mode=True))
    number = database.get(b"number")
    database.close()
    return None if number is None else bytes(number)


def test_checkpoints_that_something_else_makes_are_transferred(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    root = tmp_path / "db.checkpoints"
    root.mkdir()
    # An interval that never ends: what is transferred here was noticed.
    config.database("app", tmp_path / "db", producer="external", interval="1d").sftp("standby", server, account)
    current = server.local_base / account / "app" / "checkpoint_current"
    foreign = subprocess.Popen(
        [sys.executable, "-c", FOREIGN_PRIMARY, tmp_path / "db", root], stdin=subprocess.PIPE, text=True
    )
    with foreign, RunningProgram("run", "-c", config.write()) as service:
        assert foreign.stdin is not None
        for number in (1, 2, 3):
            foreign.stdin.write(f"{number}\n")
            foreign.stdin.flush()
            service.wait_for("publish.done", times=number)
            assert number_in(current.resolve(), tmp_path / f"copy-{number}") == b"%d" % number
        foreign.stdin.close()
        finished = service.stop()
    assert foreign.returncode == 0
    assert not finished.events("checkpoint.made")
    assert not finished.events("publish.failed")
    assert_sound(current.parent)


def test_a_database_that_appears_later(config: ConfigFile, tmp_path: Path) -> None:
    config.database("app", tmp_path / "db", interval="1s").directory("here", tmp_path / "here")
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("checkpoint.failed")
        write_batches(tmp_path / "db", PrimarySettings(), 100)
        service.wait_for("publish.done")
        service.stop()
    assert position_of(tmp_path / "here" / "app" / "checkpoint_current") == 100


def test_nothing_is_written_into_a_database_by_mistake(states: TwoStates, tmp_path: Path) -> None:
    database = states.begin(tmp_path / "data" / "db")
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "link").symlink_to(database)
    for root in (database, database.parent, tmp_path / "link"):
        refused = run_program("checkpoint", database, root, code=USAGE)
        assert "CHECKPOINT_ROOT" in refused.errors
    (tmp_path / "link").unlink()
    assert sorted(tmp_path.rglob("*")) == before
    run_program("checkpoint", database, database / "checkpoints")
    assert position_of(database / "checkpoints" / "checkpoint_current") == BATCHES_BEFORE


def test_a_checkpoint_root_that_vanishes_and_comes_back(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db"), interval="1s").directory("here", tmp_path / "here")
    root = tmp_path / "db.checkpoints"
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done")
        root.rename(tmp_path / "away")
        failed = service.wait_for_more("checkpoint.failed")
        assert str(root) in failed["error"]
        assert failed["hint"]
        (tmp_path / "away").rename(root)
        service.wait_for_more("checkpoint.made")
        service.stop()


def test_a_checkpoint_that_does_not_fit_holds_no_space(
    config: ConfigFile, states: TwoStates, tmp_path: Path
) -> None:
    root = tmp_path / "elsewhere"
    database = states.begin(tmp_path / "db")
    config.database("app", database, checkpoint_root=root, min_free="100KiB")
    config.directory("here", tmp_path / "here")
    root.mkdir()
    with another_filesystem(root):
        table_bytes = sum(path.stat().st_size for path in database.glob("*.sst"))
        filler = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize - table_bytes // 2
        (root / "filler").write_bytes(bytes(filler))
        failed = run_program("run", "-c", config.write(), "--once", code=FAILED).event("checkpoint.failed")
        assert "would be copied: no new checkpoint is made" in failed["error"]
        assert {path.name for path in root.iterdir()} == {"filler", ".replicator.lock"}
        # This one knows of no min_free.
        assert "No space left" in run_program("checkpoint", database, root, code=FAILED).errors
        assert {path.name for path in root.iterdir()} == {"filler", ".replicator.lock"}
