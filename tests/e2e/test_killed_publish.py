"""kill -9 of the service at each step of a publish: nothing published is lost, nothing finished is sent again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from replicator.replica.publish import PublishStep
from tests.support.databases import BATCHES_AFTER, BATCHES_BEFORE, TwoStates
from tests.support.program import KILL_AT, ConfigFile, RunningProgram, key_options, run_program, sftp_url
from tests.support.published import (
    assert_sound,
    finished_uploads,
    position_of,
    wait_for_mid_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

#: All new tables are there when these begin.
SENT = {
    step for step in PublishStep if list(PublishStep).index(step) > list(PublishStep).index(PublishStep.UPLOAD)
}
#: `checkpoint_current` names the new generation when these begin.
FLIPPED = {PublishStep.RETIRE, PublishStep.CLEAN}


@pytest.mark.parametrize("step", PublishStep)
def test_killed_at_a_step(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, step: PublishStep
) -> None:
    database = states.begin(config.folder / "db")
    config.database("app", database).sftp("standby", server, account, keep={"last": 1}).write()
    replica = server.local_base / account / "app"
    run_program("run", "-c", config.path, "--once")
    states.go_on(database)
    new_bytes = sum(
        path.stat().st_size for path in states.after.glob("*.sst") if not (states.before / path.name).exists()
    )

    with RunningProgram(config.path, step, command=KILL_AT) as killed:
        assert killed.wait().code == -signal.SIGKILL
        assert not killed.events("publish.done")
    assert position_of(replica / "checkpoint_current") == (BATCHES_AFTER if step in FLIPPED else BATCHES_BEFORE)

    done = run_program("run", "-c", config.path, "--once").event("publish.done")
    assert position_of(replica / "checkpoint_current") == BATCHES_AFTER
    if step in SENT:
        assert done["bytes_sent"] < new_bytes / 20
    else:
        assert new_bytes <= done["bytes_sent"] < new_bytes * 1.1
    listed = run_program(
        "generations", sftp_url(server, account) + "/app", *key_options(server), "--json"
    ).document
    assert listed[-1]["id"] == done["generation"]
    assert_sound(replica)


def test_killed_in_mid_file(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    database = states.begin(tmp_path / "db")
    config.database("app", database).sftp("standby", server, account, keep={"last": 1}).write()
    replica = server.local_base / account / "app"
    run_program("run", "-c", config.path, "--once")
    states.go_on(database)

    slow = ConfigFile(tmp_path / "slow.toml").database("app", database)
    slow.sftp("standby", server, account, keep={"last": 1}, limit="4MiB/s")
    with RunningProgram("run", "-c", slow.write(), "--once") as program:
        wait_for_mid_file(replica, finished=3)
        program.send(signal.SIGKILL)
        program.wait()
    there = finished_uploads(replica)
    assert position_of(replica / "checkpoint_current") == BATCHES_BEFORE

    done = run_program("run", "-c", config.path, "--once").event("publish.done")
    assert position_of(replica / "checkpoint_current") == BATCHES_AFTER
    current = (replica / "checkpoint_current").resolve()
    assert (
        there.items()
        <= {path.name: (path.stat().st_ino, path.stat().st_size) for path in current.iterdir()}.items()
    )
    sizes = {path.name: path.stat().st_size for path in current.iterdir()}
    new = [name for name in sizes if name.endswith(".sst") and not (states.before / name).exists()]
    not_there = sum(sizes[name] for name in new if name not in there)
    rest = sum(size for name, size in sizes.items() if not name.endswith(".sst"))
    assert not_there <= done["bytes_sent"] <= not_there + rest
    assert_sound(replica)
