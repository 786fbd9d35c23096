"""`replicator check` on this side: real databases, real checkpoint roots, real limits."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.watcher import CheckpointWatcher
from replicator.demo.settings import PrimarySettings
from replicator.errors import CheckpointError, LockedError
from replicator.service.check_source import SourceFacts, check_open_files
from replicator.service.lock import LOCK_NAME, hold_checkpoint_root
from tests.support.checks import (
    FAILED,
    OK,
    WARN,
    Checked,
    check,
    configuration,
    database_toml,
    directory_toml,
    unprivileged,
)
from tests.support.primaries import Primary

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "database chat"

#: More than the memtables hold, so that some have been flushed.
SOME_TABLES = 10_000

HOLDER = """
import sys
from pathlib import Path
from replicator.service.lock import hold_checkpoint_root

with hold_checkpoint_root(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stopped_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with SSTs and logs that nobody writes to."""
    path = tmp_path_factory.mktemp("primary") / "db"
    with Primary(path) as primary:
        primary.wait_for(SOME_TABLES)
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may look into, unlike pytest's; holds the destination `base`."""
    with tempfile.TemporaryDirectory(prefix="replicator-check-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "base").mkdir()
        yield folder


@pytest.fixture
def database(place: Path, stopped_database: Path) -> Path:
    return shutil.copytree(stopped_database, place / "db")


def check_chat(place: Path, *, root: Path | None = None, more: str = "") -> Checked:
    """Check a database `db` with its checkpoint root `root`, sent to `base`."""
    return check(
        configuration(
            place, database_toml(place / "db", root or place / "root", more), directory_toml(place / "base")
        )
    )


def everything_below(folder: Path) -> dict[Path, tuple[int, ...]]:
    """What there is, with all that a change would change."""
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {
        path: (status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns)
        for path, status in found.items()
    }


def make_checkpoint(database: Path, root: Path) -> None:
    checkpoint_root = CheckpointRoot(root)
    checkpoint_root.create()
    capture = Capture(database, checkpoint_root)
    capture.make()
    capture.close()


def edit_options(database: Path, old: str, new: str) -> None:
    newest = max(database.glob("OPTIONS-*"))
    text = newest.read_text()
    assert old in text
    newest.write_text(text.replace(old, new, 1))


# --- when all is well --------------------------------------------------------------------------------


def test_a_live_database_is_well_and_nothing_is_left_behind(place: Path) -> None:
    root = place / "checkpoints" / "chat"
    with Primary(place / "db") as primary:
        primary.wait_for(SOME_TABLES)
        checked = check_chat(place, root=root)
        primary.wait_for_more(500)

    assert checked.wrong() == []
    assert checked.of(CHAT) == dict.fromkeys(
        [
            "files",
            "checkpoint root",
            "same filesystem",
            "hard links",
            "free space",
            "one process",
            "watching",
            "shipping",
        ],
        OK,
    )
    assert checked[CHAT, "checkpoint root"].detail == f"{root} is missing and can be made"
    assert re.search(r"live files: [1-9]\d*, \d", checked[CHAT, "files"].detail)
    assert "fs.inotify.max_user_watches = " in checked[CHAT, "watching"].detail
    assert not root.parent.exists()
    assert list((place / "base").iterdir()) == []


def test_neither_database_nor_checkpoints_are_changed(place: Path, database: Path) -> None:
    make_checkpoint(database, place / "root")
    before = {folder: everything_below(folder) for folder in (database, place / "root" / "checkpoint_current")}
    names = set((place / "root").iterdir())

    assert check_chat(place).wrong() == []

    assert {folder: everything_below(folder) for folder in before} == before
    assert set((place / "root").iterdir()) == names


def test_what_the_configuration_asks_for_in_vain_is_told(place: Path, database: Path) -> None:
    assert database.is_dir()
    assert database.is_dir()
    destination = directory_toml(place / "base") + "connections = 3\n"
    (line,) = check(configuration(place, database_toml(place / "db", place / "root"), destination)).wrong()
    assert (line.status, line.subject, line.what) == (WARN, "service", "configuration")
    assert line.detail.startswith("destination[0].connections: ")


# --- the files ---------------------------------------------------------------------------------------


def test_a_folder_that_is_no_database(place: Path) -> None:
    checked = check_chat(place)
    line = checked[CHAT, "files"]
    assert line.status is FAILED
    assert line.detail == f"no RocksDB database at {place / 'db'}: it has no file CURRENT"
    assert "CURRENT and the *.sst files" in line.hint
    # The checkpoint root is looked at all the same; what compares it with the database is not.
    assert checked.of(CHAT) == {
        "files": FAILED,
        "checkpoint root": OK,
        "free space": OK,
        "one process": OK,
        "watching": OK,
    }


def test_a_damaged_manifest(place: Path, database: Path) -> None:
    manifest = database / (database / "CURRENT").read_text().strip()
    content = bytearray(manifest.read_bytes())
    content[len(content) // 3] ^= 1
    manifest.write_bytes(content)
    line = check_chat(place)[CHAT, "files"]
    assert line.status is FAILED
    assert str(manifest) in line.detail
    assert line.hint


def test_blob_files_that_no_manifest_lists(place: Path, database: Path) -> None:
    edit_options(database, '[CFOptions "default"]\n', '[CFOptions "default"]\n  enable_blob_direct_write=true\n')
    line = check_chat(place)[CHAT, "files"]
    assert line.status is FAILED
    assert "enable_blob_direct_write" in line.detail
    assert "= false" in line.hint


def test_logs_in_another_folder(place: Path) -> None:
    logs = place / "logs"
    with Primary(place / "db", PrimarySettings(database_options={"wal_dir": str(logs)})) as primary:
        primary.wait_for(100)
        line = check_chat(place)[CHAT, "files"]
        assert line.status is OK
        assert line.detail.endswith(f", write-ahead logs in {logs}")
    logs.rename(place / "elsewhere")
    line = check_chat(place)[CHAT, "files"]
    assert line.status is FAILED
    assert f"keeps its write-ahead logs in {logs}, which does not exist here" in line.detail
    assert "bind mount" in line.hint


def test_files_that_belong_to_somebody_else(place: Path, database: Path) -> None:
    for path in [database, *database.iterdir()]:
        path.chmod(0o755)
    for table in database.glob("*.sst"):
        table.chmod(0o000)
    config = configuration(place, database_toml(database, place / "root"), directory_toml(place / "base"))
    with unprivileged():
        line = check(config)[CHAT, "files"]
    assert line.status is FAILED
    assert re.fullmatch(rf"cannot read {database}/\d+\.sst: Permission denied", line.detail)
    assert "application's user" in line.hint


def test_a_checkpoint_of_an_external_producer_is_all_that_is_looked_at(place: Path, database: Path) -> None:
    external = 'producer = "external"'
    (line,) = check_chat(place, more=external).wrong()
    assert (line.status, line.what) == (WARN, "files")
    assert line.detail == f"there is no checkpoint at {place / 'root' / 'checkpoint_current'} yet"

    make_checkpoint(database, place / "root")
    shutil.rmtree(database)
    checked = check_chat(place, more=external)
    assert checked.wrong() == []
    assert f"{place / 'root' / 'checkpoint_current'} is complete: " in checked[CHAT, "files"].detail

    max((place / "root" / "checkpoint_current").glob("*.sst")).unlink()
    line = check_chat(place, more=external)[CHAT, "files"]
    assert line.status is FAILED
    assert "is not a complete checkpoint" in line.detail


# --- the checkpoint root -----------------------------------------------------------------------------


def test_a_checkpoint_root_on_another_filesystem(place: Path, database: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        root = Path(name)
        assert root.stat().st_dev != database.stat().st_dev
        checked = check_chat(place, root=root)
        assert list(root.iterdir()) == []
    (line,) = checked.wrong()
    assert (line.status, line.what) == (WARN, "same filesystem")
    assert f"{root} is on another filesystem or mount than {database}: files are copied, now " in line.detail
    assert re.search(r"now [1-9][\d.]* [KM]iB, and then what is new", line.detail)
    assert "ReadWritePaths=" in line.hint
    assert "hard links" not in checked.of(CHAT)


def test_links_that_the_kernel_does_not_allow(place: Path, database: Path) -> None:
    """`fs.protected_hardlinks`: the files can be read, but belong to somebody else."""
    assert Path("/proc/sys/fs/protected_hardlinks").read_text() == "1\n"
    for path in [database, *database.iterdir()]:
        path.chmod(0o755)
    root = place / "root"
    root.mkdir()
    root.chmod(0o777)
    config = configuration(place, database_toml(database, root), directory_toml(place / "base"))
    with unprivileged():
        checked = check(config)
    assert checked[CHAT, "files"].status is OK
    line = checked[CHAT, "hard links"]
    assert line.status is FAILED
    assert line.detail == f"not allowed to make hard links to the files of {database} in {root}"
    assert "CAP_FOWNER (fs.protected_hardlinks)" in line.hint
    line = checked[CHAT, "checkpoint root"]
    assert line.status is WARN
    assert re.fullmatch(f"{root} belongs to [^ ]+, this check runs as [^ ]+", line.detail)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_checkpoint_root_that_cannot_be_written(place: Path, database: Path, *, exists: bool) -> None:
    root = place / "closed" / "root" if not exists else place / "closed"
    (place / "closed").mkdir()
    (place / "closed").chmod(0o555)
    config = configuration(place, database_toml(database, root), directory_toml(place / "base"))
    with unprivileged():
        checked = check(config)
    line = checked[CHAT, "checkpoint root"]
    assert line.status is FAILED
    what = f"cannot write to {root}" if exists else f"cannot make the checkpoint root {root}"
    assert line.detail == f"{what}: Permission denied"
    assert line.hint
    assert set(checked.of(CHAT)) == {"files", "checkpoint root"}


def test_a_checkpoint_root_that_cannot_be_watched(place: Path, database: Path) -> None:
    root = place / "root"
    root.mkdir()
    root.chmod(0o333)
    config = configuration(place, database_toml(database, root), directory_toml(place / "base"))
    with unprivileged():
        line = check(config)[CHAT, "watching"]
    assert line.status is FAILED
    assert line.detail.startswith(f"cannot watch {root}: Permission denied (fs.inotify.max_user_watches = ")
    assert "list that folder" in line.hint


def test_a_system_that_gives_no_more_watches_is_explained(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(CheckpointError) as caught, CheckpointWatcher(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(caught.value).startswith(f"cannot watch {tmp_path}: ")
    assert "fs.inotify.max_user_instances" in caught.value.hint


def test_too_little_free_space(place: Path, database: Path) -> None:
    assert database.is_dir()
    text = database_toml(place / "db", place / "root").replace('"0%"', '"1000000TiB"')
    line = check(configuration(place, text, directory_toml(place / "base")))[CHAT, "free space"]
    assert line.status is FAILED
    assert line.detail.endswith("min_free is 1000000 TiB: no checkpoint would be made")
    assert "min_free" in line.hint


def test_a_root_that_a_running_service_holds(place: Path, database: Path) -> None:
    make_checkpoint(database, place / "root")
    staging = place / "root" / "checkpoint_staging"
    staging.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place / "root")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        record = (place / "root" / LOCK_NAME).read_bytes()
        (line,) = check_chat(place).wrong()
        assert line.status is WARN
        assert line.what == "one process"
        assert line.detail.startswith(f"{place / 'root'} is in use by process {holder.pid} ({sys.executable} ")
        assert "if that is the service" in line.hint
        # It holds it still, its record is whole, and what it is making is there.
        with pytest.raises(LockedError, match=f"process {holder.pid} "), hold_checkpoint_root(place / "root"):
            pass
        assert (place / "root" / LOCK_NAME).read_bytes() == record
        assert staging.is_dir()
    # The file of a service that ended stays; it holds nothing.
    assert check_chat(place)[CHAT, "one process"].detail == f"{place / 'root'} is not in use"


def test_a_lock_file_of_another_user(place: Path, database: Path) -> None:
    root = place / "root"
    root.mkdir()
    root.chmod(0o777)
    (root / LOCK_NAME).touch(mode=0o000)
    config = configuration(place, database_toml(database, root), directory_toml(place / "base"))
    with unprivileged():
        line = check(config)[CHAT, "one process"]
    assert line.status is FAILED
    assert line.detail == f"cannot read the lock file {root / LOCK_NAME}: Permission denied"
    assert "the user that the service runs as" in line.hint


# --- the process -------------------------------------------------------------------------------------


def test_a_limit_on_open_files_that_a_copy_would_reach(tmp_path: Path) -> None:
    linked = SourceFacts(tmp_path, "id", live_files=2**40, size_bytes=1)
    assert check_open_files([linked]).status is OK
    copied = SourceFacts(tmp_path, "id", live_files=2**40, size_bytes=1, files_are_copied=True)
    line = check_open_files([linked, copied])
    assert line.status is FAILED
    assert line.detail.endswith(f" allowed, about {2**40 + 256} needed")
    assert "LimitNOFILE=" in line.hint
