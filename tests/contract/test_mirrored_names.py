"""Many names at once, as a mirror needs them: what every destination does alike."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import EntryKind, FileAttributes, Owner, SymbolicLink, Upload
from replicator.errors import (
    DestinationError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
    SourceChangedError,
)
from tests.support.observer import RecordingObserver
from tests.support.places import at, entry, names, read, source, works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from replicator.destination.interface import Destination, Entry

# A name may have 255 bytes.
ODD_NAMES = ["with space", "ü", "new\nline", "-rf", ".hidden", "*", "byte\udcff", "x" * 255, "ü" * 127]
LAST_SECOND = 2**32 - 1


def listed(place: Destination, folders: Sequence[str]) -> dict[str, set[str] | None]:
    found = list(place.list_folders(folders))
    assert len(found) == len(folders)
    return {folder: None if entries is None else {item.name for item in entries} for folder, entries in found}


class Queue:
    """What a caller adds to while results come."""

    def __init__(self, *folders: str) -> None:
        self.folders = deque(folders)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.folders:
            raise StopIteration
        return self.folders.popleft()


# --- listing -----------------------------------------------------------------------------------------


def test_many_folders_are_listed(place: Destination) -> None:
    folders = [f"folder{number}" for number in range(400)]
    place.make_folders([at(folder) for folder in folders])
    place.make_folders([at(folder) / f"in{folder}" for folder in folders[::2]])
    wanted = {folder: {f"in{folder}"} if number % 2 == 0 else set() for number, folder in enumerate(folders)}
    assert listed(place, folders) == wanted
    assert listed(place, []) == {}


def test_a_listing_tells_what_names_carry(place: Destination, local: Path) -> None:
    place.make_folder(at("top/folder"))
    attributes = FileAttributes(0o604, 1_000_000_000)
    place.upload([Upload(source(local, b"12345"), at("top/file"), 5, attributes=attributes)], RecordingObserver())
    place.set_attributes([(at("top/folder"), FileAttributes(0o701, 5))])
    place.point_link(at("top/link"), "folder")
    ((_, entries),) = place.list_folders(["top"])
    assert entries is not None
    found = {item.name: item for item in entries}
    assert {name: item.kind for name, item in found.items()} == {
        "folder": EntryKind.FOLDER,
        "file": EntryKind.FILE,
        "link": EntryKind.SYMLINK,
    }
    assert (found["file"].size_bytes, found["file"].mode, found["file"].modified_seconds) == (5, 0o604, 10**9)
    assert (found["folder"].mode, found["folder"].modified_seconds) == (0o701, 5)
    assert sorted(entries, key=lambda item: item.name) == sorted(
        place.list_folder(at("top")), key=lambda item: item.name
    )


def test_a_folder_that_is_missing_or_none_is_told_as_such(place: Destination) -> None:
    place.write_bytes(at("file"), b"")
    place.make_folder(at("folder/inner"))
    place.point_link(at("link"), "folder")
    place.point_link(at("nowhere"), "missing")
    assert listed(place, ["missing", "file", "link", "nowhere", "folder", "file/below", ""]) == {
        "missing": None,
        "file": None,
        "link": None,
        "nowhere": None,
        "folder": {"inner"},
        "file/below": None,
        "": {"file", "folder", "link", "nowhere"},
    }


def test_a_tree_is_walked_by_adding_to_what_is_listed(place: Destination) -> None:
    wanted = ["top", *(f"top/{one}" for one in range(15))]
    wanted += [f"top/{one}/{two}" for one in range(15) for two in range(15)]
    place.make_folders([at(folder) for folder in wanted])
    queue, seen = Queue("top"), []
    for folder, entries in place.list_folders(queue):
        seen.append(folder)
        queue.folders.extend(f"{folder}/{item.name}" for item in entries or [])
    assert sorted(seen) == sorted(wanted)


def test_no_link_is_entered_in_a_walk(place: Destination) -> None:
    place.make_folders([at("top"), at("top/folder"), at("top/folder/inner")])
    place.make_symlinks([SymbolicLink(at("top/link"), "folder")])
    queue, found = Queue("top"), {}
    for folder, entries in place.list_folders(queue):
        found[folder] = entries
        queue.folders.extend(f"{folder}/{item.name}" for item in entries or [])
    assert found["top/link"] is None
    assert [item.name for item in found["top/folder"] or []] == ["inner"]


def test_what_became_a_link_since_the_last_walk_is_no_folder(place: Destination) -> None:
    place.make_folders([at("top"), at("top/folder"), at("top/other")])
    queue = Queue("top")
    ((_, entries),) = place.list_folders(queue)
    assert {item.name for item in entries or []} == {"folder", "other"}
    place.remove_tree(at("top/folder"))
    place.make_symlinks([SymbolicLink(at("top/folder"), "other")])
    assert dict(place.list_folders(["top/folder", "top/other"])) == {"top/folder": None, "top/other": []}


def test_a_folder_of_five_thousand_names(place: Destination) -> None:
    wanted = {f"{number:04}" for number in range(5000)}
    place.make_folders([at("large"), at("small"), at("small/one")])
    place.make_folders([at("large") / name for name in sorted(wanted)])
    assert listed(place, ["large", "small"]) == {"large": wanted, "small": {"one"}}


def test_no_folder_is_asked_for_before_there_is_room(place: Destination) -> None:
    place.make_folder(at("folder"))
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "folder"

    results = place.list_folders(endless())
    for _ in range(1000):
        assert next(results) == ("folder", [])
    assert taken <= 2000


def test_a_place_is_changed_while_it_is_listed(place: Destination, local: Path) -> None:
    folders = [f"folder{number}" for number in range(200)]
    place.make_folders([at(folder) for folder in folders])
    path, observer, seen = source(local, b"data"), RecordingObserver(), []
    for folder, _ in place.list_folders(folders):
        seen.append(folder)
        if len(seen) % 20 == 0:
            place.upload([Upload(path, at(folder) / name, 4, sync=False) for name in "ab"], observer)
    assert sorted(seen) == sorted(folders)
    assert len(observer.done) == 20


def test_a_listing_that_is_given_up_leaves_the_place_usable(place: Destination) -> None:
    folders = [f"folder{number}" for number in range(300)]
    place.make_folders([at(folder) for folder in folders])
    results = place.list_folders(folders)
    next(results)
    del results
    assert works(place)
    assert len(names(place)) == 301


# --- making and removing -----------------------------------------------------------------------------


def test_folders_are_made_and_existing_ones_left(place: Destination) -> None:
    place.make_folder(at("a"))
    place.write_bytes(at("a/file"), b"1")
    for _ in range(2):
        place.make_folders([at("a"), at("a/b"), at("a/b/c"), at("d")])
    place.make_folders([])
    assert names(place) == {"a", "d"}
    assert names(place, "a") == {"file", "b"}
    assert names(place, "a/b") == {"c"}


def test_a_folder_needs_its_parent_but_the_others_are_made(place: Destination) -> None:
    with pytest.raises(NotFoundError, match="missing/below"):
        place.make_folders([at("first"), at("missing/below"), at("last")])
    assert names(place) == {"first", "last"}


@pytest.mark.parametrize("taken", ["file", "link"])
def test_no_folder_is_made_of_something_else(place: Destination, taken: str) -> None:
    place.make_folder(at("folder"))
    place.write_bytes(at("file"), b"kept")
    place.point_link(at("link"), "folder")
    with pytest.raises(PermanentDestinationError, match=f"{taken} exists and is no folder"):
        place.make_folders([at("first"), at(taken), at("last")])
    assert names(place) == {"folder", "file", "link", "first", "last"}
    assert place.read_link(at("link")) == "folder"
    assert read(place, "file") == b"kept"


def test_files_and_links_are_removed_and_never_what_links_point_to(place: Destination, local: Path) -> None:
    place.make_folder(at("kept"))
    path = source(local, b"1")
    place.upload([Upload(path, at(f"{number}"), 1) for number in range(300)], RecordingObserver())
    place.upload([Upload(path, at("kept/file"), 1)], RecordingObserver())
    place.make_symlinks([SymbolicLink(at("to-file"), "kept/file"), SymbolicLink(at("to-folder"), "kept")])
    paths = [at(f"{number}") for number in range(300)]
    for _ in range(2):
        place.remove_files([*paths, at("to-file"), at("to-folder"), at("missing/below"), at("kept/file/below")])
    assert names(place) == {"kept"}
    assert read(place, "kept/file") == b"1"


def test_a_folder_is_not_removed_as_a_file_but_the_others_are(place: Destination) -> None:
    place.make_folder(at("folder"))
    for name in ("a", "b"):
        place.write_bytes(at(name), b"")
    with pytest.raises(PermanentDestinationError):
        place.remove_files([at("a"), at("folder"), at("b")])
    assert names(place) == {"folder"}


# --- symbolic links ----------------------------------------------------------------------------------


def test_many_links_are_made_and_read(place: Destination) -> None:
    texts = [f"to/{number}" for number in range(300)]
    links = [SymbolicLink(at(f"link{number}"), text) for number, text in enumerate(texts)]
    for _ in range(2):
        place.make_symlinks(links)
    place.make_symlinks([])
    place.write_bytes(at("file"), b"")
    found = place.read_links([*(link.path for link in links), at("file"), at("missing"), at("file/below")])
    assert found == [*texts, None, None, None]
    assert names(place) == {"file", *(str(link.path) for link in links)}


@pytest.mark.parametrize("part", [None, "aside/part"])
def test_a_link_replaces_files_and_links_but_never_writes_through_one(
    place: Destination, part: str | None
) -> None:
    place.make_folder(at("aside"))
    for name in ("file", "kept", "link.part"):
        place.write_bytes(at(name), name.encode())
    place.make_symlinks([SymbolicLink(at("link"), "kept"), SymbolicLink(at("folder-link"), "aside")])
    paths = ["file", "link", "folder-link"]
    for text in ("elsewhere", "there"):
        place.make_symlinks(
            [
                SymbolicLink(at(path), text, None if part is None else at(f"{part}{number}"))
                for number, path in enumerate(paths)
            ]
        )
        assert place.read_links([at(path) for path in paths]) == [text] * 3
    assert names(place) == {"aside", "kept", "link.part", *paths}
    assert names(place, "aside") == set()
    assert read(place, "kept") == b"kept"
    assert read(place, "link.part") == b"link.part"


def test_a_link_replaces_no_folder_and_needs_its_own_but_the_others_are_made(place: Destination) -> None:
    place.make_folder(at("folder"))
    links = [SymbolicLink(at(path), "text") for path in ("first", "folder", "last")]
    with pytest.raises(PermanentDestinationError):
        place.make_symlinks(links)
    assert names(place) == {"first", "folder", "last"}
    with pytest.raises(NotFoundError):
        place.make_symlinks([SymbolicLink(at("missing/link"), "text"), SymbolicLink(at("more"), "text")])
    assert place.read_links([at("first"), at("last"), at("more")]) == ["text"] * 3


# --- attributes --------------------------------------------------------------------------------------


def carried(found: Entry) -> tuple[int, int]:
    return found.mode, found.modified_seconds


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o640, 0o777, 0o4755, 0o1777, 0o7777])
def test_modes_are_set_setuid_bits_too(place: Destination, local: Path, mode: int) -> None:
    attributes = FileAttributes(mode, 7)
    place.make_folder(at("folder"))
    place.write_bytes(at("file"), b"1")
    assert place.set_attributes([(at("file"), attributes), (at("folder"), attributes)]) == []
    upload = Upload(source(local, b"1"), at("uploaded"), 1, attributes=attributes)
    place.upload([upload], RecordingObserver())
    place.upload([upload], RecordingObserver())
    assert [carried(entry(place, name)) for name in ("file", "folder", "uploaded")] == [(mode, 7)] * 3


@pytest.mark.parametrize(
    ("seconds", "stored"),
    [
        (0, 0),
        (1, 1),
        (2**31, 2**31),
        (LAST_SECOND, LAST_SECOND),
        (-5, 0),
        (2**32, LAST_SECOND),
        (2**40, LAST_SECOND),
    ],
)
def test_times_are_kept_within_32_bits(place: Destination, local: Path, seconds: int, stored: int) -> None:
    attributes = FileAttributes(0o644, seconds)
    assert attributes.stored_seconds == stored
    place.make_folder(at("folder"))
    place.upload([Upload(source(local, b"1"), at("file"), 1, attributes=attributes)], RecordingObserver())
    place.set_attributes([(at("folder"), attributes)])
    assert [entry(place, name).modified_seconds for name in ("file", "folder")] == [stored] * 2


def test_attributes_of_many_files(place: Destination, local: Path) -> None:
    path = source(local, b"1")
    numbers = range(300)
    place.upload([Upload(path, at(f"{number}"), 1, sync=False) for number in numbers], RecordingObserver())
    items = [(at(f"{number}"), FileAttributes(0o600 + number % 8, 1000 + number)) for number in numbers]
    missing = at("missing"), FileAttributes(0o600, 1)
    below = at("1/below"), FileAttributes(0o600, 1)
    for _ in range(2):
        assert sorted(place.set_attributes([missing, *items, below])) == [at("1/below"), at("missing")]
    found = {item.name: carried(item) for item in place.list_folder(at("."))}
    assert found == {str(path): (attributes.mode, attributes.modified_seconds) for path, attributes in items}
    assert place.set_attributes([]) == []


def test_attributes_are_never_set_through_a_link(place: Destination) -> None:
    place.make_folder(at("folder"))
    place.write_bytes(at("file"), b"1")
    old = FileAttributes(0o640, 1000, Owner(os.getuid(), os.getgid()))
    place.set_attributes([(at("folder"), old), (at("file"), old)])
    place.make_symlinks([SymbolicLink(at(f"to-{name}"), name) for name in ("folder", "file", "missing")])
    links = [at("to-folder"), at("to-file"), at("to-missing")]
    for _ in range(2):
        new = FileAttributes(0o600, 2000, Owner(os.getuid(), os.getgid()))
        assert sorted(place.set_attributes([(link, new) for link in links])) == sorted(links)
        assert [carried(entry(place, name)) for name in ("folder", "file")] == [(0o640, 1000)] * 2
    # A link among the names says nothing of the others.
    assert place.set_attributes([(at("to-file"), new), (at("file"), new)]) == [at("to-file")]
    assert carried(entry(place, "file")) == (0o600, 2000)


def test_an_owner_that_may_not_be_set_is_no_error(place: Destination, local: Path) -> None:
    attributes = FileAttributes(0o4751, 1000, Owner(4321, 8765))
    place.make_folder(at("folder"))
    place.write_bytes(at("file"), b"1")
    upload = Upload(source(local, b"1"), at("uploaded"), 1, attributes=attributes)
    place.upload([upload], RecordingObserver())
    assert place.set_attributes([(at("file"), attributes), (at("folder"), attributes)]) == []
    found = [entry(place, name) for name in ("file", "folder", "uploaded")]
    assert [carried(item) for item in found] == [(0o4751, 1000)] * 3
    assert len({item.owner for item in found}) == 1
    assert found[0].owner is not None


# --- uploads -----------------------------------------------------------------------------------------


def test_an_upload_is_written_aside(place: Destination, local: Path) -> None:
    place.make_folders([at("aside"), at("tree")])
    place.write_bytes(at("tree/file.part"), b"a file of its own")
    place.write_bytes(at("aside/0"), b"of a try that broke off")
    wanted = ["file", "x" * 255, "byte\udcff"]
    uploads = [
        Upload(source(local, b"%d" % number, f"{number}"), at("tree") / name, 1, part=at(f"aside/{number}"))
        for number, name in enumerate(wanted)
    ]
    observer = RecordingObserver()
    place.upload(uploads, observer)
    assert [name for name, _ in observer.done] == [f"tree/{name}" for name in wanted]
    assert names(place, "tree") == {"file.part", *wanted}
    assert names(place, "aside") == set()
    assert [read(place, f"tree/{name}") for name in wanted] == [b"0", b"1", b"2"]
    assert read(place, "tree/file.part") == b"a file of its own"


@pytest.mark.parametrize("gone", ["aside", "tree"])
def test_an_upload_aside_needs_both_folders(place: Destination, local: Path, gone: str) -> None:
    place.make_folders([at("aside"), at("tree")])
    place.remove_tree(at(gone))
    upload = Upload(source(local, b"data"), at("tree/file"), 4, part=at("aside/part"), optional=True)
    observer = RecordingObserver()
    with pytest.raises(NotFoundError):
        place.upload([upload], observer)
    assert (observer.done, observer.skipped) == ([], [])
    assert all(names(place, folder) == set() for folder in names(place))
    assert works(place)


def test_an_upload_goes_over_a_link_and_not_through_it(place: Destination, local: Path) -> None:
    place.write_bytes(at("kept"), b"kept")
    place.make_folder(at("folder"))
    place.make_symlinks(
        [SymbolicLink(at("a"), "kept"), SymbolicLink(at("b"), "folder"), SymbolicLink(at("c"), "no")]
    )
    path, attributes = source(local, b"data"), FileAttributes(0o600, 5)
    place.upload([Upload(path, at(name), 4, attributes=attributes) for name in "abc"], RecordingObserver())
    assert [entry(place, name).kind for name in "abc"] == [EntryKind.FILE] * 3
    assert read(place, "kept") == b"kept"
    assert names(place, "folder") == set()


def test_optional_uploads_that_cannot_be_read_are_skipped_and_the_others_done(
    place: Destination, local: Path
) -> None:
    place.make_folders([at("aside"), at("tree")])
    place.write_bytes(at("tree/short"), b"before")
    good = source(local, b"good", "good")
    (local / "folder").mkdir()
    (local / "link").symlink_to(good)
    os.mkfifo(local / "pipe")
    bad = {
        "missing": local / "missing",
        "below": good / "below",
        "folder": local / "folder",
        "link": local / "link",
        "pipe": local / "pipe",
        "short": source(local, b"12", "short"),
    }
    uploads = []
    for number in range(120):
        name, path = list(bad.items())[number // 20] if number % 20 == 7 else (f"{number}", good)
        uploads.append(Upload(path, at("tree") / name, 4, part=at(f"aside/{number}"), sync=False, optional=True))
    observer = RecordingObserver()
    place.upload(uploads, observer)
    assert sorted(name for name, _ in observer.skipped) == sorted(f"tree/{name}" for name in bad)
    assert len(observer.done) == 120 - len(bad)
    assert names(place, "aside") == set()
    assert names(place, "tree") == {"short", *(f"{number}" for number in range(120) if number % 20 != 7)}
    assert read(place, "tree/short") == b"before"
    assert works(place)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other bytes")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, grow, replace, lambda path: os.truncate(path, 5), os.unlink])
def test_a_file_that_changes_while_it_is_read_is_not_put_in_place(
    place: Destination, local: Path, change: Callable[[Path], None]
) -> None:
    place.write_bytes(at("changing"), b"before")
    size_bytes = 9_000_000
    changing = source(local, bytes(size_bytes), "changing")
    os.utime(changing, (1000, 1000))
    changes = [change]
    uploads = [
        Upload(changing, at("changing"), size_bytes, sync=False, optional=True),
        Upload(source(local, b"good", "good"), at("good"), 4, sync=False, optional=True),
    ]

    def change_once(_moved_bytes: int) -> None:
        if changes:
            changes.pop()(changing)

    observer = RecordingObserver(on_bytes=change_once)
    place.upload(uploads, observer)
    assert [name for name, _ in observer.skipped] == ["changing"]
    assert [name for name, _ in observer.done] == ["good"]
    assert names(place) == {"changing", "good"}
    assert read(place, "changing") == b"before"


def test_a_file_that_has_grown_since_it_was_looked_at_is_not_put_in_place(place: Destination, local: Path) -> None:
    grown = source(local, b"a beginning of this is neither the old file nor the new one", "grown")
    observer = RecordingObserver()
    place.upload([Upload(grown, at("grown"), 11, sync=False, optional=True)], observer)
    assert [(name, type(error)) for name, error in observer.skipped] == [("grown", SourceChangedError)]
    assert names(place) == set()


# --- odd names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(place: Destination, local: Path, name: str) -> None:
    top, attributes = at(name), FileAttributes(0o644, 1234)
    aside = at(".aside")
    place.make_folders([aside, top, top / name])
    upload = Upload(source(local, b"data"), top / "file", 4, part=aside / "0", attributes=attributes)
    place.upload([upload], RecordingObserver())
    place.rename(top / "file", top / name / name)
    link = top / ("l" + name[1:])
    for text in (name, "other", name):
        place.make_symlinks([SymbolicLink(link, text)])
        assert place.read_links([link]) == [text]
    items = [(top / name, FileAttributes(0o755, 1234)), (top / name / name, attributes)]
    assert place.set_attributes(items) == []
    found = dict(place.list_folders([str(top), str(top / name)]))
    assert {folder: {item.name for item in entries or []} for folder, entries in found.items()} == {
        str(top): {name, link.name},
        str(top / name): {name},
    }
    assert carried((found[str(top / name)] or [])[0]) == (0o644, 1234)
    place.remove_files([top / name / name, link])
    assert [item.name for item in place.list_folder(top)] == [name]
    assert place.list_folder(top / name) == []


@pytest.mark.parametrize("path", ["../file", "a/../../file", "/file", "a\0b"])
def test_nothing_outside_of_the_base_is_touched(place: Destination, local: Path, path: str) -> None:
    upload = Upload(source(local, b""), at("file"), 0, part=at(path))
    for act in (
        lambda: place.make_folders([at(path)]),
        lambda: place.remove_files([at(path)]),
        lambda: place.make_symlinks([SymbolicLink(at(path), "text")]),
        lambda: place.set_attributes([(at(path), FileAttributes(0o600, 0))]),
        lambda: place.read_links([at(path)]),
        lambda: list(place.list_folders([path])),
        lambda: place.upload([upload], RecordingObserver()),
    ):
        with pytest.raises(ProtocolError):
            act()
    assert works(place)


def test_nothing_works_after_closing(place: Destination) -> None:
    place.make_folders([at("folder")])
    results = place.list_folders(["folder"] * 1000)
    next(results)
    place.close()
    with pytest.raises(DestinationError):
        list(results)
    with pytest.raises(DestinationError):
        place.make_folders([at("other")])


def test_nothing_is_put_below_a_file_and_nobody_tries_for_ever(place: Destination, local: Path) -> None:
    place.make_folder(at("parts"))
    place.write_bytes(at("file"), b"in the way")
    upload = Upload(source(local, b"12345"), at("file/below"), 5, part=at("parts/1"), sync=False, optional=True)
    with pytest.raises(PermanentDestinationError):
        place.upload([upload], RecordingObserver())
    assert read(place, "file") == b"in the way"
