"""The checks of a copy: the ends of its files, and a real engine that opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.verification import check_nothing, check_structure, check_with_engine
from replicator.demo.settings import PrimarySettings
from replicator.errors import CheckpointError, CorruptFileError
from tests.support.databases import write_batches
from tests.support.handmade import overwrite
from tests.support.primaries import STORMS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(name="copy")
def make_copy(tmp_path: Path) -> Path:
    """A checkpoint with tables, blob files and logs."""
    write_batches(tmp_path / "db", STORMS["blob_files"], 3000)
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    capture = Capture(tmp_path / "db", root)
    capture.make()
    capture.close()
    assert list(root.current.glob("*.blob"))
    for path in root.current.iterdir():  # not the files of the database any more, so that they may be damaged
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    return root.current


def _listing(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    stats = {str(path.relative_to(folder)): path.stat() for path in (folder, *folder.rglob("*"))}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_nlink) for name, stat in stats.items()}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("check", [check_nothing, check_structure, check_with_engine])
def test_a_good_copy_passes_and_stays_as_it_is(copy: Path, check: Callable[[Path, list[str]], None]) -> None:
    before = _listing(copy)
    beside = _names(copy.parent)
    check(copy, _names(copy))
    assert _listing(copy) == before
    assert _names(copy.parent) == beside


@pytest.mark.parametrize("suffix", [".sst", ".blob"])
@pytest.mark.parametrize("damage", ["shortened", "emptied", "overwritten", "removed"])
def test_files_that_do_not_end_as_they_must(copy: Path, suffix: str, damage: str) -> None:
    path = next(copy.glob(f"*{suffix}"))
    match damage:
        case "shortened":
            path.write_bytes(path.read_bytes()[:-1])
        case "emptied":
            path.write_bytes(b"")
        case "removed":
            path.unlink()
        case _:
            overwrite(path, path.stat().st_size - 5, b"?????")
    with pytest.raises(CorruptFileError, match=path.name) as caught:
        check_structure(copy, [path.name])
    assert "primary's disk" in caught.value.hint
    check_nothing(copy, [path.name])


def test_files_of_an_earlier_copy_are_not_read_again(copy: Path) -> None:
    overwrite(next(copy.glob("*.sst")), 0, bytes(100))
    next(copy.glob("*.sst")).unlink()
    check_structure(copy, [])


@pytest.mark.parametrize("damaged", ["table", "missing table", "manifest", "log"])
def test_an_engine_does_not_open_what_is_broken(tmp_path: Path, damaged: str) -> None:
    write_batches(tmp_path / "db", PrimarySettings(), 6000)
    copy = tmp_path / "db"
    for path in copy.glob("LO[GC]*"):
        path.unlink()
    table = max(copy.glob("*.sst"))
    log = max(path for path in copy.glob("*.log") if path.stat().st_size)
    match damaged:
        case "table":
            size = table.stat().st_size
            overwrite(table, size // 2, bytes(size // 2 - 64))
        case "missing table":
            table.unlink()
        case "manifest":
            overwrite(next(copy.glob("MANIFEST-*")), 100, b"?????")
        case _:
            overwrite(log, 500, b"?????")
    with pytest.raises(CheckpointError, match="RocksDB cannot open") as caught:
        check_with_engine(copy, [])
    assert 'verify = "structure"' in caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} == {"db", "db.progress"}


def test_an_engine_does_not_open_a_copy_that_ends_within_a_record(tmp_path: Path) -> None:
    """By default RocksDB takes this for the trace of a crash, and loses the record."""
    write_batches(tmp_path / "db", STORMS["large_memtables"], 500)
    log = max(path for path in (tmp_path / "db").glob("*.log") if path.stat().st_size)
    check_with_engine(tmp_path / "db", [])
    log.write_bytes(log.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"RocksDB cannot open .*truncated record"):
        check_with_engine(tmp_path / "db", [])


def test_the_engine_is_not_asked_about_what_is_broken_already(copy: Path) -> None:
    path = next(copy.glob("*.sst"))
    overwrite(path, path.stat().st_size - 5, b"?????")
    with pytest.raises(CorruptFileError, match=path.name):
        check_with_engine(copy, [path.name])
