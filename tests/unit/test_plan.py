"""Which files of a checkpoint are sent, and which the destination has already."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.interface import Capabilities, Prefix
from replicator.errors import MissingCapabilityError
from replicator.replica.plan import (
    Keep,
    LogDigests,
    Plan,
    Reuse,
    Send,
    Stored,
    StoredFile,
    log_lengths,
    make_plan,
)
from replicator.rocksdb.filenames import FileKind
from replicator.rocksdb.inventory import DatabaseFile, Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVERYTHING = Capabilities(hard_link=True, server_copy=True, fsync=True, free_space=True)
NO_LINK = EVERYTHING._replace(hard_link=False)
NO_COPY = EVERYTHING._replace(server_copy=False)
NOTHING = EVERYTHING._replace(hard_link=False, server_copy=False)

GENERATION = PurePosixPath("chat/generations/20261122T153000.123Z")
UPLOAD = PurePosixPath("chat/incoming/20261122T153100.123Z")
SHA = "ab" * 32

TABLE = DatabaseFile("000010.sst", FileKind.TABLE, 1000, "db:1")
BLOB = DatabaseFile("000011.blob", FileKind.BLOB, 2000, "db:2")
SMALL = (
    DatabaseFile("CURRENT", FileKind.CURRENT, 16),
    DatabaseFile("MANIFEST-000005", FileKind.MANIFEST, 100),
    DatabaseFile("OPTIONS-000007", FileKind.OPTIONS, 50),
    DatabaseFile("IDENTITY", FileKind.IDENTITY, 36),
)


#: A log that gets no more records, and one that has some and may get more.
CLOSED, OPEN = b"closed" * 20, b"open" * 20


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored(
    *files: DatabaseFile, folder: PurePosixPath = GENERATION, sha256: str | None = SHA
) -> dict[str, StoredFile]:
    return {file.name: StoredFile(folder / file.name, file.size_bytes, file.identity, sha256) for file in files}


def stored_log(
    name: str, content: bytes, folder: PurePosixPath = GENERATION, *, known: Sequence[int] | None = None
) -> dict[str, StoredFile]:
    """Describe a log of which the digest is known at the lengths `known`: in full, unless it was shipped to."""
    prefixes = {length: digest(content[:length]) for length in known or [len(content)]}
    return {name: StoredFile(folder / name, len(content), "", prefixes.get(len(content)), prefixes)}


def plan(
    *files: DatabaseFile,
    having: Stored,
    capabilities: Capabilities = EVERYTHING,
    logs: dict[str, bytes] | None = None,
    reupload: bool = False,
) -> Plan:
    """Plan for `files` and for write-ahead logs of the contents `logs`."""
    contents = logs or {}
    log_files = [DatabaseFile(name, FileKind.WAL, len(content)) for name, content in contents.items()]
    inventory = Inventory("db", "MANIFEST-000005", (*files, *log_files), ("default",))
    digests = {
        name: {length: digest(contents[name][:length]) for length in lengths}
        for name, lengths in log_lengths(inventory, having).items()
    }
    return make_plan(inventory, having, capabilities, LogDigests(digests), reupload=reupload)


def test_a_first_publish_sends_everything() -> None:
    result = plan(TABLE, BLOB, *SMALL, having=Stored(), logs={"000012.log": b"abc"})
    assert {item.file.name for item in result.send} >= {TABLE.name, BLOB.name, "000012.log"}
    assert len(result.send) == 7
    assert result.send_bytes == 1000 + 2000 + 16 + 100 + 50 + 36 + 3


@pytest.mark.parametrize("file", [TABLE, BLOB])
def test_an_equal_file_is_linked(file: DatabaseFile) -> None:
    assert plan(file, having=Stored(generation=stored(file))) == Plan(
        keep=(), link=(Reuse(file, GENERATION / file.name, SHA),), copy=(), send=()
    )


@pytest.mark.parametrize("file", [TABLE, BLOB])
@pytest.mark.parametrize("folder", [GENERATION, UPLOAD])
@pytest.mark.parametrize(
    "make_other",
    [
        lambda file: replace(file, identity="db:9"),
        lambda file: replace(file, identity=""),
        lambda file: replace(file, size_bytes=999),
        lambda file: replace(file, name="000099.sst"),
    ],
    ids=["identity", "no identity", "size", "name"],
)
def test_a_file_that_only_looks_the_same_is_sent(
    file: DatabaseFile, folder: PurePosixPath, make_other: Callable[[DatabaseFile], DatabaseFile]
) -> None:
    theirs = stored(make_other(file), folder=folder)
    having = Stored(generation=theirs) if folder == GENERATION else Stored(upload=theirs)
    assert plan(file, having=having).send == (Send(file),)


def test_files_without_identity_are_never_taken_for_equal() -> None:
    unknown = replace(TABLE, identity="")
    both = Stored(generation=stored(unknown), upload=stored(unknown, folder=UPLOAD))
    assert plan(unknown, having=both).send == (Send(unknown),)


def test_what_an_earlier_try_finished_is_kept() -> None:
    having = Stored(generation=stored(TABLE), upload=stored(TABLE, folder=UPLOAD, sha256=None))
    assert plan(TABLE, having=having).keep == (Keep(TABLE, None),)


@pytest.mark.parametrize("file", SMALL)
def test_small_files_are_always_sent(file: DatabaseFile) -> None:
    having = Stored(generation=stored(file), upload=stored(file, folder=UPLOAD))
    assert plan(file, having=having).send == (Send(file),)


def test_without_hard_links_the_server_copies() -> None:
    result = plan(TABLE, having=Stored(generation=stored(TABLE)), capabilities=NO_LINK)
    assert result.copy == (Reuse(TABLE, GENERATION / TABLE.name, SHA),)


def test_a_server_that_can_do_neither_is_refused_at_once() -> None:
    with pytest.raises(MissingCapabilityError, match=r"hardlink@openssh\.com nor copy-data") as caught:
        plan(TABLE, having=Stored(), capabilities=NOTHING)
    assert "reupload = true" in caught.value.hint


def test_a_server_that_can_do_neither_gets_everything_again_where_that_is_allowed() -> None:
    having = Stored(generation=stored(TABLE) | stored_log("000012.log", b"abc"))
    result = plan(TABLE, having=having, capabilities=NOTHING, logs={"000012.log": b"abc"}, reupload=True)
    assert result == Plan(
        keep=(), link=(), copy=(), send=(Send(TABLE), Send(DatabaseFile("000012.log", FileKind.WAL, 3)))
    )


def test_an_older_log_is_linked_and_the_newest_one_copied() -> None:
    having = Stored(generation=stored_log("000012.log", CLOSED) | stored_log("000020.log", OPEN))
    result = plan(having=having, logs={"000012.log": CLOSED, "000020.log": OPEN})
    assert [item.file.name for item in result.link] == ["000012.log"]
    assert [item.file.name for item in result.copy] == ["000020.log"]
    assert result.send == ()


@pytest.mark.parametrize("newest", [b"", b"compression"])
def test_until_the_newest_log_has_a_batch_the_one_before_is_not_linked_either(newest: bytes) -> None:
    logs = {"000010.log": CLOSED, "000012.log": CLOSED, "000020.log": newest}
    theirs = {name: file for name, content in logs.items() for name, file in stored_log(name, content).items()}
    result = plan(having=Stored(generation=theirs), logs=logs)
    assert [item.file.name for item in result.link] == ["000010.log"]
    assert [item.file.name for item in result.copy] == ["000012.log", "000020.log"]


def test_the_newest_log_is_newest_by_number() -> None:
    logs = {"1000000.log": OPEN, "999999.log": CLOSED}
    having = Stored(generation=stored_log("1000000.log", OPEN) | stored_log("999999.log", CLOSED))
    assert [item.file.name for item in plan(having=having, logs=logs).copy] == ["1000000.log"]


def test_of_a_log_that_has_grown_only_the_rest_is_sent() -> None:
    having = Stored(generation=stored_log("000012.log", CLOSED) | stored_log("000020.log", OPEN))
    result = plan(having=having, logs={"000012.log": CLOSED + b"+1", "000020.log": OPEN + b"+22"})
    assert [item.prefix for item in result.send] == [
        Prefix(GENERATION / "000012.log", len(CLOSED)),
        Prefix(GENERATION / "000020.log", len(OPEN)),
    ]
    assert result.send_bytes == 2 + 3


def test_without_a_copy_made_by_the_server_a_grown_log_is_sent_whole() -> None:
    having = Stored(generation=stored_log("000012.log", CLOSED) | stored_log("000020.log", OPEN))
    logs = {"000012.log": CLOSED, "000020.log": OPEN + b"+22"}
    result = plan(having=having, logs=logs, capabilities=NO_COPY)
    assert [item.file.name for item in result.link] == ["000012.log"]
    assert [(item.file.name, item.prefix) for item in result.send] == [("000020.log", None)]


@pytest.mark.parametrize("theirs", [CLOSED.replace(b"o", b"O"), CLOSED + b" and longer", b""])
def test_a_log_of_other_contents_is_sent_whole(theirs: bytes) -> None:
    having = Stored(generation=stored_log("000012.log", theirs), upload=stored_log("000012.log", theirs, UPLOAD))
    result = plan(having=having, logs={"000012.log": CLOSED, "000020.log": OPEN})
    assert [(item.file.name, item.prefix) for item in result.send] == [("000012.log", None), ("000020.log", None)]


def test_a_log_that_an_earlier_try_finished_is_kept() -> None:
    having = Stored(upload=stored_log("000020.log", OPEN, UPLOAD))
    result = plan(having=having, logs={"000020.log": OPEN})
    assert [(item.file.name, item.sha256) for item in result.keep] == [("000020.log", digest(OPEN))]


# --- logs that were shipped to -----------------------------------------------------------------------


def test_the_longest_length_that_is_ours_too_is_the_prefix() -> None:
    shipped = OPEN + b"+1" + b"+22" + b"+333"
    having = Stored(generation=stored_log("000020.log", shipped, known=[80, 82, 85, 89]))
    for ours, prefix_bytes in ((shipped + b"!", 89), (shipped[:87], 85), (shipped[:82] + b"other", 82)):
        result = plan(having=having, logs={"000020.log": ours})
        assert [item.prefix for item in result.send] == [Prefix(GENERATION / "000020.log", prefix_bytes)]
        assert result.send_bytes == len(ours) - prefix_bytes
    assert plan(having=having, logs={"000020.log": b"another" * 20}).send[0].prefix is None


def test_of_a_longer_log_the_first_bytes_are_copied() -> None:
    having = Stored(generation=stored_log("000020.log", OPEN + b"+1" + b"torn", known=[80, 82]))
    result = plan(having=having, logs={"000020.log": OPEN + b"+1"})
    assert [(item.file.name, item.sha256) for item in result.copy] == [("000020.log", digest(OPEN + b"+1"))]
    assert result.send == ()


def test_a_complete_log_is_linked_only_if_all_that_is_there_is_known() -> None:
    logs = {"000012.log": CLOSED, "000020.log": OPEN}
    for extra, linked in ((b"", True), (b"torn", False)):
        having = Stored(generation=stored_log("000012.log", CLOSED + extra, known=[50, len(CLOSED)]))
        result = plan(having=having, logs=logs)
        assert [item.file.name for item in result.link] == (["000012.log"] if linked else [])
        assert [item.file.name for item in result.copy] == ([] if linked else ["000012.log"])
        assert [item.file.name for item in result.send] == ["000020.log"]
    without_copy = plan(having=having, logs=logs, capabilities=NO_COPY)
    assert [item.file.name for item in without_copy.send] == ["000012.log", "000020.log"]


@given(
    lengths=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)),
    known=st.sets(st.integers(0, 100), min_size=1),
    newer=st.sampled_from([None, b"", OPEN]),
    capabilities=st.builds(Capabilities, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_whatever_is_known_of_a_log_the_plan_yields_our_bytes(
    lengths: tuple[int, int, int], known: set[int], newer: bytes | None, capabilities: Capabilities
) -> None:
    ours, theirs, equal = lengths
    content, name = bytes(range(101)), "000012.log"
    stored_content = content[: min(equal, theirs)] + bytes(max(0, theirs - equal))
    known = {length for length in known if length <= theirs} or {theirs}
    having = Stored(generation=stored_log(name, stored_content, known=sorted(known)))
    logs = {name: content[:ours]} | ({} if newer is None else {"000020.log": newer})
    result = plan(having=having, logs=logs, capabilities=capabilities, reupload=True)
    for linked in result.link:
        assert stored_content == content[:ours]
        assert linked.sha256 == digest(stored_content)
        assert newer == OPEN
    copied = {item.file.name: Prefix(item.source, item.file.size_bytes) for item in result.copy}
    for item in result.send:
        if item.prefix:
            copied[item.file.name] = item.prefix
        elif item.file.name == name and capabilities.server_copy:
            assert not [
                length for length in known if 0 < length <= ours and stored_content[:length] == content[:length]
            ]
    for prefix in copied.values():
        assert capabilities.server_copy
        assert stored_content[: prefix.size_bytes] == content[: prefix.size_bytes]
        assert prefix.size_bytes in known | {0}
    actions: tuple[Reuse | Send, ...] = (*result.link, *result.copy, *result.send)
    assert {action.file.name for action in actions} == set(logs)


names = st.sampled_from(["000001.sst", "000002.sst", "000003.sst", "000004.sst"])
tables = st.dictionaries(names, st.tuples(st.sampled_from([1, 2]), st.sampled_from(["", "a", "b"])))


def files_of(described: dict[str, tuple[int, str]]) -> list[DatabaseFile]:
    return [DatabaseFile(name, FileKind.TABLE, size, identity) for name, (size, identity) in described.items()]


@given(
    ours=tables,
    generation=tables,
    upload=tables,
    capabilities=st.builds(Capabilities, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_every_file_gets_one_action_that_yields_its_contents(
    ours: dict[str, tuple[int, str]],
    generation: dict[str, tuple[int, str]],
    upload: dict[str, tuple[int, str]],
    capabilities: Capabilities,
) -> None:
    having = Stored(
        generation=stored(*files_of(generation)), upload=stored(*files_of(upload), folder=UPLOAD, sha256=None)
    )
    result = plan(*files_of(ours), having=having, capabilities=capabilities, reupload=True)
    actions: tuple[Keep | Reuse | Send, ...] = (*result.keep, *result.link, *result.copy, *result.send)
    assert sorted(action.file.name for action in actions) == sorted(ours)
    for kept in result.keep:
        assert upload[kept.file.name] == ours[kept.file.name] != (kept.file.size_bytes, "")
    for reused in (*result.link, *result.copy):
        assert generation[reused.file.name] == ours[reused.file.name] != (reused.file.size_bytes, "")
    assert capabilities.hard_link or not result.link
    assert capabilities.server_copy or not result.copy
