"""The packets of SFTP: what is written is what OpenSSH documents, and nothing that comes in does harm."""

from __future__ import annotations

import struct
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import Entry, EntryKind, Owner
from replicator.destination.sftp_errors import refusal
from replicator.destination.sftp_replies import (
    Attributes,
    Data,
    ExtendedReply,
    FileSystem,
    Handle,
    Limits,
    Names,
    Reply,
    Status,
    parse_file_system,
    parse_limits,
    parse_reply,
    parse_version,
    take_usual_replies,
)
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)

_numbers = st.integers(min_value=0, max_value=2**32 - 1)
_sizes = st.integers(min_value=0, max_value=2**64 - 1)


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def reply(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack(">BI", kind, number) + body


# --- requests ----------------------------------------------------------------------------------------


def test_the_greeting() -> None:
    assert protocol.init() == bytes.fromhex("00000005 01 00000003")


@given(_numbers)
def test_a_packet_begins_with_its_length_and_number(number: int) -> None:
    packet = protocol.close(b"handle").packet(number)
    assert struct.unpack(">I", packet[:4])[0] == len(packet) - 4
    assert packet[4:] == reply(4, number, string(b"handle"))


def test_the_head_of_a_write_counts_the_data_that_follows() -> None:
    head = protocol.write_head(7, b"h", 2**40, 1000)
    assert struct.unpack(">I", head[:4])[0] == len(head) - 4 + 1000
    assert head[4:] == reply(6, 7, string(b"h") + struct.pack(">QI", 2**40, 1000))


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (protocol.open_reading(b"p"), string(b"p") + struct.pack(">II", 1, 0)),
        (protocol.create_file(b"p", 0o640), string(b"p") + struct.pack(">III", 0x2A, 4, 0o640)),
        (protocol.open_writing(b"p"), string(b"p") + struct.pack(">II", 2, 0)),
        (protocol.read(b"h", 5, 6), string(b"h") + struct.pack(">QI", 5, 6)),
        (protocol.make_folder(b"p", 0o750), string(b"p") + struct.pack(">II", 4, 0o750)),
        (protocol.symbolic_link(b"target", b"link"), string(b"target") + string(b"link")),
        (protocol.hard_link(b"a", b"b"), string(b"hardlink@openssh.com") + string(b"a") + string(b"b")),
        (protocol.posix_rename(b"a", b"b"), string(b"posix-rename@openssh.com") + string(b"a") + string(b"b")),
        (protocol.sync(b"h"), string(b"fsync@openssh.com") + string(b"h")),
        (protocol.file_system(b"p"), string(b"statvfs@openssh.com") + string(b"p")),
        (
            protocol.set_file_status(b"h", protocol.mode_and_time(0o4755, 2**32 - 1)),
            string(b"h") + struct.pack(">IIII", 0xC, 0o4755, 2**32 - 1, 2**32 - 1),
        ),
        (protocol.set_path_status(b"p", protocol.owner_of(7, 8)), string(b"p") + struct.pack(">III", 2, 7, 8)),
        (
            protocol.set_link_status(b"p", protocol.owner_of(7, 8)),
            string(b"lsetstat@openssh.com") + string(b"p") + struct.pack(">III", 2, 7, 8),
        ),
        (
            protocol.copy_data(b"a", 3, 4, b"b"),
            string(b"copy-data") + string(b"a") + struct.pack(">QQ", 3, 4) + string(b"b") + struct.pack(">Q", 3),
        ),
    ],
)
def test_the_bodies_of_requests(request_: protocol.Request, body: bytes) -> None:
    assert request_.body == body


# --- replies -----------------------------------------------------------------------------------------


def test_the_version_of_openssh_lists_its_extensions() -> None:
    pairs = string(b"posix-rename@openssh.com") + string(b"1") + string(b"copy-data") + string(b"1")
    assert parse_version(bytes.fromhex("02 00000003") + pairs) == {
        "posix-rename@openssh.com": b"1",
        "copy-data": b"1",
    }


@pytest.mark.parametrize("packet", ["02 00000002", "65 00000003", "02", "02 00000003 00000009"])
def test_other_versions_are_refused(packet: str) -> None:
    with pytest.raises(ProtocolError):
        parse_version(bytes.fromhex(packet))


