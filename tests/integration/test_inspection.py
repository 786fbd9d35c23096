"""Reading checkpoints, our own and those that others make."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from rocksdict import Checkpoint as EngineCheckpoint
from rocksdict import Options, Rdict

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.demo.settings import PrimarySettings
from replicator.errors import CheckpointError, CorruptFileError, SourceError
from replicator.rocksdb.filenames import FileKind
from tests.support.handmade import HandmadeDatabase, overwrite
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="folder")
def make_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a handmade database: two tables, one log."""
    database = HandmadeDatabase(tmp_path / "db")
    database.create_wal(4)
    database.write(4, count=10)
    database.flush(10, (1, 5), 4)
    database.flush(11, (6, 7), 4)
    return _capture(database.path, tmp_path / "root")


def _capture(database: Path, path: Path) -> Path:
    root = CheckpointRoot(path)
    root.create()
    capture = Capture(database, root)
    capture.make()
    capture.close()
    return root.current


def test_all_of_a_checkpoint_is_in_its_inventory(tmp_path: Path) -> None:
    with Primary(tmp_path / "db", STORMS["everything"]) as primary:
        primary.wait_for(3000)
        folder = _capture(primary.path, tmp_path / "root")
    checkpoint = inspect_checkpoint(folder)
    inventory = checkpoint.inventory
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert {file.name: file.size_bytes for file in inventory.files} == sizes
    assert inventory.size_bytes == sum(sizes.values())
    assert inventory.database_id == (folder / "IDENTITY").read_text()
    assert inventory.manifest_name == (folder / "CURRENT").read_text().strip()
    assert inventory.rocksdb_version == "9.8.4"
    assert {"default", "cf-1", "cf-2"} <= set(inventory.column_families)
    assert checkpoint.folder == folder
    kinds = {file.name: file.kind for file in inventory.files}
    assert set(kinds.values()) == set(FileKind)
    assert all(file.identity for file in inventory.files if file.kind in {FileKind.TABLE, FileKind.BLOB})
    tables = [file.identity for file in inventory.files if file.kind is FileKind.TABLE]
    assert len(set(tables)) == len(tables)
    assert not any(file.identity for file in inventory.files if file.kind not in {FileKind.TABLE, FileKind.BLOB})


def test_its_time_is_when_its_logs_were_read(tmp_path: Path) -> None:
    database = HandmadeDatabase(tmp_path / "db")
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    captured = Capture(database.path, root).make()
    found = inspect_checkpoint(root.current).captured_at_seconds
    assert found == pytest.approx(captured.captured_at_seconds, abs=1e-5)


@pytest.mark.parametrize("name", ["000011.sst", "000004.log", "IDENTITY"])
@pytest.mark.parametrize("kind", ["a folder", "a link"])
def test_what_is_not_a_file(folder: Path, name: str, kind: str) -> None:
    """Overlooked, a log would be missing without anybody's notice."""
    (folder / name).rename(folder / "elsewhere")
    if kind == "a link":
        (folder / name).symlink_to("elsewhere")
    else:
        (folder / name).mkdir()
    with pytest.raises(SourceError, match=f"{name} is not a regular file|cannot read .*{name}"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize("damage", ["removed", "shortened"])
def test_a_table_that_is_not_all_there(folder: Path, damage: str) -> None:
    table = folder / "000011.sst"
    if damage == "removed":
        table.unlink()
    else:
        table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint: 000011\.sst is missing or") as caught:
        inspect_checkpoint(folder)
    assert "still being made" in caught.value.hint


def test_several_tables_that_are_not_there(folder: Path) -> None:
    for path in folder.glob("*.sst"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"000010\.sst is missing or has the wrong size, and 1 more"):
        inspect_checkpoint(folder)


def test_a_damaged_manifest(folder: Path) -> None:
    overwrite(folder / "MANIFEST-000001", 20, b"!")
    with pytest.raises(CorruptFileError, match=r"MANIFEST-000001: .* damaged"):
        inspect_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no RocksDB database"):
        inspect_checkpoint(tmp_path)


def test_what_does_not_belong_to_it_is_left_out(folder: Path) -> None:
    expected = inspect_checkpoint(folder).inventory
    for name in ("000003.log", "000099.sst", "MANIFEST-000000", "LOG", "LOCK", "notes.txt", "000012.dbtmp"):
        (folder / name).write_bytes(b"x")
    (folder / "archive").mkdir()
    assert inspect_checkpoint(folder).inventory == expected


def test_without_an_identity_file_the_manifest_says_which_database_it_is(folder: Path) -> None:
    (folder / "IDENTITY").unlink()
    assert inspect_checkpoint(folder).inventory.database_id == "handmade"


def test_the_identity_of_a_table_survives_the_next_checkpoint(tmp_path: Path) -> None:
    settings = PrimarySettings(family_options={"disable_auto_compactions": "true"})
    with Primary(tmp_path / "db", settings) as primary:
        primary.wait_for(6000)
        first = inspect_checkpoint(_capture(primary.path, tmp_path / "root")).inventory
        primary.restart().wait_for_more(3000)
        second = inspect_checkpoint(_capture(primary.path, tmp_path / "root")).inventory
    tables = [
        {file.name: file for file in found.files if file.kind is FileKind.TABLE} for found in (first, second)
    ]
    common = tables[0].keys() & tables[1].keys()
    assert common
    assert {name: tables[0][name] for name in common} == {name: tables[1][name] for name in common}


def test_a_checkpoint_that_an_engine_made(tmp_path: Path) -> None:
    engine = Rdict(str(tmp_path / "db"), Options(raw_mode=True))
    for number in range(100):
        engine[b"%d" % number] = os.urandom(1000)
    engine.flush()
    engine[b"last"] = b"in the log"
    EngineCheckpoint(engine).create_checkpoint(str(tmp_path / "checkpoint"))
    engine.close()
    inventory = inspect_checkpoint(tmp_path / "checkpoint").inventory
    assert {file.kind for file in inventory.files} >= {FileKind.TABLE, FileKind.CURRENT, FileKind.MANIFEST}
    assert inventory.database_id
    assert inventory.column_families == ("default",)
