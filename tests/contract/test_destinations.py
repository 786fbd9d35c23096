"""What every destination does alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import Append, Download, EntryKind, Link, Prefix, Upload
from replicator.errors import (
    DestinationError,
    InterruptedTransferError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
    SourceChangedError,
    SourceError,
    TargetError,
)
from tests.support.observer import RecordingObserver
from tests.support.places import at, digest, entry, names, random_bytes, read, source, works

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicator.destination.interface import Destination

# --- small files and folders -------------------------------------------------------------------------


def test_a_new_place_is_empty(place: Destination) -> None:
    assert place.list_folder(at(".")) == []


def test_has_a_label_and_capabilities(place: Destination) -> None:
    assert place.label
    assert place.capabilities().hard_link


def test_free_space_is_told_as_the_capabilities_say(place: Destination) -> None:
    free = place.free_bytes()
    assert (free is not None) == place.capabilities().free_space
    assert free is None or free > 0


@pytest.mark.parametrize("size_bytes", [0, 1, 32 * 1024, 700_001])
def test_small_file_comes_back(place: Destination, size_bytes: int) -> None:
    data = random_bytes(size_bytes)
    place.write_bytes(at("file"), data)
    assert read(place, "file") == data
    assert entry(place, "file").size_bytes == size_bytes
    assert names(place) == {"file"}


def test_small_file_is_replaced(place: Destination) -> None:
    place.write_bytes(at("file"), b"a longer text")
    place.write_bytes(at("file"), b"short")
    assert read(place, "file") == b"short"


def test_small_file_at_its_limit(place: Destination) -> None:
    place.write_bytes(at("file"), b"12345")
    assert place.read_bytes(at("file"), limit_bytes=5) == b"12345"
    with pytest.raises(ProtocolError, match="larger than 4 bytes"):
        place.read_bytes(at("file"), limit_bytes=4)


def test_missing_things_are_not_found(place: Destination) -> None:
    with pytest.raises(NotFoundError):
        read(place, "missing")
    with pytest.raises(NotFoundError):
        place.list_folder(at("missing"))
    with pytest.raises(NotFoundError):
        place.read_link(at("missing"))
    with pytest.raises(NotFoundError):
        place.write_bytes(at("missing/file"), b"")
    with pytest.raises(NotFoundError):
        place.rename(at("missing"), at("other"))
    assert works(place)


def test_a_file_is_no_folder(place: Destination) -> None:
    place.write_bytes(at("file"), b"")
    with pytest.raises(NotFoundError):
        place.list_folder(at("file"))
    with pytest.raises(DestinationError):
        place.make_folder(at("file"))
    with pytest.raises(DestinationError):
        place.make_folder(at("file/below"))


def test_a_folder_is_no_file(place: Destination) -> None:
    place.make_folder(at("folder"))
    with pytest.raises(DestinationError):
        read(place, "folder")
    with pytest.raises(DestinationError):
        place.write_bytes(at("folder"), b"")
    assert place.list_folder(at("folder")) == []


def test_folders_are_made_with_their_parents_and_may_exist(place: Destination) -> None:
    place.make_folder(at("a/b/c"))
    place.write_bytes(at("a/b/c/file"), b"1")
    place.make_folder(at("a/b/c"))
    place.make_folder(at("."))
    assert names(place, "a/b") == {"c"}
    assert read(place, "a/b/c/file") == b"1"


def test_listing_tells_kinds_and_sizes(place: Destination) -> None:
    place.make_folder(at("top/folder"))
    place.write_bytes(at("top/file"), b"12345")
    place.point_link(at("top/link"), "folder")
    found = {item.name: item for item in place.list_folder(at("top"))}
    assert {name: item.kind for name, item in found.items()} == {
        "folder": EntryKind.FOLDER,
        "file": EntryKind.FILE,
        "link": EntryKind.SYMLINK,
    }
    assert found["file"].size_bytes == 5


def test_a_folder_of_many_names_is_listed_whole(place: Destination) -> None:
    for number in range(350):
        place.write_bytes(at(f"{number}"), b"") if number < 5 else place.make_folder(at(f"{number}"))
    assert names(place) == {str(number) for number in range(350)}


@pytest.mark.parametrize("name", ["with space", "ü", "quote'\"", "new\nline", "-rf", "*", "byte\udcff", "x" * 200])
def test_odd_names(place: Destination, local: Path, name: str) -> None:
    place.make_folder(at(name))
    place.upload([Upload(source(local, b"data"), at(name) / name, 4)], RecordingObserver())
    assert place.list_folder(at("."))[0].name == name
    assert place.list_folder(at(name))[0].name == name
    assert read(place, f"{name}/{name}") == b"data"
    place.remove_tree(at(name))
    assert place.list_folder(at(".")) == []


@pytest.mark.parametrize("path", ["../file", "a/../../file", "/file", "a\0b"])
def test_nothing_outside_of_the_base_is_touched(place: Destination, local: Path, path: str) -> None:
    with pytest.raises(ProtocolError):
        place.write_bytes(at(path), b"")
    with pytest.raises(ProtocolError):
        place.remove_tree(at(path))
    with pytest.raises(ProtocolError):
        place.upload([Upload(source(local, b""), at(path), 0)], RecordingObserver())
    with pytest.raises(ProtocolError):
        place.append([Append(at("good"), 0, b"1"), Append(at(path), 0, b"2")])
    with pytest.raises(ProtocolError):
        place.copy_range(at("good"), at(path), offset=0, end=1)
    assert works(place)


# --- links -------------------------------------------------------------------------------------------


def test_pointing_a_link_makes_and_flips_it(place: Destination) -> None:
    for name in ("one", "two"):
        place.make_folder(at(name))
        place.write_bytes(at(name) / "file", name.encode())
    for name in ("one", "two", "two"):
        place.point_link(at("current"), name)
        assert place.read_link(at("current")) == name
        assert read(place, "current/file") == name.encode()
    assert names(place) == {"one", "two", "current"}


def test_a_link_to_nowhere_can_be_made_and_read(place: Destination) -> None:
    place.point_link(at("link"), "no/such/thing")
    assert place.read_link(at("link")) == "no/such/thing"
    with pytest.raises(NotFoundError):
        read(place, "link")


def test_a_file_is_no_link(place: Destination) -> None:
    place.write_bytes(at("file"), b"")
    with pytest.raises(NotFoundError):
        place.read_link(at("file"))


def test_pointing_replaces_a_file_but_no_folder(place: Destination) -> None:
    place.write_bytes(at("file"), b"")
    place.point_link(at("file"), "elsewhere")
    assert place.read_link(at("file")) == "elsewhere"
    place.make_folder(at("folder"))
    with pytest.raises(DestinationError):
        place.point_link(at("folder"), "elsewhere")
    assert place.list_folder(at("folder")) == []


def test_hard_links(place: Destination) -> None:
    place.make_folder(at("new"))
    for number in range(100):
        place.write_bytes(at(f"{number}"), b"%d" % number)
    links = [Link(at(f"{number}"), at(f"new/{number}")) for number in range(100)]
    place.link(links)
    place.link(links)  # as after a lost answer
    place.remove_tree(at("7"))
    assert read(place, "new/7") == b"7"
    assert names(place, "new") == {str(number) for number in range(100)}


def test_a_hard_link_replaces_its_target(place: Destination) -> None:
    place.write_bytes(at("old"), b"old")
    place.write_bytes(at("new"), b"new")
    place.link([Link(at("new"), at("old"))])
    assert read(place, "old") == b"new"


def test_a_hard_link_needs_its_source_and_leaves_the_target_without(place: Destination) -> None:
    place.write_bytes(at("target"), b"kept")
    with pytest.raises(NotFoundError):
        place.link([Link(at("missing"), at("target"))])
    assert read(place, "target") == b"kept"


@pytest.mark.parametrize("size_bytes", [0, 5, 600_000])
def test_copies(place: Destination, size_bytes: int) -> None:
    data = random_bytes(size_bytes)
    place.make_folder(at("new"))
    place.write_bytes(at("file"), data)
    place.write_bytes(at("new/file"), b"replaced")
    place.copy([Link(at("file"), at(f"new/{name}")) for name in ("file", "other")])
    place.remove_tree(at("file"))
    assert read(place, "new/file") == read(place, "new/other") == data
    assert names(place, "new") == {"file", "other"}


def test_a_copy_needs_its_source(place: Destination) -> None:
    place.write_bytes(at("target"), b"kept")
    with pytest.raises(NotFoundError):
        place.copy([Link(at("missing"), at("target"))])
    assert read(place, "target") == b"kept"
    assert names(place) == {"target"}


# --- names -------------------------------------------------------------------------------------------


def test_paths_are_looked_up_one_by_one_and_links_not_followed(place: Destination) -> None:
    place.make_folder(at("folder"))
    place.write_bytes(at("folder/file"), b"12345")
    place.point_link(at("link"), "folder")
    wanted = ["folder/file", "missing", "link", "folder", "missing/too", "folder/file/below"]
    found = place.look_up([at(path) for path in wanted])
    assert found == [entry(place, "folder/file"), None, entry(place, "link"), entry(place, "folder"), None, None]
    assert place.look_up([]) == []


def test_files_and_links_are_removed_and_folders_are_not(place: Destination) -> None:
    place.make_folder(at("folder"))
    place.write_bytes(at("folder/kept"), b"1")
    for number in range(100):
        place.write_bytes(at(f"folder/{number}"), b"1")
    place.point_link(at("link"), "folder")
    doomed = [at("link"), at("missing"), at("missing/too"), *(at(f"folder/{number}") for number in range(100))]
    place.remove_files(doomed)
    place.remove_files(doomed)  # as after a lost answer
    assert names(place) == {"folder"}
    assert names(place, "folder") == {"kept"}
    with pytest.raises(PermanentDestinationError):
        place.remove_files([at("folder")])
    assert names(place, "folder") == {"kept"}


def test_a_connection_has_a_number_that_stays_while_it_lasts(place: Destination) -> None:
    place.list_folder(at("."))
    number = place.session
    place.write_bytes(at("file"), b"1")
    assert place.session == number >= 1


def test_a_file_is_renamed_over_another_and_again(place: Destination) -> None:
    place.write_bytes(at("old"), b"old")
    place.write_bytes(at("new"), b"new")
    place.rename(at("new"), at("old"))
    place.rename(at("new"), at("old"))  # as after a lost answer
    assert read(place, "old") == b"new"
    assert names(place) == {"old"}


def test_a_folder_is_renamed_and_again(place: Destination) -> None:
    place.make_folder(at("incoming/1/deep"))
    place.write_bytes(at("incoming/1/deep/file"), b"1")
    place.make_folder(at("generations"))
    place.rename(at("incoming/1"), at("generations/1"))
    place.rename(at("incoming/1"), at("generations/1"))
    assert read(place, "generations/1/deep/file") == b"1"
    assert names(place, "incoming") == set()


@pytest.mark.parametrize("inside", ["", "file"])
def test_a_folder_never_takes_the_place_of_another(place: Destination, inside: str) -> None:
    place.make_folder(at("one"))
    place.make_folder(at("two") / inside)
    with pytest.raises(DestinationError, match="exists"):
        place.rename(at("one"), at("two"))
    assert names(place) == {"one", "two"}


def test_removing(place: Destination) -> None:
    place.make_folder(at("tree/a/b"))
    place.make_folder(at("kept"))
    place.write_bytes(at("kept/file"), b"kept")
    for number in range(80):
        place.write_bytes(at(f"tree/a/{number}"), b"")
    place.point_link(at("tree/a/b/to-folder"), "../../../kept")
    place.point_link(at("tree/to-file"), "../kept/file")
    place.point_link(at("link"), "kept")
    place.remove_tree(at("tree"))
    place.remove_tree(at("link"))
    place.remove_tree(at("missing"))
    place.remove_tree(at("missing/below"))
    assert names(place) == {"kept"}
    assert read(place, "kept/file") == b"kept"
    place.remove_tree(at("kept/file"))
    assert names(place, "kept") == set()


# --- uploads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [0], [1], [3_000_000, 0, 261_120, 261_121, 32_768], [200] * 150])
def test_uploads(place: Destination, local: Path, sizes: list[int]) -> None:
    data = [random_bytes(size, number) for number, size in enumerate(sizes)]
    uploads = [
        Upload(source(local, content, f"{number}"), at(f"{number}"), len(content))
        for number, content in enumerate(data)
    ]
    observer = RecordingObserver()
    place.upload(uploads, observer)
    assert dict(observer.done) == {f"{number}": digest(content) for number, content in enumerate(data)}
    assert len(observer.done) == len(sizes)
    assert observer.moved_bytes == sum(sizes)
    for number, content in enumerate(data):
        assert read(place, f"{number}") == content
    assert names(place) == {f"{number}" for number in range(len(sizes))}


def test_uploads_into_several_folders(place: Destination, local: Path) -> None:
    path = source(local, b"data")
    folders = [f"folder{number}" for number in range(20)]
    for folder in folders:
        place.make_folder(at(folder))
    observer = RecordingObserver()
    place.upload([Upload(path, at(folder) / name, 4) for name in "ab" for folder in folders], observer)
    assert len(observer.done) == 40
    assert all(names(place, folder) == {"a", "b"} for folder in folders)


def test_only_the_bytes_asked_for_are_uploaded(place: Destination, local: Path) -> None:
    observer = RecordingObserver()
    place.upload([Upload(source(local, b"0123456789"), at("file"), 4)], observer)
    assert read(place, "file") == b"0123"
    assert observer.done == [("file", digest(b"0123"))]


def test_an_upload_replaces_its_target_and_a_left_over_part(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"before")
    place.write_bytes(at("file.part"), b"of a try that broke off, and longer")
    place.write_bytes(at("elsewhere"), b"kept")
    place.point_link(at("other.part"), "elsewhere")
    path = source(local, b"after")
    place.upload([Upload(path, at("file"), 5), Upload(path, at("other"), 5)], RecordingObserver())
    assert read(place, "file") == read(place, "other") == b"after"
    assert read(place, "elsewhere") == b"kept"


def test_an_upload_that_fails_keeps_what_was_there(place: Destination, local: Path) -> None:
    place.write_bytes(at("short"), b"before")
    observer = RecordingObserver()
    uploads = [
        Upload(source(local, b"good", "good"), at("good"), 4),
        Upload(source(local, random_bytes(700_000), "short"), at("short"), 700_001),
        Upload(source(local, b"never", "never"), at("never"), 5),
    ]
    with pytest.raises(SourceChangedError, match="700000 bytes, expected 700001"):
        place.upload(uploads, observer)
    assert observer.done == [("good", digest(b"good"))]
    assert read(place, "short") == b"before"
    assert names(place) == {"good", "short"}
    assert works(place)


def test_an_upload_needs_its_source(place: Destination, local: Path) -> None:
    with pytest.raises(SourceError, match="is gone"):
        place.upload([Upload(local / "missing", at("file"), 1)], RecordingObserver())
    assert names(place) == set()
    assert works(place)


def test_an_upload_needs_its_folder(place: Destination, local: Path) -> None:
    path = source(local, b"data")
    observer = RecordingObserver()
    with pytest.raises(NotFoundError):
        place.upload([Upload(path, at("good"), 4), Upload(path, at("missing/file"), 4)], observer)
    assert names(place) == {name for name, _ in observer.done} <= {"good"}
    assert works(place)


def test_an_upload_stops_between_files_when_asked_to(place: Destination, local: Path) -> None:
    path = source(local, random_bytes(900_000))
    observer = RecordingObserver(stop_after=2)
    with pytest.raises(InterruptedTransferError):
        place.upload([Upload(path, at(f"{number}"), 900_000) for number in range(200)], observer)
    assert 2 <= len(observer.done) < 200
    assert names(place) == {name for name, _ in observer.done}
    assert works(place)


@pytest.mark.parametrize("prefix_bytes", [0, 1, 300_000, 500_000])
def test_an_upload_goes_on_from_a_prefix(place: Destination, local: Path, prefix_bytes: int) -> None:
    data = random_bytes(500_000)
    place.write_bytes(at("earlier"), data[:prefix_bytes] + b"what came after")
    observer = RecordingObserver()
    upload = Upload(source(local, data), at("file"), len(data), Prefix(at("earlier"), prefix_bytes))
    place.upload([upload], observer)
    assert read(place, "file") == data
    assert observer.done == [("file", digest(data))]
    assert observer.moved_bytes == len(data) - prefix_bytes
    assert names(place) == {"earlier", "file"}


def test_an_upload_may_replace_its_own_prefix(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"0123")
    place.upload([Upload(source(local, b"0123456"), at("file"), 7, Prefix(at("file"), 4))], RecordingObserver())
    assert read(place, "file") == b"0123456"


@pytest.mark.parametrize("earlier", [None, b"too short"])
def test_an_upload_needs_its_prefix(place: Destination, local: Path, earlier: bytes | None) -> None:
    if earlier is not None:
        place.write_bytes(at("earlier"), earlier)
    upload = Upload(source(local, b"0" * 100), at("file"), 100, Prefix(at("earlier"), 50))
    with pytest.raises(DestinationError):
        place.upload([upload], RecordingObserver())
    assert names(place) <= {"earlier"}
    assert works(place)


# --- files that grow ---------------------------------------------------------------------------------


def append(place: Destination, *items: tuple[str, int, bytes]) -> None:
    place.append([Append(at(path), offset, data) for path, offset, data in items])


def test_an_append_creates_files_and_makes_them_grow(place: Destination) -> None:
    place.make_folder(at("deep/folder"))
    append(place, ("deep/folder/a", 0, b"one"), ("b", 0, b""))
    append(place, ("deep/folder/a", 3, b"two"), ("b", 0, b"1"), ("b", 1, b"2"), ("deep/folder/a", 6, b""))
    assert read(place, "deep/folder/a") == b"onetwo"
    assert read(place, "b") == b"12"
    assert names(place) == {"deep", "b"}
    assert names(place, "deep/folder") == {"a"}


def test_an_append_of_nothing(place: Destination) -> None:
    append(place)
    assert names(place) == set()


def test_an_append_goes_on_with_a_file_that_was_there(place: Destination) -> None:
    place.write_bytes(at("file"), b"0123")
    append(place, ("file", 4, b"45"))
    assert read(place, "file") == b"012345"


def test_the_same_append_again_changes_nothing(place: Destination) -> None:
    append(place, ("file", 0, b"0123"))
    items = [("file", 4, b"4567"), ("file", 8, b"89"), ("log", 0, b"line")]
    for so_many in (1, 2, 3, 3):
        append(place, *items[:so_many])
    append(place, ("file", 0, b"01"))
    append(place, ("file", 4, b"456789ab"))
    assert read(place, "file") == b"0123456789ab"
    assert read(place, "log") == b"line"


def test_an_append_of_many_writes(place: Destination) -> None:
    data = random_bytes(3_000_001)
    append(place, ("file", 0, data[:7]))
    append(place, ("file", 7, data[7:]), ("log", 0, b"line"))
    assert read(place, "file") == data
    assert read(place, "log") == b"line"


def test_an_append_to_many_files(place: Destination) -> None:
    for offset in range(3):
        append(place, *((f"{number}", offset, b"%d" % offset) for number in range(150)))
    assert all(read(place, f"{number}") == b"012" for number in range(150))


def test_an_append_needs_its_file_and_folder(place: Destination) -> None:
    with pytest.raises(NotFoundError):
        append(place, ("first", 0, b"1"), ("missing", 1, b"2"), ("later", 0, b"3"))
    with pytest.raises(NotFoundError):
        append(place, ("first", 1, b"2"), ("missing/file", 0, b"3"), ("later", 0, b"4"))
    assert names(place) == {"first"}
    assert read(place, "first") == b"12"
    assert works(place)


def test_an_append_leaves_no_gap(place: Destination) -> None:
    append(place, ("file", 0, b"0123"))
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"file has 4 bytes, expected 5"):
            append(place, ("file", 5, b"5"), ("later", 0, b""))
    assert read(place, "file") == b"0123"
    assert names(place) == {"file"}
    assert works(place)


@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize("there", [True, False])
def test_an_append_does_not_follow_a_link(place: Destination, offset: int, *, there: bool) -> None:
    if there:
        place.write_bytes(at("elsewhere"), b"kept")
    place.point_link(at("link"), "elsewhere")
    with pytest.raises(DestinationError):
        append(place, ("link", offset, b"new"), ("later", 0, b""))
    assert place.read_link(at("link")) == "elsewhere"
    assert names(place) == ({"elsewhere", "link"} if there else {"link"})
    assert not there or read(place, "elsewhere") == b"kept"
    assert works(place)


def test_an_append_follows_a_link_to_its_folder(place: Destination) -> None:
    place.make_folder(at("folder"))
    place.point_link(at("current"), "folder")
    append(place, ("current/file", 0, b"1"))
    assert read(place, "folder/file") == b"1"


def test_an_append_to_a_folder(place: Destination) -> None:
    place.make_folder(at("folder"))
    with pytest.raises(PermanentDestinationError):
        append(place, ("folder", 0, b"data"))
    assert place.list_folder(at("folder")) == []
    assert works(place)


def rename_folders(place: Destination) -> None:
    place.rename(at("folder"), at("before"))
    place.rename(at("other"), at("folder"))


@pytest.mark.parametrize(
    "replace",
    [
        lambda place: place.write_bytes(at("folder/file"), b"new!"),
        lambda place: place.link([Link(at("other/file"), at("folder/file"))]),
        lambda place: place.copy([Link(at("other/file"), at("folder/file"))]),
        lambda place: place.rename(at("other/file"), at("folder/file")),
        rename_folders,
        lambda place: place.point_link(at("current"), "other"),
    ],
    ids=["write", "link", "copy", "rename", "rename-folders", "point-link"],
)
def test_an_append_goes_into_the_file_that_has_the_name_now(
    place: Destination, replace: Callable[[Destination], None]
) -> None:
    for folder, data in (("folder", b"old!"), ("other", b"new!")):
        place.make_folder(at(folder))
        append(place, (f"{folder}/file", 0, data))
    place.point_link(at("current"), "folder")
    place.link([Link(at("folder/file"), at("old"))])
    append(place, ("current/file", 4, b"old"))
    replace(place)
    append(place, ("current/file", 4, b"+"))
    assert read(place, "current/file") == b"new!+"
    assert read(place, "old") == b"old!old"


def test_an_append_goes_into_the_file_that_was_uploaded_last(place: Destination, local: Path) -> None:
    append(place, ("file", 0, b"old!"))
    place.upload([Upload(source(local, b"new!"), at("file"), 4)], RecordingObserver())
    append(place, ("file", 4, b"+"))
    assert read(place, "file") == b"new!+"


def test_an_append_creates_a_file_anew_that_was_removed(place: Destination) -> None:
    append(place, ("file", 0, b"data"))
    place.remove_tree(at("file"))
    append(place, ("file", 0, b"anew"))
    assert read(place, "file") == b"anew"
    place.remove_tree(at("file"))
    with pytest.raises(NotFoundError):
        append(place, ("file", 4, b"+"))


def test_an_append_does_not_follow_what_became_a_link(place: Destination) -> None:
    append(place, ("file", 0, b"data"), ("elsewhere", 0, b"kept"))
    place.point_link(at("file"), "elsewhere")
    with pytest.raises(DestinationError):
        append(place, ("file", 4, b"+"))
    assert read(place, "elsewhere") == b"kept"


@pytest.mark.parametrize(("offset", "end"), [(0, 600_000), (1, 599_999), (300_000, 300_000), (0, 0)])
def test_a_range_is_copied_to_the_same_place(place: Destination, offset: int, end: int) -> None:
    data = random_bytes(600_000)
    place.write_bytes(at("source"), data)
    place.write_bytes(at("target"), bytes(600_001))
    for _ in range(2):
        place.copy_range(at("source"), at("target"), offset=offset, end=end)
    assert read(place, "source") == data
    assert read(place, "target") == bytes(offset) + data[offset:end] + bytes(600_001 - end)
    assert names(place) == {"source", "target"}


def test_a_copied_range_and_appends_make_one_file(place: Destination) -> None:
    append(place, ("source", 0, b"01234"), ("target", 0, b""))
    place.copy_range(at("source"), at("target"), offset=0, end=3)
    append(place, ("target", 3, b"345"), ("source", 5, b"5678"))
    place.copy_range(at("source"), at("target"), offset=6, end=8)
    append(place, ("target", 8, b"8"))
    assert read(place, "target") == read(place, "source") == b"012345678"


def test_a_copied_range_needs_both_files(place: Destination) -> None:
    place.write_bytes(at("file"), b"0123")
    place.make_folder(at("folder"))
    for given in (("missing", "file"), ("file", "missing"), ("file", "missing/file")):
        with pytest.raises(NotFoundError):
            place.copy_range(at(given[0]), at(given[1]), offset=0, end=2)
    for given in (("folder", "file"), ("file", "folder")):
        with pytest.raises(DestinationError):
            place.copy_range(at(given[0]), at(given[1]), offset=0, end=2)
    assert read(place, "file") == b"0123"
    assert names(place) == {"file", "folder"}
    assert works(place)


def test_a_copied_range_needs_files_that_are_long_enough(place: Destination) -> None:
    place.write_bytes(at("long"), b"0123456789")
    place.write_bytes(at("short"), b"abc")
    with pytest.raises(ProtocolError, match="short has 3 bytes, expected 4"):
        place.copy_range(at("short"), at("long"), offset=0, end=4)
    with pytest.raises(ProtocolError, match="short has 3 bytes, expected 4"):
        place.copy_range(at("long"), at("short"), offset=4, end=6)
    assert read(place, "long") == b"0123456789"
    assert read(place, "short") == b"abc"
    assert works(place)


@pytest.mark.parametrize("there", [True, False])
def test_a_range_is_not_copied_through_a_link(place: Destination, *, there: bool) -> None:
    place.write_bytes(at("source"), b"0123")
    if there:
        place.write_bytes(at("elsewhere"), b"kept")
    place.point_link(at("link"), "elsewhere")
    with pytest.raises(DestinationError):
        place.copy_range(at("source"), at("link"), offset=0, end=4)
    assert place.read_link(at("link")) == "elsewhere"
    assert not there or read(place, "elsewhere") == b"kept"
    assert works(place)


# --- downloads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [0], [3_000_000, 0, 261_120, 261_121], [200] * 150])
def test_downloads(place: Destination, local: Path, sizes: list[int]) -> None:
    data = [random_bytes(size, number) for number, size in enumerate(sizes)]
    for number, content in enumerate(data):
        place.write_bytes(at(f"{number}"), content)
    observer = RecordingObserver()
    place.download(
        [Download(at(f"{number}"), local / f"{number}", size) for number, size in enumerate(sizes)], observer
    )
    assert dict(observer.done) == {
        str(local / f"{number}"): digest(content) for number, content in enumerate(data)
    }
    assert observer.moved_bytes == sum(sizes)
    for number, content in enumerate(data):
        assert (local / f"{number}").read_bytes() == content


@pytest.mark.parametrize("offset", [0, 1, 400_000, 600_000])
def test_a_download_goes_on_where_it_broke_off(place: Destination, local: Path, offset: int) -> None:
    data = random_bytes(600_000)
    place.write_bytes(at("file"), data)
    target = source(local, data[:offset] + b"garbage" * 200_000, "target")
    observer = RecordingObserver()
    place.download([Download(at("file"), target, len(data), offset)], observer)
    assert target.read_bytes() == data
    assert observer.done == [(str(target), digest(data))]
    assert observer.moved_bytes == len(data) - offset


def test_a_download_without_target_is_read_for_its_digest(place: Destination) -> None:
    data = random_bytes(600_000)
    place.write_bytes(at("file"), data)
    observer = RecordingObserver()
    place.download([Download(at("file"), None, len(data))], observer)
    assert observer.done == [("file", digest(data))]


def test_a_download_takes_no_more_than_asked_for(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"0123456789")
    observer = RecordingObserver()
    place.download([Download(at("file"), local / "file", 4)], observer)
    assert (local / "file").read_bytes() == b"0123"
    assert observer.done == [(str(local / "file"), digest(b"0123"))]


def test_a_download_of_a_file_that_is_too_short(place: Destination, local: Path) -> None:
    place.write_bytes(at("good"), b"good")
    place.write_bytes(at("short"), random_bytes(300_000))
    observer = RecordingObserver()
    downloads = [Download(at("good"), local / "good", 4), Download(at("short"), local / "short", 900_000)]
    with pytest.raises(ProtocolError):
        place.download(downloads, observer)
    assert observer.done == [(str(local / "good"), digest(b"good"))]
    assert works(place)


def test_a_download_needs_its_source(place: Destination, local: Path) -> None:
    with pytest.raises(NotFoundError):
        place.download([Download(at("missing"), local / "file", 4)], RecordingObserver())
    assert works(place)


def test_a_download_needs_a_local_folder(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"data")
    with pytest.raises(TargetError):
        place.download([Download(at("file"), local / "missing/file", 4)], RecordingObserver())
    assert works(place)


def test_a_download_needs_the_bytes_it_goes_on_from(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"0123456789")
    with pytest.raises(TargetError, match="too few"):
        place.download([Download(at("file"), source(local, b"01"), 10, 5)], RecordingObserver())
    assert works(place)


def test_a_download_does_not_follow_a_local_link(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"data")
    kept = source(local, b"kept", "kept")
    (local / "link").symlink_to(kept)
    with pytest.raises(TargetError):
        place.download([Download(at("file"), local / "link", 4)], RecordingObserver())
    assert kept.read_bytes() == b"kept"


def test_a_download_stops_between_files_when_asked_to(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), random_bytes(900_000))
    observer = RecordingObserver(stop_after=2)
    with pytest.raises(InterruptedTransferError):
        place.download([Download(at("file"), local / f"{n}", 900_000) for n in range(200)], observer)
    assert 2 <= len(observer.done) < 200
    assert works(place)


# --- the end -----------------------------------------------------------------------------------------


def test_closing_twice_is_fine_and_nothing_works_afterwards(place: Destination, local: Path) -> None:
    place.write_bytes(at("file"), b"data")
    place.close()
    place.close()
    with pytest.raises(DestinationError):
        place.upload([Upload(source(local, b"data"), at("other"), 4)], RecordingObserver())
    with pytest.raises(DestinationError):
        place.append([Append(at("file"), 4, b"more")])