@given(_numbers, _numbers, st.text())
def test_a_status(number: int, code: int, message: str) -> None:
    packet = reply(
        101, number, struct.pack(">I", code) + string(message.encode("utf-8", "replace")) + string(b"en")
    )
    found = message.encode("utf-8", "replace").decode()
    assert parse_reply(packet) == (number, Status(code, found))


def test_a_status_without_a_message() -> None:
    assert parse_reply(reply(101, 1, struct.pack(">I", 4))) == (1, Status(4, ""))


@given(_numbers, st.binary())
def test_handles_and_data(number: int, value: bytes) -> None:
    assert parse_reply(reply(102, number, string(value))) == (number, Handle(value))
    assert parse_reply(reply(103, number, string(value))) == (number, Data(value))
    assert parse_reply(reply(201, number, value)) == (number, ExtendedReply(value))


@given(
    size=st.none() | _sizes,
    owner=st.none() | st.builds(Owner, _numbers, _numbers),
    permissions=st.none() | _numbers,
    modified=st.none() | _numbers,
    extended=st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=3),
)
def test_attributes_in_every_combination(
    size: int | None,
    owner: Owner | None,
    permissions: int | None,
    modified: int | None,
    extended: list[tuple[bytes, bytes]],
) -> None:
    flags, body = 0, b""
    if size is not None:
        flags, body = flags | 1, body + struct.pack(">Q", size)
    if owner is not None:
        flags, body = flags | 2, body + struct.pack(">II", owner.user_id, owner.group_id)
    if permissions is not None:
        flags, body = flags | 4, body + struct.pack(">I", permissions)
    if modified is not None:
        flags, body = flags | 8, body + struct.pack(">II", 0, modified)
    if extended:
        flags, body = flags | 0x80000000, body + struct.pack(">I", len(extended))
        body += b"".join(string(key) + string(value) for key, value in extended)
    encoded = struct.pack(">I", flags) + body
    wanted = Attributes(size, permissions, modified, owner)
    assert parse_reply(reply(105, 9, encoded)) == (9, wanted)
    # Twice in a list of names: the second is found only if the first was read to its exact end.
    listing = struct.pack(">I", 2) + 2 * (string(b"na\xffme/..") + string(b"long") + encoded)
    assert parse_reply(reply(104, 9, listing)) == (9, Names(2 * (wanted.of("na\udcffme/.."),)))
    # Cut short, it is neither read beyond its end nor taken for a shorter list.
    with pytest.raises(ProtocolError):
        parse_reply(reply(104, 9, listing[:-1]))


@given(st.sampled_from([101, 102, 103, 104, 105, 201]) | st.integers(0, 255), st.binary(max_size=60))
def test_whatever_comes_is_a_reply_or_a_protocol_error(kind: int, rest: bytes) -> None:
    try:
        number, _ = parse_reply(bytes([kind]) + rest)
    except ProtocolError:
        return
    assert number == int.from_bytes(rest[:4], "big")


_KINDS = {
    0o100000: EntryKind.FILE,
    0o40000: EntryKind.FOLDER,
    0o120000: EntryKind.SYMLINK,
    0o10000: EntryKind.OTHER,
}
_entries = st.builds(
    Entry,
    st.text(st.sampled_from("aü.\udcff"), max_size=3),
    st.sampled_from(sorted(_KINDS.values(), key=str)),
    _sizes,
    _numbers,
    st.integers(0, 0o7777),
    st.builds(Owner, _numbers, _numbers),
)


def listing(entries: list[tuple[Entry, bytes]]) -> bytes:
    """As OpenSSH answers; with each name comes what `ls -l` would show."""
    body = struct.pack(">I", len(entries))
    bits = {kind: bits for bits, kind in _KINDS.items()}
    for entry, shown in entries:
        assert entry.owner is not None
        numbers = (
            entry.owner.user_id,
            entry.owner.group_id,
            bits[entry.kind] | entry.mode,
            1,
            entry.modified_seconds,
        )
        body += string(entry.name.encode("utf-8", "surrogateescape")) + string(shown)
        body += struct.pack(">IQIIIII", 15, entry.size_bytes, *numbers)
    return body


