"""`replicator check` on the other side: a real OpenSSH server, and folders."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.destination.directory import DirectoryDestination
from replicator.errors import ConnectionLostError
from replicator.replica.decision import PublishRequest
from replicator.replica.layout import GenerationId, ReplicaLayout
from replicator.replica.publish import publish
from replicator.service.transfer import writer_of
from tests.support.checks import FAILED, OK, WARN, Checked, check, configuration, database_toml, directory_toml
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.primaries import Primary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePosixPath

    from replicator.config.model import Config
    from replicator.destination.interface import Entry

DISK = "destination disk"
STANDBY = "destination standby"

CONNECTED = dict.fromkeys(["connection", "host key", "login", "folder"], OK)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer() as server:
        yield server


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("primary") / "db"
    with Primary(path) as primary:
        primary.wait_for(1000)
    return path


def sftp_toml(server: OpenSshServer, folder: str = "", **other: object) -> str:
    keys: dict[str, object] = {
        "name": "standby",
        "url": f"sftp://{server.user}@127.0.0.1:{server.port}{server.base / folder}",
        "identity_file": server.identity_file,
        "known_hosts": server.known_hosts,
        "timeout": "20s",
    }
    lines = [f'{key} = "{value}"' for key, value in (keys | other).items()]
    return "\n".join(["[[destination]]", *lines, ""])


def check_sftp(tmp_path: Path, database: Path, text: str) -> Checked:
    return check(configuration(tmp_path, database_toml(database, tmp_path / "root"), text))


def disk_config(tmp_path: Path, database: Path) -> Config:
    (tmp_path / "base").mkdir(exist_ok=True)
    return configuration(tmp_path, database_toml(database, tmp_path / "root"), directory_toml(tmp_path / "base"))


# --- the way there -----------------------------------------------------------------------------------


def test_all_is_well_and_nothing_is_left_behind(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    folder = server.make_folder("well")
    checked = check_sftp(tmp_path, database, sftp_toml(server, "well"))
    assert checked.wrong() == []
    assert checked.of(STANDBY) == CONNECTED | dict.fromkeys(
        ["hard links", "server-side copy", "fsync", "write permission", "clock", "replica chat", "free space"], OK
    )
    assert checked[STANDBY, "replica chat"].detail == "none yet"
    assert re.fullmatch(
        r"[\d.]+ .iB, of which the first generations take [\d.]+ .iB", checked[STANDBY, "free space"].detail
    )
    assert list(folder.iterdir()) == []


def test_nobody_listens(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    checked = check_sftp(tmp_path, database, sftp_toml(server, url="sftp://replica@127.0.0.1:1/srv"))
    assert checked.of(STANDBY) == {"connection": FAILED}
    line = checked[STANDBY, "connection"]
    assert "cannot connect to [127.0.0.1]:1: " in line.detail
    assert "firewall" in line.hint


def test_an_unknown_host_key(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    known_hosts = tmp_path / "known_hosts"
    checked = check_sftp(tmp_path, database, sftp_toml(server, known_hosts=known_hosts))
    assert checked.of(STANDBY) == {"connection": OK, "host key": FAILED}
    line = checked[STANDBY, "host key"]
    assert f"is not in {known_hosts} (it offers ssh-ed25519 SHA256:" in line.detail
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {known_hosts}" in line.hint


def test_a_key_that_the_account_does_not_accept(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    key = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    checked = check_sftp(tmp_path, database, sftp_toml(server, identity_file=key))
    assert checked.of(STANDBY) == {"connection": OK, "host key": OK, "login": FAILED}
    line = checked[STANDBY, "login"]
    assert f"refused the user {server.user} with {key}" in line.detail
    assert "authorized_keys" in line.hint


def test_a_base_folder_that_is_missing(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    checked = check_sftp(tmp_path, database, sftp_toml(server, "missing"))
    assert checked.of(STANDBY) == CONNECTED | {"folder": FAILED}
    assert checked[STANDBY, "folder"].detail.endswith(f": there is no folder {server.base / 'missing'}")
    assert "create it" in checked[STANDBY, "folder"].hint


def test_a_disk_that_is_not_mounted(tmp_path: Path, database: Path) -> None:
    config = disk_config(tmp_path, database)
    (tmp_path / "base").rmdir()
    checked = check(config)
    assert checked.of(DISK) == {"folder": FAILED}
    assert "mount the disk" in checked[DISK, "folder"].hint


def test_a_disk_that_may_be_away(tmp_path: Path, database: Path) -> None:
    """While it is not mounted, a folder that is its mount point would be filled in its place."""
    config = disk_config(tmp_path, database)
    base = tmp_path / "base"
    assert "mount point" not in check(config).of(DISK)
    subprocess.run(["mount", "-t", "tmpfs", "none", base], check=True)
    try:
        checked = check(config)
    finally:
        subprocess.run(["umount", base], check=True)
    line = checked[DISK, "mount point"]
    assert line.status is WARN
    assert f"{base} is where a disk is mounted" in line.detail
    assert f"file://{base}/" in line.hint


def test_a_connection_that_breaks_ends_the_account(tmp_path: Path, database: Path) -> None:
    class Broken(DirectoryDestination):
        def make_folder(self, folder: PurePosixPath) -> None:
            raise ConnectionLostError(f"disk: cannot create {folder}: gone")

    config = disk_config(tmp_path, database)
    checked = check(config, lambda _: Broken(tmp_path / "base", label="disk"))
    (line,) = checked.wrong()
    assert (line.status, line.what) == (FAILED, "connection")
    assert line is checked.results[-1]


def test_the_others_are_checked_all_the_same(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    server.make_folder("other")
    dead = sftp_toml(server, name="dead", url="sftp://replica@127.0.0.1:1/srv")
    checked = check_sftp(tmp_path, database, dead + sftp_toml(server, "other"))
    assert checked.of("destination dead") == {"connection": FAILED}
    assert set(checked.of(STANDBY).values()) == {OK}


def test_a_destination_that_nothing_is_sent_to(tmp_path: Path, database: Path) -> None:
    (tmp_path / "spare").mkdir()
    spare = directory_toml(tmp_path / "spare").replace('"disk"', '"spare"')
    (tmp_path / "base").mkdir()
    source = database_toml(database, tmp_path / "root", 'destinations = ["disk"]')
    (line,) = check(configuration(tmp_path, source, directory_toml(tmp_path / "base"), spare)).wrong()
    assert (line.status, line.subject, line.what) == (WARN, "destination spare", "databases")


# --- what it offers ----------------------------------------------------------------------------------


def test_a_server_without_hard_links(tmp_path: Path, database: Path) -> None:
    with OpenSshServer(ServerOptions(denied=("hardlink",))) as server:
        (line,) = check_sftp(tmp_path, database, sftp_toml(server)).wrong()
    assert (line.status, line.what) == (WARN, "hard links")
    assert line.detail == "not offered: unchanged files are copied there, so each generation takes its full size"
    assert "hardlink@openssh.com" in line.hint


def test_a_server_that_offers_next_to_nothing(tmp_path: Path, database: Path) -> None:
    with OpenSshServer(ServerOptions(denied=("hardlink", "copy-data", "fsync", "statvfs"))) as server:
        refused = check_sftp(tmp_path, database, sftp_toml(server))
        allowed = check_sftp(tmp_path, database, sftp_toml(server) + "reupload = true\n")
        assert list(server.local_base.iterdir()) == []
    assert {line.what: line.status for line in refused.wrong()} == {
        "hard links": FAILED,
        "server-side copy": WARN,
        "fsync": WARN,
        "free space": WARN,
    }
    assert refused[STANDBY, "write permission"].status is OK
    assert "or set `reupload = true` on the destination" in refused[STANDBY, "hard links"].hint
    assert allowed[STANDBY, "hard links"].status is WARN
    assert "every generation is sent in full" in allowed[STANDBY, "hard links"].detail


def test_a_server_that_cannot_replace_by_a_rename(tmp_path: Path, database: Path) -> None:
    with OpenSshServer(ServerOptions(denied=("posix-rename",))) as server:
        (line,) = check_sftp(tmp_path, database, sftp_toml(server)).wrong()
    assert (line.status, line.what) == (FAILED, "write permission")
    assert "lacks the SFTP extension posix-rename@openssh.com" in line.detail
    assert "sftp-server -P" in line.hint


def test_a_folder_that_the_account_may_not_write(tmp_path: Path, database: Path, server: OpenSshServer) -> None:
    server.make_folder("read_only").chmod(0o555)
    checked = check_sftp(tmp_path, database, sftp_toml(server, "read_only"))
    (line,) = checked.wrong()
    assert (line.status, line.what) == (FAILED, "write permission")
    assert re.search(r"cannot create the folder \.replicator-check-[0-9a-f]+: Permission denied", line.detail)
    assert "owner and mode" in line.hint
    # What can be told without writing is told.
    assert checked[STANDBY, "free space"].status is OK


@pytest.mark.parametrize(("shift_seconds", "words"), [(3630, "is 1 h 00 m ahead"), (-7230, "is 2 h 00 m behind")])
def test_a_clock_that_is_wrong(tmp_path: Path, database: Path, shift_seconds: int, words: str) -> None:
    class Shifted(DirectoryDestination):
        def list_folder(self, folder: PurePosixPath) -> list[Entry]:
            return [
                entry._replace(modified_seconds=entry.modified_seconds + shift_seconds)
                for entry in super().list_folder(folder)
            ]

    config = disk_config(tmp_path, database)
    (line,) = check(config, lambda _: Shifted(tmp_path / "base", label="disk")).wrong()
    assert (line.status, line.what, line.detail) == (WARN, "clock", words)
    assert "NTP" in line.hint


def test_a_disk_too_small_for_the_first_generation(tmp_path: Path, database: Path) -> None:
    class Small(DirectoryDestination):
        def free_bytes(self) -> int:
            return 1000

    config = disk_config(tmp_path, database)
    (line,) = check(config, lambda _: Small(tmp_path / "base", label="disk")).wrong()
    assert (line.status, line.what) == (FAILED, "free space")
    assert re.fullmatch(r"1000 B, of which the first generations take [\d.]+ .iB: too little", line.detail)


# --- the replica that is there -----------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path, database: Path) -> GenerationId:
    """The replica of `database` in `base`, published from here."""
    (config,) = disk_config(tmp_path, database).databases
    root = CheckpointRoot(config.checkpoint_root)
    root.create()
    capture = Capture(config.path, root)
    capture.make()
    capture.close()
    checkpoint = inspect_checkpoint(root.current)
    generation = GenerationId.parse("20261122T153000.123Z")
    request = PublishRequest(
        database=config.name,
        folder=checkpoint.folder,
        inventory=checkpoint.inventory,
        captured_at=generation.time,
        writer=writer_of(config, checkpoint.inventory.database_id),
    )
    publish(request, DirectoryDestination(tmp_path / "base", label="disk"), RecordingObserver())
    return generation


def test_a_replica_of_ours(tmp_path: Path, database: Path, published: GenerationId) -> None:
    checked = check(disk_config(tmp_path, database))
    assert checked.wrong() == []
    assert checked[DISK, "replica chat"].detail == f"is ours; generations: 1, the newest is {published}"
    assert "first generations" not in checked[DISK, "free space"].detail


def test_a_replica_of_another_writer(tmp_path: Path, database: Path, published: GenerationId) -> None:
    moved = shutil.copytree(database, tmp_path / "moved")
    (line,) = check(disk_config(tmp_path, moved)).wrong()
    assert (line.status, line.what) == (FAILED, "replica chat")
    assert "a replica that belongs to another writer" in line.detail
    assert f"which published {published} last" in line.detail
    assert line.hint.endswith("replicator run -c FILE --once --take-over")


def test_a_replica_of_a_database_that_cannot_be_read(
    tmp_path: Path, database: Path, published: GenerationId
) -> None:
    assert database.is_dir()
    line = check(disk_config(tmp_path, tmp_path / "missing"))[DISK, "replica chat"]
    assert line.status is WARN
    assert f"the newest generation is {published}; whether it is of this database cannot be told" in line.detail


def test_a_replica_whose_catalogs_are_all_damaged(tmp_path: Path, database: Path, published: GenerationId) -> None:
    catalog = tmp_path / "base" / ReplicaLayout("chat").generation(published) / "replica.json"
    catalog.write_text("{")
    line = check(disk_config(tmp_path, database))[DISK, "replica chat"]
    assert line.status is FAILED
    assert "nobody can tell who wrote them" in line.detail
