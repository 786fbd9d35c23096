"""What a destination has is not sent again; what only looks the same is."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from rocksdict import Options, Rdict

from tests.support.program import ConfigFile, key_options, run_program, sftp_url

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.databases import TwoStates
    from tests.support.openssh import OpenSshServer


def raw_options() -> Options:
    return Options(raw_mode=True)


def write_database(path: Path, seed: int) -> dict[bytes, bytes]:
    """Write a database of one SST, as large for every seed."""
    entries = {b"%05d" % number: random.Random(f"{seed} {number}").randbytes(200) for number in range(5000)}
    database = Rdict(str(path), raw_options())
    for key, value in entries.items():
        database[key] = value
    database.flush()
    database.close()
    return entries


def read_database(path: Path) -> dict[bytes, bytes]:
    database = Rdict(str(path), raw_options())
    iterator = database.iter()
    iterator.seek_to_first()
    entries: dict[bytes, bytes] = {}
    while iterator.valid():
        entries[iterator.key()] = iterator.value()
        iterator.next()
    database.close()
    return entries


def test_a_second_pass_sends_next_to_nothing(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates, tmp_path: Path
) -> None:
    config.database("app", states.begin(tmp_path / "db")).sftp("standby", server, account).write()
    first = run_program("run", "-c", config.path, "--once").event("publish.done")
    second = run_program("run", "-c", config.path, "--once").event("publish.done")
    assert second["generation"] > first["generation"]
    assert first["files_reused"] == 0
    assert second["bytes_sent"] < first["bytes_sent"] / 100
    assert second["bytes_reused"] > first["bytes_sent"] * 0.9


def test_a_database_made_anew(config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path) -> None:
    database = tmp_path / "db"
    replica = server.local_base / account / "app"
    config.database("app", database).sftp("standby", server, account).write()
    old = write_database(database, seed=1)
    run_program("run", "-c", config.path, "--once")
    [old_table] = (replica / "checkpoint_current").resolve().glob("*.sst")
    old_content = old_table.read_bytes()

    shutil.rmtree(database)
    new = write_database(database, seed=2)
    [new_table] = database.glob("*.sst")
    assert (new_table.name, new_table.stat().st_size) == (old_table.name, len(old_content))
    assert new_table.read_bytes() != old_content
    assert new != old

    refused = run_program("run", "-c", config.path, "--once", code=3).event("publish.failed")
    assert refused["error_type"] == "WrongWriterError"
    command = f"replicator run -c {config.path} --once --take-over"
    assert command in refused["hint"]
    assert old_table.read_bytes() == old_content

    done = run_program(*command.split()[1:]).event("publish.done")
    assert done["bytes_sent"] >= new_table.stat().st_size
    assert (replica / "checkpoint_current" / new_table.name).read_bytes() == new_table.read_bytes()
    target = tmp_path / "restored"
    run_program("restore", sftp_url(server, account) + "/app", target, *key_options(server))
    assert read_database(target) == new
    # Having taken over once is enough, and what was there before is there still.
    run_program("run", "-c", config.path, "--once")
    run_program("restore", replica, tmp_path / "old", "--generation", old_table.parent.name)
    assert read_database(tmp_path / "old") == old
