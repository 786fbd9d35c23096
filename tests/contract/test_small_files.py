"""Small files, many at a time: each is stored as it was seen, or left and not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import FolderUpload, SmallFile, Upload
from replicator.errors import InterruptedTransferError
from tests.support.destinations import KINDS, WITH_SHELL, destinations_of
from tests.support.observer import RecordingObserver
from tests.support.places import at, entry, names, read, source, works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from replicator.destination.interface import Destination

SECONDS = 1_500_000_000


class FolderRecorder:
    """An observer that writes down what was left of which target; wants to stop after so many."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.left: dict[str, list[str]] = {}
        self.moved_bytes = 0
        self._stop_after = stop_after

    def bytes_moved(self, count: int) -> None:
        self.moved_bytes += count

    def stop_requested(self) -> bool:
        return self._stop_after is not None and len(self.left) >= self._stop_after

    def folder_done(self, upload: FolderUpload, left: Sequence[str]) -> None:
        assert str(upload.target) not in self.left
        self.left[str(upload.target)] = sorted(left)


def files_in(folder: Path, contents: dict[str, bytes], mode: int = 0o640) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(mode)
        os.utime(folder / name, (SECONDS, SECONDS))


def seen_in(folder: Path) -> tuple[SmallFile, ...]:
    found = ((path.name, path.lstat()) for path in sorted(folder.iterdir()))
    return tuple(
        SmallFile(name, status.st_size, status.st_mode & 0o7777, status.st_mtime_ns, status.st_ino)
        for name, status in found
    )


def send(place: Destination, uploads: list[FolderUpload]) -> dict[str, list[str]]:
    """Send them; a place that has no such way leaves all, which is nothing to be tested any further."""
    observer = FolderRecorder()
    place.upload_folders(uploads, observer)
    assert set(observer.left) == {str(upload.target) for upload in uploads}
    return observer.left


@pytest.fixture(params=[*KINDS, *WITH_SHELL], scope="module")
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Path], Destination]]:
    with destinations_of(request.param) as make:
        yield make


@pytest.fixture
def sends(place: Destination, local: Path) -> bool:
    """Whether the destination has such a way at all; without one nothing must have happened."""
    place.make_folder(at("probe"))
    files_in(local / "probe", {"a": b"1"})
    left = send(place, [FolderUpload(str(local / "probe"), "probe", seen_in(local / "probe"), "probe.part")])
    assert names(place, "probe") == ({"a"} if left == {"probe": []} else set())
    return left == {"probe": []}


def test_files_are_stored_with_all_they_carry(place: Destination, local: Path, *, sends: bool) -> None:
    contents = {f"{number}": bytes([number]) * (number * 40) for number in range(200)}
    files_in(local / "many", contents, mode=0o604)
    seen = seen_in(local / "many")
    place.make_folder(at("many"))
    place.make_folder(at("aside"))
    place.upload([Upload(source(local, b"old"), at("many/7"), 3)], RecordingObserver())
    left = send(place, [FolderUpload(str(local / "many"), "many", seen, "aside/0")])
    assert names(place, "aside") == set()
    if not sends:
        assert left == {"many": sorted(contents)}
        assert read(place, "many/7") == b"old"
        return
    assert left == {"many": []}
    for name, data in contents.items():
        assert read(place, f"many/{name}") == data
        found = entry(place, f"many/{name}")
        assert (found.mode, found.modified_seconds) == (0o604, SECONDS)


def test_new_folders_come_as_a_whole(place: Destination, local: Path, *, sends: bool) -> None:
    place.make_folder(at("aside"))
    place.make_folder(at("tree/7"))  # an empty one may be there
    for number in range(150):
        files_in(local / f"{number}", {"-rf": b"x", "new\nline": b"", "ü": b"%d" % number})
    uploads = []
    for number in range(150):
        here = local / f"{number}"
        part = f"aside/{number}"
        uploads.append(FolderUpload(str(here), f"tree/{number}", seen_in(here), part, is_new=True))
    left = send(place, uploads)
    assert names(place, "aside") == set()
    if not sends:
        assert names(place, "tree") == {"7"}
        return
    assert not any(left.values())
    assert names(place, "tree") == {f"{number}" for number in range(150)}
    for number in range(150):
        assert names(place, f"tree/{number}") == {"-rf", "new\nline", "ü"}
        assert read(place, f"tree/{number}/ü") == b"%d" % number


def _grow(path: Path) -> None:
    path.write_bytes(b"more than before")


def _rewrite(path: Path) -> None:
    path.write_bytes(b"other")


