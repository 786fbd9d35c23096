"""The commands that read replicas, as an operator uses them on a bad day."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.databases import BATCHES_AFTER, BATCHES_BEFORE, TwoStates
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.program import PROGRAM, ConfigFile, RunningProgram, key_options, run_program, sftp_url
from tests.support.published import position_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What an unknown option, a missing one, or a nonsense value leads to.
USAGE = 2
DAMAGED = 4
BAD_CONFIG = 78
INTERRUPTED = 130


class Replica:
    """A replica with two generations at a server, and all ways to name it."""

    def __init__(self, folder: Path, states: TwoStates, server: OpenSshServer) -> None:
        server.make_folder("account")
        database = states.begin(folder / "db")
        config = ConfigFile(folder / "replicator.toml").database("app", database)
        self.server = server
        self.config = config.sftp("standby", server, "account").write()
        run_program("run", "-c", self.config, "--once")
        states.go_on(database)
        run_program("run", "-c", self.config, "--once")
        self.path = server.local_base / "account" / "app"
        self.by_url = (f"{sftp_url(server, 'account')}/app", *key_options(server))
        self.by_name = ("standby:app", "-c", str(self.config))


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, states: TwoStates) -> Iterator[Replica]:
    with OpenSshServer(ServerOptions(chroot=True)) as server:
        yield Replica(tmp_path_factory.mktemp("replica"), states, server)


def sources(replica: Replica) -> dict[str, tuple[str, ...]]:
    return {
        "url": replica.by_url,
        "name": replica.by_name,
        "path": (str(replica.path),),
        "file_url": (f"file://{replica.path}",),
    }


@pytest.mark.parametrize("way", ["url", "name", "path", "file_url"])
def test_restore(replica: Replica, tmp_path: Path, way: str) -> None:
    source, *options = sources(replica)[way]
    finished = run_program("restore", source, tmp_path / "new" / "db", *options)
    assert "every SHA-256 checked" in finished.output
    assert position_of(tmp_path / "new" / "db") == BATCHES_AFTER


def test_restore_of_the_generation_before(replica: Replica, tmp_path: Path) -> None:
    source, *options = replica.by_url
    run_program("restore", source, tmp_path / "db", *options, "--generation", "prev")
    assert position_of(tmp_path / "db") == BATCHES_BEFORE


def test_a_folder_in_use_is_replaced_only_by_force(replica: Replica, tmp_path: Path) -> None:
    source, *options = replica.by_url
    target = tmp_path / "db"
    run_program("restore", source, target, *options, "--generation", "prev")
    refused = run_program("restore", source, target, *options, code=1)
    assert f"{target} is not empty" in refused.errors
    assert "--force" in refused.errors
    assert position_of(target) == BATCHES_BEFORE
    document = run_program("restore", source, target, *options, "--force", "--json").document
    assert document["target"] == str(target)
    # The tables that both generations share were not fetched again.
    assert document["fetched_bytes"] < 0.7 * document["size_bytes"]
    assert position_of(target) == BATCHES_AFTER


def test_dry_run_changes_nothing(replica: Replica, tmp_path: Path) -> None:
    source, *options = replica.by_url
    text = run_program("restore", source, tmp_path / "db", *options, "--dry-run").output
    assert "would restore" in text
    document = run_program("restore", source, tmp_path / "db", *options, "--dry-run", "--json").document
    assert document["generation"] == (replica.path / "checkpoint_current").resolve().name
    assert document["fetch_files"] == document["files"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_restore_goes_on(
    replica: Replica, states: TwoStates, tmp_path: Path, number: signal.Signals
) -> None:
    config = ConfigFile(tmp_path / "slow.toml").database("app", states.before)
    config.sftp("standby", replica.server, "account", limit="4MiB/s").write()
    target = tmp_path / "db"
    with RunningProgram("restore", "standby:app", target, "-c", config.path) as program:
        wait_until(lambda: len(list(target.glob("*.sst"))) >= 3, "three tables restored")
        program.send(number)
        finished = program.wait()
    if number is signal.SIGINT:
        assert finished.code == INTERRUPTED
        assert "interrupted" in finished.errors
    assert not (target / "CURRENT").exists()

    source, *options = replica.by_url
    went_on = run_program("restore", source, target, *options, "--json")
    assert "going on with the restore" in went_on.errors
    there_bytes = 2_000_000
    assert went_on.document["fetched_bytes"] < went_on.document["size_bytes"] - there_bytes
    assert position_of(target) == BATCHES_AFTER


def test_generations(replica: Replica) -> None:
    source, *options = replica.by_url
    document = run_program("generations", source, *options, "--json").document
    assert [generation["links"] for generation in document] == [["checkpoint_prev"], ["checkpoint_current"]]
    text = run_program("generations", source, *options).output
    assert all(generation["id"] in text for generation in document)


def test_verify_names_a_damaged_file(replica: Replica, states: TwoStates, tmp_path: Path) -> None:
    config = ConfigFile(tmp_path / "c.toml").database("app", states.begin(tmp_path / "db"))
    config.directory("here", tmp_path / "here").write()
    run_program("run", "-c", config.path, "--once")
    source = tmp_path / "here" / "app"
    assert " OK " in run_program("verify", source).output
    table = next((source / "checkpoint_current" / "").glob("*.sst"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)

    finished = run_program("verify", "here:app", "-c", config.path, code=DAMAGED)
    assert table.name in finished.output
    document = run_program("verify", source, "--json", code=DAMAGED).document
    assert not document["sound"]
    assert [found["name"] for found in document["generations"][0]["findings"]] == [table.name]
    refused = run_program("restore", source, tmp_path / "restored", code=DAMAGED)
    assert table.name in refused.errors
    assert not (tmp_path / "restored" / "CURRENT").exists()

    assert run_program("verify", replica.by_url[0], *replica.by_url[1:], "--all", "--json").document["sound"]


def test_a_source_that_is_not_there(replica: Replica, tmp_path: Path) -> None:
    url, *options = replica.by_url
    for source in (f"{url}-not", str(tmp_path / "nothing" / "app"), str(tmp_path)):
        for command in (["restore", source, tmp_path / "db"], ["verify", source]):
            finished = run_program(*command, *options, code=1)
            assert finished.output == ""
            assert finished.errors.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_server_with_an_unknown_key(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    keys = ("--identity-file", replica.server.identity_file, "--known-hosts", tmp_path / "known_hosts")
    finished = run_program("generations", replica.by_url[0], *keys, code=1)
    assert "SHA256:" in finished.errors
    assert "hint: " in finished.errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore",),
        ("restore", "--nonsense", "a", "b"),
        ("restore", "standby:app", "target"),
        ("restore", "http://example.org/app", "target"),
        ("restore", "sftp://user:hunter2@example.org/base/app", "target"),
        ("verify", "path", "--all", "--generation", "prev"),
        ("run",),
        ("run", "-c", "file", "--verbose"),
        ("nonsense",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    finished = run_program(*(file if argument == "file" else argument for argument in arguments), code=USAGE)
    assert finished.output == ""
    assert finished.errors
    assert "hunter2" not in finished.errors


@pytest.mark.parametrize("command", [("run",), ("check",), ("restore", "standby:app", "target")])
def test_a_bad_configuration_is_told_in_full(command: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[[database]]\nname = "app"\npath = "relative"\ncheckpoint_root = "/c"\ninterval = "5 parsecs"\n'
        '[[destination]]\nname = "standby"\nurl = "ftp://example.org/"\ncolour = "green"\n'
    )
    finished = run_program(*command, "-c", path, code=BAD_CONFIG)
    assert finished.output == ""
    for key in ("database[0].path", "database[0].interval", "destination[0].url", "destination[0].colour"):
        assert key in finished.errors
    missing = run_program(*command, "-c", tmp_path / "missing.toml", code=BAD_CONFIG)
    assert "missing.toml" in missing.errors


def test_a_full_disk_behind_standard_output_is_told(replica: Replica) -> None:
    with Path("/dev/full").open("w") as full:
        listed = subprocess.run(
            [PROGRAM, "generations", replica.path], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert listed.returncode == 1
    assert listed.stderr == "error: cannot write to standard output: No space left on device\n"


def test_json_documents_are_alone_on_standard_output(replica: Replica) -> None:
    for command in (
        ["check", "-c", str(replica.config)],
        ["generations", *replica.by_name],
        ["verify", *replica.by_name],
    ):
        json.loads(run_program(*command, "--json").output)
