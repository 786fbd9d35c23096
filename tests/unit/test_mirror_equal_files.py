"""Files that are equal on both sides, dropped as a folder is read: the plan is the one that all would give."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import Entry, EntryKind, Owner
from replicator.mirror.equal_files import read_others
from replicator.mirror.plan import FolderPlan, LocalEntry, plan_folder

if TYPE_CHECKING:
    from pathlib import Path

ME = Owner(os.getuid(), os.getgid())
STRANGER = Owner(os.getuid() + 1, os.getgid())
SECONDS = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One name of each kind, and a file named `file`."""
    path = tmp_path / "folder"
    path.mkdir()
    for name in ("file", "linked", "past"):
        (path / name).write_bytes(b"content")
        (path / name).chmod(0o640)
        os.utime(path / name, ns=(0, SECONDS * 10**9 + 999_999_999))
    os.link(path / "linked", tmp_path / "other name")
    os.utime(path / "past", (0, -1))
    (path / "folder").mkdir()
    (path / "link").symlink_to("file")
    os.mkfifo(path / "pipe")
    return path


def others(folder: Path, there: dict[str, Entry], *, with_owner: bool = False) -> dict[str, LocalEntry]:
    with os.scandir(folder) as names:
        return read_others(names, there, with_owner=with_owner)


def entry(name: str = "file", **changes: object) -> Entry:
    return Entry(name, EntryKind.FILE, 7, SECONDS, 0o640, ME)._replace(**changes)  # type: ignore[arg-type]


def plan(local: dict[str, LocalEntry], there: dict[str, Entry], *, with_owner: bool) -> FolderPlan:
    return plan_folder(local, there, fresh=False, with_owner=with_owner, is_excluded=None)


def test_all_names_where_there_is_nothing_to_compare_with(folder: Path) -> None:
    found = others(folder, {})
    assert {name: local.kind for name, local in found.items()} == {
        "file": EntryKind.FILE,
        "linked": EntryKind.FILE,
        "past": EntryKind.FILE,
        "folder": EntryKind.FOLDER,
        "link": EntryKind.SYMLINK,
        "pipe": EntryKind.OTHER,
    }
    seen = (folder / "file").stat()
    assert found["file"] == (
        EntryKind.FILE,
        seen.st_size,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
        stat.S_IMODE(seen.st_mode),
        seen.st_uid,
        seen.st_gid,
        seen.st_ino,
        1,
    )


def test_an_equal_file_is_dropped_on_both_sides(folder: Path) -> None:
    there = {"file": entry(), "surplus": entry("surplus")}
    found = others(folder, there)
    assert "file" not in found
    assert len(found) == 5
    assert there == {"surplus": entry("surplus")}


def test_a_file_with_several_names_is_left_for_whoever_remembers_those(folder: Path) -> None:
    there = {"linked": entry("linked")}
    assert others(folder, there)["linked"].links == 2
    assert there == {"linked": entry("linked")}


@pytest.mark.parametrize("with_owner", [True, False])
@pytest.mark.parametrize("name", ["file", "linked", "past", "folder", "link", "pipe", "surplus"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size_bytes": 8},
        {"modified_seconds": SECONDS + 1},
        {"modified_seconds": 0},
        {"mode": 0o600},
        {"owner": STRANGER},
        {"owner": None},
        *({"kind": kind} for kind in EntryKind),
    ],
)
def test_what_is_left_gives_the_plan_that_all_would_give(
    folder: Path, name: str, changes: dict[str, object], *, with_owner: bool
) -> None:
    everything = {name: entry(name, **changes), "file": entry("file", **(changes if name == "file" else {}))}
    there = dict(everything)
    found = others(folder, there, with_owner=with_owner)
    expected = plan(others(folder, {}), everything, with_owner=with_owner)
    assert plan(found, there, with_owner=with_owner) == expected