@given(st.lists(st.tuples(_entries, st.binary(max_size=3))))
def test_the_names_that_openssh_sends(entries: list[tuple[Entry, bytes]]) -> None:
    wanted = Names(tuple(entry for entry, _ in entries))
    assert parse_reply(reply(104, 9, listing(entries))) == (9, wanted)


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda code, text: (101, struct.pack(">I", code) + string(text)), _numbers, st.binary(max_size=9)
            ),
            st.builds(lambda value: (102, string(value)), st.binary(max_size=9)),
            st.builds(lambda found: (104, listing(found)), st.lists(st.tuples(_entries, st.binary(max_size=3)))),
            st.tuples(st.integers(100, 106), st.binary(max_size=30)),
        )
    ),
    st.integers(0, 40),
)
def test_many_replies_are_read_as_each_of_them_would_be(sent: list[tuple[int, bytes]], cut_bytes: int) -> None:
    packets = [reply(kind, number, body) for number, (kind, body) in enumerate(sent)]
    data = b"".join(struct.pack(">I", len(packet)) + packet for packet in packets)
    data = data[: len(data) - min(cut_bytes, len(data))]
    found: deque[tuple[int, Reply]] = deque()
    stopped_at = take_usual_replies(memoryview(bytearray(b"before" + data)), 6, found) - 6
    taken = packets[: len(found)]
    assert stopped_at == sum(4 + len(packet) for packet in taken) <= len(data)
    assert list(found) == [parse_reply(packet) for packet in taken]
    assert len(taken) == len(packets) or cut_bytes or not _is_usual(packets[len(taken)])


def _is_usual(packet: bytes) -> bool:
    try:
        found = parse_reply(packet)[1]
    except ProtocolError:
        return False
    plain = isinstance(found, Handle) or (isinstance(found, Status) and len(packet) >= 13)
    usual = isinstance(found, Names) and all(
        entry.owner is not None and entry.name.isprintable() for entry in found.entries
    )
    return plain or usual


@given(st.binary(max_size=60))
def test_whatever_greeting_comes_is_understood_or_a_protocol_error(rest: bytes) -> None:
    try:
        found = parse_version(b"\x02\x00\x00\x00\x03" + rest)
    except ProtocolError:
        return
    assert sum(8 + len(name.encode()) + len(value) for name, value in found.items()) <= len(rest) * 3


def test_limits_are_those_of_the_server_within_reason() -> None:
    def limits(*values: int) -> Limits:
        return parse_limits(ExtendedReply(struct.pack(">4Q", *values)))

    assert limits(262144, 261120, 261119, 1019) == Limits(261120, 261119)
    assert limits(0, 0, 0, 0) == Limits(32768, 32768)
    assert limits(0, 2**63, 2**63, 0) == Limits(1 << 20, 1 << 20)


def test_figures_of_a_filesystem() -> None:
    body = struct.pack(">11Q", 1024, 4096, 100, 50, 40, 10, 5, 4, 77, 1, 255)
    found = parse_file_system(ExtendedReply(body))
    assert found == FileSystem(free_bytes=4096 * 40, inodes=10, free_inodes=4, read_only=True)


# --- what a refusal means ----------------------------------------------------------------------------

_ROOMY = FileSystem(free_bytes=1 << 30, inodes=100, free_inodes=50, read_only=False)
_FAILURE = Status(4, "Failure")


@pytest.mark.parametrize(
    ("found", "file_system", "kind"),
    [
        (Status(1, ""), None, ProtocolError),
        (Status(2, "No such file"), None, NotFoundError),
        (Status(3, "Permission denied"), None, AccessDeniedError),
        (Status(7, ""), None, ConnectionLostError),
        (Status(8, ""), None, MissingCapabilityError),
        (Status(0, ""), None, ProtocolError),
        (Handle(b""), None, ProtocolError),
        (_FAILURE, None, PermanentDestinationError),
        (_FAILURE, _ROOMY, PermanentDestinationError),
        (_FAILURE, FileSystem(0, 100, 50, read_only=False), NoSpaceError),
        (_FAILURE, FileSystem(1 << 30, 100, 0, read_only=False), NoSpaceError),
        (_FAILURE, FileSystem(1 << 30, 0, 0, read_only=False), PermanentDestinationError),
        (_FAILURE, FileSystem(1 << 30, 100, 50, read_only=True), AccessDeniedError),
    ],
)
def test_refusals(found: Reply, file_system: FileSystem | None, kind: type[DestinationError]) -> None:
    error = refusal(found, label="place", action="write file", file_system=file_system)
    assert type(error) is kind
    assert str(error).startswith("place: cannot write file: ")
