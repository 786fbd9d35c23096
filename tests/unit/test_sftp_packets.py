"""Many requests in one go, and the answers to them: the same as each of them alone."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicator.destination import sftp_protocol as protocol
from replicator.destination.sftp_packets import PacketRun, PlainAnswer, take_plain_answers
from replicator.destination.sftp_replies import LARGEST_PACKET_BYTES, Handle, Status, parse_reply
from replicator.errors import ProtocolError

_numbers = st.integers(0, 2**32 - 1)
#: Packets without their lengths, and the numbers in them.
_Answers = list[tuple[int, bytes]]


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def status(number: int, code: int = 0, text: bytes = b"Success") -> tuple[int, bytes]:
    return number, struct.pack(">BII", 101, number, code) + string(text) + string(b"en")


def stream_of(packets: _Answers) -> bytes:
    return b"".join(string(packet) for _, packet in packets)


def plain(packet: bytes) -> PlainAnswer:
    """What `parse_reply` says, as it is of use here."""
    found = parse_reply(packet)[1]
    if isinstance(found, Status):
        return found.code
    return found.value if isinstance(found, Handle) else None


def taken_in_pieces(data: bytes, cuts: list[int]) -> dict[int, PlainAnswer]:
    """Take `data` as it comes from a connection: what is not whole stays for the next time."""
    answers: dict[int, PlainAnswer] = {}
    inbox = bytearray()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        inbox += data[start:end]
        del inbox[: take_plain_answers(inbox, answers)]
    assert not inbox
    return answers


# --- requests ----------------------------------------------------------------------------------------

_strings = st.binary(max_size=40)
_whole_files = st.tuples(st.binary(min_size=1, max_size=9), _strings, st.integers(0, 0o7777), _numbers)
_others = st.one_of(
    st.builds(protocol.create_file, _strings, st.integers(0, 0o777)),
    st.builds(protocol.make_folder, _strings, st.integers(0, 0o777)),
    st.builds(protocol.close, _strings),
    st.builds(protocol.posix_rename, _strings, _strings),
    st.builds(protocol.remove, _strings),
)


@given(st.integers(0, 2**31), st.lists(_whole_files | _others))
def test_a_run_is_its_requests_with_consecutive_numbers(
    first: int, wanted: list[tuple[bytes, bytes, int, int] | protocol.Request]
) -> None:
    run = PacketRun(first)
    requests: list[protocol.Request] = []
    for item in wanted:
        if isinstance(item, protocol.Request):
            run.add(item)
            requests.append(item)
            continue
        handle, data, mode, seconds = item
        attributes = protocol.mode_and_time(mode, seconds)
        run.fill(handle, data, attributes)
        requests.append(protocol.write(handle, 0, data))
        requests.append(protocol.set_file_status(handle, attributes))
        requests.append(protocol.close(handle))
    assert len(run) == len(requests)
    assert run.data() == b"".join(request.packet(first + place) for place, request in enumerate(requests))


# --- answers -----------------------------------------------------------------------------------------

_statuses = st.builds(
    lambda code, text: struct.pack(">I", code) + string(text) + string(b"en"),
    st.sampled_from([0, 0, 0, 2, 4, 2**32 - 1]),
    st.sampled_from([b"Success", b"Failure", b"", b"No such file"]),
)
_bodies = st.one_of(
    st.tuples(st.just(101), _statuses),
    st.tuples(st.just(102), st.builds(string, st.binary(max_size=9))),
    st.tuples(st.just(103), st.builds(string, st.binary(max_size=9))),
    st.tuples(st.just(105), st.just(struct.pack(">I", 0))),
    st.tuples(st.just(201), st.binary(min_size=4, max_size=9)),
)
#: An answer, and how many of it one after the other; as many as are compared at once, and one more or less.
_groups = st.lists(
    st.tuples(_bodies, st.sampled_from([1, 1, 2, 7, 8, 9, 10, 17, 64, 511, 512, 513, 1100])), max_size=6
)


@given(_groups, st.lists(st.integers(0, 1 << 20), max_size=8), st.data())
def test_answers_are_what_each_of_them_says(
    groups: list[tuple[tuple[int, bytes], int]], cuts: list[int], data: st.DataObject
) -> None:
    bodies = [body for body, count in groups for _ in range(count)]
    first = data.draw(_numbers)
    # 7 and 2^32 have no divisor in common: all numbers differ.
    step = data.draw(st.sampled_from([1, 7]))
    packets = []
    for place, (kind, body) in enumerate(bodies):
        number = (first + step * place) % 2**32
        packets.append((number, struct.pack(">BI", kind, number) + body))
    assert taken_in_pieces(stream_of(packets), cuts) == {number: plain(packet) for number, packet in packets}


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10, 16, 511, 512, 513, 514, 1025, 3000])
@pytest.mark.parametrize("other", [0, 1, 8, 9, 300])
def test_one_that_differs_among_many_that_are_alike(count: int, other: int) -> None:
    packets = [status(number) for number in range(count)]
    place = min(other, count - 1)
    packets[place] = status(place, 4, b"Failure")  # as long as the others
    answers: dict[int, PlainAnswer] = {}
    data = stream_of(packets)
    assert take_plain_answers(data, answers) == len(data)
    assert answers == {number: 4 if number == place else 0 for number in range(count)}


def test_an_answer_that_is_not_whole_is_left() -> None:
    packets = [status(number) for number in range(20)]
    data = stream_of(packets)
    for cut in range(1, len(packets[-1][1]) + 4):
        answers: dict[int, PlainAnswer] = {}
        assert take_plain_answers(data[:-cut], answers) == len(stream_of(packets[:-1]))
        assert set(answers) == set(range(19))


def test_a_handle_that_is_longer_than_its_packet_is_no_handle() -> None:
    answers: dict[int, PlainAnswer] = {}
    packet = struct.pack(">BII", 102, 5, 9) + b"12345678"
    take_plain_answers(stream_of([(5, packet), status(6)]), answers)
    assert answers == {5: None, 6: 0}


@given(st.integers(0, 8) | st.integers(LARGEST_PACKET_BYTES + 1, 2**32 - 1), st.integers(0, 30))
@example(8, 0)
@example(LARGEST_PACKET_BYTES + 1, 9)
def test_a_garbled_length_is_told_whatever_came_before(length: int, before: int) -> None:
    data = stream_of([status(number) for number in range(before)]) + struct.pack(">I", length) + b"e" * 9
    with pytest.raises(ProtocolError):
        take_plain_answers(data, {})


@given(st.binary(max_size=200))
def test_whatever_comes_is_taken_or_left_or_a_protocol_error(data: bytes) -> None:
    try:
        taken = take_plain_answers(data, {})
    except ProtocolError:
        return
    assert 0 <= taken <= len(data)
