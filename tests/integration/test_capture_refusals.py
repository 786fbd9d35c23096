"""Databases that cannot be captured, or no longer: each is refused with a message that says why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rocksdict import DBPath, Options, Rdict

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.errors import (
    CheckpointError,
    CorruptFileError,
    ReplicatorError,
    SourceError,
    UnsupportedFormatError,
)
from tests.support import rocksdb_encoding as encode
from tests.support.checks import unprivileged
from tests.support.handmade import HandmadeDatabase, overwrite, read_held
from tests.support.openssh import UNPRIVILEGED_USER

if TYPE_CHECKING:
    from collections.abc import Callable

ONLY_WAL_DIR = """
[Version]
  rocksdb_version=9.8.4
  options_file_version=1.1
[DBOptions]
  wal_dir={}
[CFOptions "default"]
"""


@pytest.fixture(name="root")
def make_root(tmp_path: Path) -> CheckpointRoot:
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    return root


@pytest.fixture(name="database")
def make_database(tmp_path: Path) -> HandmadeDatabase:
    """A database with a table and a log."""
    database = HandmadeDatabase(tmp_path / "db")
    database.create_wal(4)
    database.write(4, count=100, body=bytes(300))
    database.flush(10, (1, 50), 4)
    return database


def _refused(database: Path, root: CheckpointRoot, kind: type[ReplicatorError], match: str) -> str:
    """Check that it is refused, twice in the same way, and leaves nothing; return the hint."""
    capture = Capture(database, root)
    for _ in range(2):
        with pytest.raises(kind, match=match) as caught:
            capture.make()
        assert type(caught.value) is kind
    capture.close()
    assert not root.current.exists()
    assert not root.staging.exists()
    return caught.value.hint


def test_no_database(tmp_path: Path, root: CheckpointRoot) -> None:
    (tmp_path / "db").mkdir()
    assert "CURRENT" in _refused(tmp_path / "db", root, SourceError, "no RocksDB database at .*/db")
    _refused(tmp_path / "nothing", root, SourceError, "there is no folder .*/nothing")


def test_a_garbled_current(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    (database.path / "CURRENT").write_text("MANIFEST-1/../../etc/passwd\n")
    _refused(database.path, root, CorruptFileError, "CURRENT does not name a MANIFEST")


# --- damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [200, 5000])
def test_a_damaged_record_in_the_middle_of_a_log(
    database: HandmadeDatabase, root: CheckpointRoot, offset: int
) -> None:
    overwrite(database.wal_path(4), offset, b"!")
    assert "disk" in _refused(
        database.path, root, CorruptFileError, r"000004\.log: the record at byte \d+ is damaged"
    )


def test_a_long_damaged_stretch_in_the_middle_of_a_log(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    """What stands behind it is missing in the copy: a hole, if a newer log goes on."""
    damaged_from = database.wal_path(4).stat().st_size
    database.write(4, count=600, body=bytes(10_000))
    overwrite(database.wal_path(4), damaged_from, b"!" * 5_000_000)
    _refused(database.path, root, CorruptFileError, r"000004\.log: the record at byte \d+ is damaged")


def test_an_unfinished_record_at_the_end_of_a_log_is_cut_off(
    database: HandmadeDatabase, root: CheckpointRoot
) -> None:
    path = database.wal_path(4)
    path.write_bytes(path.read_bytes()[:-3])
    Capture(database.path, root).make()
    held = read_held(root.current)  # which looks at the end of the log
    assert held.is_one_point
    assert len(held.sequences) == 99


def test_a_damaged_manifest(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    """Reading no further, one would miss the tables that are listed behind the damage."""
    damaged_from = database.manifest_path.stat().st_size
    database.flush(11, (51, 60), 4)
    database.flush(12, (61, 70), 4)
    overwrite(database.manifest_path, damaged_from + 20, b"!")
    _refused(
        database.path, root, CorruptFileError, rf"MANIFEST-000001: the record at byte {damaged_from} is damaged"
    )


def test_an_unfinished_record_at_the_end_of_the_manifest_is_cut_off(
    database: HandmadeDatabase, root: CheckpointRoot
) -> None:
    whole_bytes = database.manifest_path.stat().st_size
    with database.manifest_path.open("ab") as manifest:
        manifest.write(encode.physical_record(1, encode.log_number(9) * 20)[:-1])
    Capture(database.path, root).make()
    assert (root.current / "MANIFEST-000001").stat().st_size == whole_bytes


def test_an_edit_that_is_not_known(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.edit(encode.number_field(999, 1))
    _refused(database.path, root, UnsupportedFormatError, "MANIFEST-000001: .*999")


def test_a_table_that_is_no_table(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    overwrite(database.table_path(10), 995, b"?????")
    _refused(database.path, root, CorruptFileError, r"000010\.sst: the table ends with")


def test_a_table_of_another_size(
    database: HandmadeDatabase, root: CheckpointRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.checkpoint.capture._LONGEST_WAIT_SECONDS", 0.001)
    os.truncate(database.table_path(10), 999)
    with pytest.raises(CheckpointError, match=r"000010\.sst has 999 bytes where the MANIFEST says 1000"):
        Capture(database.path, root).make()
    assert not root.current.exists()


def test_tables_that_are_lost(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    for number in range(11, 15):
        database.flush(number, (number + 40, number + 40), 4)
        database.table_path(number).unlink()
    match = r"MANIFEST-000001 lists 000011\.sst, 000012\.sst, 000013\.sst and 1 more, but not in .*/db"
    assert "db_paths" in _refused(database.path, root, SourceError, match)


@pytest.mark.parametrize(
    "repair", [lambda path, content: overwrite(path, 0, content), lambda path, content: path.write_bytes(content)]
)
def test_after_a_repair_all_is_well_again(
    database: HandmadeDatabase, root: CheckpointRoot, repair: Callable[[Path, bytes], None]
) -> None:
    capture = Capture(database.path, root)
    content = database.wal_path(4).read_bytes()
    overwrite(database.wal_path(4), 5000, b"!")
    with pytest.raises(CorruptFileError):
        capture.make()
    repair(database.wal_path(4), content)
    capture.make()
    capture.close()
    assert len(read_held(root.current).sequences) == 100


# --- files elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["000010.sst", "000004.log", "MANIFEST-000001"])
def test_symbolic_links(database: HandmadeDatabase, root: CheckpointRoot, tmp_path: Path, name: str) -> None:
    """They could lead to any file that this process may read."""
    (database.path / name).rename(tmp_path / "elsewhere")
    (database.path / name).symlink_to(tmp_path / "elsewhere")
    hint = _refused(database.path, root, SourceError, f"{name} in the database is not a regular file")
    assert "symbolic links" in hint


def test_a_table_in_another_folder(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.edit(encode.new_table(11, sequences=(60, 60), path_id=1) + encode.log_number(4))
    hint = _refused(database.path, root, UnsupportedFormatError, r"several folders .*: 000011\.sst")
    assert "single" in hint


@pytest.mark.parametrize(
    ("folders", "match"), [(["db", "second"], "several folders"), (["second"], "MANIFEST-.* lists 0000")]
)
def test_the_folders_of_a_real_engine(
    tmp_path: Path, root: CheckpointRoot, folders: list[str], match: str
) -> None:
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_level_zero_file_num_compaction_trigger(2)
    options.set_db_paths([DBPath(str(tmp_path / name), 1000) for name in folders])
    engine = Rdict(str(tmp_path / "db"), options)
    while not any((tmp_path / "second").glob("*.sst")):
        for key in range(10):
            engine[b"%d" % key] = os.urandom(500)
        engine.flush()
    engine.close()
    with pytest.raises(SourceError, match=match) as caught:
        Capture(tmp_path / "db", root).make()
    assert "folder" in caught.value.hint
    assert not root.current.exists()


def test_logs_in_a_folder_that_is_not_here(database: HandmadeDatabase, root: CheckpointRoot) -> None:
    database.wal_path(4).unlink()
    (database.path / "OPTIONS-000007").write_text(ONLY_WAL_DIR.format("/nowhere/logs"))
    hint = _refused(
        database.path, root, UnsupportedFormatError, "logs in /nowhere/logs, which does not exist here"
    )
    assert "mount" in hint
    (database.path / "OPTIONS-000009").write_text(ONLY_WAL_DIR.format("logs"))
    _refused(database.path, root, UnsupportedFormatError, "in the relative folder 'logs'")


# --- rights -------------------------------------------------------------------------------------------


@pytest.fixture(name="anothers_database")
def make_anothers_database(database: HandmadeDatabase, root: CheckpointRoot, tmp_path: Path) -> Path:
    """A database that all may read, and a checkpoint root that belongs to somebody else."""
    for folder in (tmp_path, *tmp_path.parents, database.path):
        folder.chmod(folder.stat().st_mode | 0o055)
    for path in database.path.iterdir():
        path.chmod(0o644)
    shutil.chown(root.path, UNPRIVILEGED_USER)
    return database.path


def test_a_user_who_may_not_link(anothers_database: Path, root: CheckpointRoot) -> None:
    assert Path("/proc/sys/fs/protected_hardlinks").read_text() == "1\n"
    match = f"not allowed to make hard links to the files of {anothers_database}"
    with unprivileged(), pytest.raises(SourceError, match=match) as caught:
        Capture(anothers_database, root).make()
    assert "owner" in caught.value.hint
    assert "CAP_FOWNER" in caught.value.hint


@pytest.mark.parametrize("name", [".", "CURRENT", "MANIFEST-000001", "000004.log", "IDENTITY"])
def test_a_user_who_may_not_read(anothers_database: Path, root: CheckpointRoot, name: str) -> None:
    (anothers_database / name).chmod(0o711 if name == "." else 0o600)
    match = f"cannot {'list' if name == '.' else 'read'} {anothers_database / name}"
    with unprivileged(), pytest.raises(SourceError, match=match) as caught:
        Capture(anothers_database, root).make()
    assert "run as the application's user" in caught.value.hint


def test_a_root_that_cannot_be_written(database: HandmadeDatabase, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot make the checkpoint root .*/file/root: Not a directory"):
        CheckpointRoot(tmp_path / "file" / "root").create()
    with pytest.raises(CheckpointError, match=r"no checkpoint of .*/db in .*/missing"):
        Capture(database.path, CheckpointRoot(tmp_path / "missing")).make()