def _replace(path: Path) -> None:
    path.with_name("another").write_bytes(b"other")
    os.utime(path.with_name("another"), (SECONDS, SECONDS))
    path.with_name("another").rename(path)


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("0")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("change", [_grow, _rewrite, _replace, _link, _pipe, _folder, os.unlink])
def test_what_is_another_file_by_now_is_left(
    place: Destination, local: Path, *, sends: bool, change: Callable[[Path], None], is_new: bool
) -> None:
    place.make_folder(at("aside"))
    if not is_new:
        place.make_folder(at("target"))
    files_in(local / "files", dict.fromkeys("012", b"bytes"))
    seen = seen_in(local / "files")
    change(local / "files" / "1")
    left = send(place, [FolderUpload(str(local / "files"), "target", seen, "aside/part", is_new=is_new)])
    assert names(place, "aside") == set()
    if is_new or not sends:
        assert left == {"target": ["0", "1", "2"]}
        assert "target" not in names(place) if is_new else names(place, "target") == set()
    else:
        assert left == {"target": ["1"]}
        assert names(place, "target") == {"0", "2"}
    assert works(place)


def test_a_folder_that_has_something_in_it_is_not_replaced(place: Destination, local: Path) -> None:
    place.make_folder(at("aside"))
    place.make_folder(at("target/inner"))
    files_in(local / "files", {"a": b"1", "b": b"2"})
    upload = FolderUpload(str(local / "files"), "target", seen_in(local / "files"), "aside/part", is_new=True)
    assert send(place, [upload]) == {"target": ["a", "b"]}
    assert names(place, "target") == {"inner"}
    assert names(place, "aside") == set()


def test_what_is_refused_is_left_and_the_others_are_stored(
    place: Destination, local: Path, *, sends: bool
) -> None:
    place.make_folder(at("aside"))
    place.make_folder(at("target/folder"))
    files_in(local / "files", {"a": b"1", "folder": b"2", "z": b"3"})
    files_in(local / "lost", {"a": b"1"})
    left = send(
        place,
        [
            FolderUpload(str(local / "files"), "target", seen_in(local / "files"), "aside/0"),
            FolderUpload(str(local / "lost"), "missing", seen_in(local / "lost"), "aside/1"),
            FolderUpload(str(local / "gone"), "elsewhere", seen_in(local / "lost"), "aside/2"),
        ],
    )
    assert left["missing"] == left["elsewhere"] == ["a"]
    assert left["target"] == (["folder"] if sends else ["a", "folder", "z"])
    assert names(place, "target") == ({"a", "folder", "z"} if sends else {"folder"})
    assert names(place, "target/folder") == set()
    assert names(place, "aside") == set()


def test_a_link_in_the_way_is_replaced_and_not_written_through(
    place: Destination, local: Path, *, sends: bool
) -> None:
    place.make_folder(at("aside"))
    place.make_folder(at("target"))
    place.upload([Upload(source(local, b"kept"), at("victim"), 4)], RecordingObserver())
    place.point_link(at("target/a"), "../victim")
    files_in(local / "files", {"a": b"new"})
    send(place, [FolderUpload(str(local / "files"), "target", seen_in(local / "files"), "aside/0")])
    assert read(place, "victim") == b"kept"
    if sends:
        assert read(place, "target/a") == b"new"


def test_a_stop_leaves_what_is_not_begun(place: Destination, local: Path, *, sends: bool) -> None:
    if not sends:
        assert names(place, "probe") == set()
        return
    place.make_folder(at("aside"))
    uploads = []
    for number in range(300):
        files_in(local / f"{number}", {f"{name}": b"x" for name in range(17)})
        seen = seen_in(local / f"{number}")
        uploads.append(FolderUpload(str(local / f"{number}"), f"t{number}", seen, f"aside/{number}", is_new=True))
    observer = FolderRecorder(stop_after=1)
    with pytest.raises(InterruptedTransferError):
        place.upload_folders(uploads, observer)
    assert 0 < len(observer.left) < 300
    done = {target for target, left in observer.left.items() if not left}
    assert {name for name in names(place) if name.startswith("t")} == done
    for target in done:
        assert len(names(place, target)) == 17
    assert names(place, "aside") == set()
    assert works(place)


def test_more_is_sent_at_a_time_than_a_server_takes_unanswered(
    place: Destination, local: Path, *, sends: bool
) -> None:
    data = os.urandom(30_000)
    uploads = []
    for number in range(12):
        files_in(local / f"{number}", {f"{name}": data for name in range(50)})
        seen = seen_in(local / f"{number}")
        uploads.append(FolderUpload(str(local / f"{number}"), f"{number}", seen, f"{number}.part", is_new=True))
    left = send(place, uploads)
    if sends:
        assert not any(left.values())
        for number in range(12):
            assert names(place, f"{number}") == {f"{name}" for name in range(50)}
        assert read(place, "11/49") == data
