"""Everything is killed, again and again, at moments that nobody chose; the replica is judged after each."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import assert_sound, position_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1200)]

ROUNDS = 60
SEED = 20261122


def test_whatever_is_killed_the_replica_is_exact(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    database = tmp_path / "db"
    config = ConfigFile(tmp_path / "replicator.toml").database("app", database, interval="200ms")
    with OpenSshServer(ServerOptions(chroot=True, forwarding=False)) as server, Primary(database) as primary:
        server.make_folder("account")
        config.sftp("standby", server, "account", keep={"last": 12}, timeout="2s").write()
        replica = server.local_base / "account" / "app"
        service = RunningProgram("run", "-c", config.path)
        position = 0
        try:
            service.wait_for("publish.done")
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(0.0, 1.0))
                match chance.choice(["service", "sessions", "stall", "primary"]):
                    case "service":
                        with service:
                            service.send(signal.SIGKILL)
                        service = RunningProgram("run", "-c", config.path)
                    case "sessions":
                        server.kill_sessions()
                    case "stall":
                        server.stall_sessions()
                        time.sleep(chance.uniform(0.0, 4.0))
                        server.resume_sessions()
                    case _:
                        primary.restart()
                found = position_of(replica / "checkpoint_current")
                assert found >= position
                position = found
            service.wait_for_more("publish.done", more=2)
            service.stop()
        finally:
            with service:
                pass
        last = primary.position
        run_program("run", "-c", config.path, "--once")
        assert position_of(replica / "checkpoint_current") >= last
        assert_sound(replica)
