"""Captures into a checkpoint root on another filesystem, to which there are no hard links: files are copied."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.demo.oracle import judge
from replicator.demo.settings import PrimarySettings
from replicator.errors import CheckpointError, SourceError
from tests.support import rocksdb_encoding as encode
from tests.support.captures import WARM_UP_BATCHES, CaptureRun
from tests.support.databases import write_batches
from tests.support.handmade import TABLE_BYTES, Calls, HandmadeDatabase, overwrite, read_held
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPTURES = 15
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where a second filesystem can be had without root
CUT = 2


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> Iterator[CheckpointRoot]:
    """A checkpoint root on another filesystem than `tmp_path`."""
    if SHARED_MEMORY.stat().st_dev != tmp_path.stat().st_dev:
        folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
        yield CheckpointRoot(folder)
        shutil.rmtree(folder)
        return
    folder = tmp_path / "mounted"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    yield CheckpointRoot(folder)
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(name="database")
def make_database(tmp_path: Path) -> HandmadeDatabase:
    database = HandmadeDatabase(tmp_path / "db")
    database.create_wal(4)
    database.write(4, count=10)
    database.flush(10, (1, 5), 4)
    return database


@pytest.mark.parametrize("storm", ["small_memtables", "blob_files", "everything"])
def test_under_load(tmp_path: Path, root: CheckpointRoot, storm: str) -> None:
    with Primary(tmp_path / "db", STORMS[storm]) as primary, CaptureRun(primary, root.path) as run:
        primary.wait_for(WARM_UP_BATCHES)
        run.make(CAPTURES)
        assert run.copied_bytes > 0


def test_what_is_there_is_not_copied_again(tmp_path: Path, root: CheckpointRoot) -> None:
    write_batches(tmp_path / "db", PrimarySettings(), 4000)
    capture = Capture(tmp_path / "db", root)
    first = capture.make()
    tables = {path.name: path.stat() for path in root.current.glob("*.sst")}
    assert first.copied_bytes == sum(stat.st_size for stat in tables.values()) > 0
    assert first.new_files == first.live_files == len(tables)
    for _ in range(3):
        again = capture.make()
        assert again.copied_bytes == 0
        assert {path.name: path.stat().st_ino for path in root.current.glob("*.sst")} == {
            name: stat.st_ino for name, stat in tables.items()
        }
    capture.close()

    later = Capture(tmp_path / "db", root).make()  # another process, which finds the checkpoint
    assert later.copied_bytes == 0
    verdict = judge(root.current)
    assert verdict.exact
    assert verdict.position == 4000


def test_only_what_is_new_is_copied(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    capture = Capture(database.path, root)
    copied = []
    for table in (11, 12, 13, 14):
        database.flush(table, (table - 5, table - 5), 4)
        copied.append(capture.make().copied_bytes)
        assert read_held(root.current).is_one_point
    capture.close()
    assert copied == [2 * TABLE_BYTES, TABLE_BYTES, TABLE_BYTES, TABLE_BYTES]


def test_a_file_of_the_same_name_and_size_is_another_one(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    capture = Capture(database.path, root)
    capture.make()
    shutil.rmtree(database.path)
    anew = HandmadeDatabase(database.path, identity="another")
    anew.flush(10, (1, 5), 4)
    overwrite(anew.table_path(10), 0, b"new")
    assert capture.make().copied_bytes == TABLE_BYTES
    capture.close()
    assert (root.current / "000010.sst").read_bytes().startswith(b"new")
    assert (root.previous / "000010.sst").read_bytes().startswith(bytes(3))


def test_an_older_state_is_put_back_in_the_middle(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor of a table that is not there any more is not taken for that of its successor."""

    def happen() -> None:
        shutil.rmtree(database.path)
        anew = HandmadeDatabase(database.path)
        anew.flush(10, (1, 5), 4)
        overwrite(anew.table_path(10), 0, b"new")

    Calls(monkeypatch, ManifestFile, "read_on").after(CUT, happen)
    assert Capture(database.path, root).make().tries == 2
    assert (root.current / "000010.sst").read_bytes().startswith(b"new")


def test_a_table_is_copied_though_it_is_deleted_meanwhile(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calls(monkeypatch, ManifestFile, "read_on").after(CUT, lambda: database.table_path(10).unlink())
    Capture(database.path, root).make()
    assert read_held(root.current).tables == {10}


def test_new_files_count_and_are_checked_though_an_earlier_try_copied_them(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try gets as far as the logs: the database is another one when it is looked at again."""
    checked: list[str] = []
    capture = Capture(database.path, root, lambda _folder, new_names, _room: checked.extend(new_names))
    renamed = database.path / "000004.log"

    def happen() -> None:
        content = renamed.read_bytes()
        renamed.rename(database.path / "elsewhere")
        renamed.write_bytes(content)

    Calls(monkeypatch, ManifestFile, "read_on").after(CUT + 1, happen)
    captured = capture.make()
    capture.close()
    assert (captured.tries, captured.new_files, captured.copied_bytes) == (2, 1, TABLE_BYTES)
    assert checked == ["000010.sst"]


def test_symbolic_links_are_refused(database: HandmadeDatabase, root: CheckpointRoot, tmp_path: Path) -> None:
    database.table_path(10).rename(tmp_path / "elsewhere")
    database.table_path(10).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=r"000010\.sst in the database is not a regular file"):
        Capture(database.path, root).make()


def test_no_file_stays_open(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    def refuse(_folder: Path, _new_names: object, _need_room: object) -> None:
        assert any(file.path == str(database.table_path(10)) for file in psutil.Process().open_files())
        raise CheckpointError("refused")

    capture = Capture(database.path, root, refuse)
    with pytest.raises(CheckpointError, match="refused"):
        capture.make()
    assert not any(file.path.endswith(".sst") for file in psutil.Process().open_files())
    capture.close()
    assert not any(file.path.startswith(str(database.path)) for file in psutil.Process().open_files())


def test_what_a_compaction_drops_is_not_copied(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.edit(encode.delete_table(0, 10))
    captured = Capture(database.path, root).make()
    assert (captured.copied_bytes, captured.live_files) == (0, 0)
    assert not list(root.current.glob("*.sst"))
