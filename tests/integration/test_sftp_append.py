"""Files that grow over SFTP: what it costs, and what is left when something breaks in the middle of it."""

from __future__ import annotations

import random
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import Append
from replicator.destination.rate_limit import RateLimiter
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_connection import SftpConnection
from replicator.destination.sftp_protocol import RequestType
from replicator.errors import (
    ConnectionLostError,
    DestinationTimeoutError,
    NoSpaceError,
    NotFoundError,
    ProtocolError,
)
from tests.support.openssh import OpenSshServer, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.destination.sftp_protocol import Request
    from replicator.destination.sftp_replies import Reply
    from replicator.destination.sftp_route import SftpSettings

_DATA = random.Random(1).randbytes(6 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer() as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest, server: OpenSshServer) -> str:
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)
    server.make_folder(name)
    return name


class ActingLimiter(RateLimiter):
    """Holds nothing back; acts once, before the byte `at_byte` goes out."""

    def __init__(self, at_byte: int, act: Callable[[], object]) -> None:
        super().__init__(1e12)
        self.passed: list[int] = []
        self._at_byte = at_byte
        self._act: Callable[[], object] | None = act

    def acquire(self, count_bytes: int) -> None:
        self.passed.append(count_bytes)
        if self._act is not None and sum(self.passed) > self._at_byte:
            act, self._act = self._act, None
            act()


class ToldConnection(SftpConnection):
    """Writes down what is sent, and each time that an answer is waited for."""

    steps: list[RequestType | None]

    def post(self, request: Request, on_reply: Callable[[Reply], None], *, bulk_bytes: int = 0) -> None:
        self._told(request.kind)
        super().post(request, on_reply, bulk_bytes=bulk_bytes)

    def post_write(
        self,
        handle: bytes,
        offset: int,
        length: int,
        fill: Callable[[memoryview], None],
        on_reply: Callable[[Reply], None],
    ) -> None:
        self._told(RequestType.WRITE)
        super().post_write(handle, offset, length, fill, on_reply)

    def receive(self) -> None:
        self._told(None)
        super().receive()

    def _told(self, step: RequestType | None) -> None:
        # The greeting comes before there is a list.
        self.steps = [*getattr(self, "steps", []), step]

    def take_requests(self) -> list[RequestType]:
        """What was sent since the last time."""
        taken = [step for step in self.steps if step is not None]
        self.steps = []
        return taken

    def round_trips(self) -> int:
        """How often something was sent and waited for."""
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return sum(before is not None and after is None for before, after in pairs)


def at(path: str) -> PurePosixPath:
    return PurePosixPath(path)


def open_files(server: OpenSshServer, folder: Path) -> int:
    """Count how often sessions of the server have a folder, or what is below it, open."""
    count = 0
    for session in server.sessions():
        with suppress(FileNotFoundError):  # another one that has just ended
            for link in Path(f"/proc/{session.pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    count += link.readlink().is_relative_to(folder)
    return count


def is_right(folder: Path) -> bool:
    return (folder / "wal").read_bytes() == _DATA and (folder / "log").read_bytes() == b"line"


_ITEMS = [Append(at("wal"), 0, _DATA), Append(at("log"), 0, b"line")]


def repeat(settings: SftpSettings) -> None:
    with SftpDestination.connect(settings) as place:
        place.append(_ITEMS)


# --- what it costs -----------------------------------------------------------------------------------


def test_files_that_are_open_take_one_round_trip_for_all(server: OpenSshServer, name: str) -> None:
    settings = server.settings(name)
    connection = ToldConnection.open(settings)
    with SftpDestination(connection, settings) as place:
        for offset in range(3):
            connection.steps = []
            place.append([Append(at(f"{number}"), offset, b"%d" % offset) for number in range(4)])
        assert connection.round_trips() == 1
        each = [RequestType.WRITE, RequestType.EXTENDED, RequestType.LSTAT]
        assert connection.take_requests() == 4 * each
    assert all((server.local_base / name / f"{number}").read_bytes() == b"012" for number in range(4))


def test_only_a_file_that_is_new_must_be_opened(server: OpenSshServer, name: str) -> None:
    settings = server.settings(name)
    connection = ToldConnection.open(settings)
    with SftpDestination(connection, settings) as place:
        place.append([Append(at("1"), 0, b"a"), Append(at("log"), 0, b"1")])
        opened = []
        for offset in range(1, 3):
            connection.steps = []
            place.append(
                [Append(at("1"), offset, b"b"), Append(at("2"), offset - 1, b"b"), Append(at("log"), offset, b"2")]
            )
            opened.append(connection.take_requests().count(RequestType.OPEN))
        assert opened == [3, 0]  # to create it, for its folder, and to write


def test_no_more_files_stay_open_than_64_and_none_that_a_change_could_spoil(
    server: OpenSshServer, name: str
) -> None:
    folder = server.local_base / name
    with SftpDestination.connect(server.settings(name)) as place:
        for offset in range(2):
            for number in range(100):
                place.append([Append(at(f"{number}"), offset, b"x")])
        place.append([Append(at(f"{number}"), 2, b"x") for number in range(100)])
        assert open_files(server, folder) == 64
        assert all((folder / f"{number}").read_bytes() == b"xxx" for number in range(100))
        place.write_bytes(at("other"), b"")
        assert open_files(server, folder) == 0


def test_the_file_used_longest_ago_is_closed_first(server: OpenSshServer, name: str) -> None:
    settings = server.settings(name)
    connection = ToldConnection.open(settings)
    with SftpDestination(connection, settings) as place:
        place.append([Append(at("log"), 0, b"")])
        connection.steps = []
        for number in range(100):
            place.append([Append(at(f"{number}"), 0, b""), Append(at("log"), number, b"x")])
        assert connection.take_requests().count(RequestType.OPEN) == 3 * 100  # none for the log


def test_a_long_range_is_copied_in_steps(server: OpenSshServer, name: str) -> None:
    settings = server.settings(name)
    folder = server.local_base / name
    connection = ToldConnection.open(settings)
    data = 6 * _DATA
    with SftpDestination(connection, settings) as place:
        place.append([Append(at("wal"), 0, data), Append(at("next"), 0, data[:7])])
        connection.steps = []
        place.copy_range(at("wal"), at("next"), offset=7, end=len(data))
        assert connection.take_requests().count(RequestType.EXTENDED) == 3  # two for 36 MiB, one to sync
    assert (folder / "next").read_bytes() == data


def test_appends_keep_to_the_rate_in_small_steps(server: OpenSshServer, name: str) -> None:
    limiter = ActingLimiter(0, lambda: None)
    with SftpDestination.connect(server.settings(name), limiter) as place:
        place.append(_ITEMS)
        assert sum(limiter.passed) == len(_DATA) + len(b"line")
        assert max(limiter.passed) < 1 << 18
    assert is_right(server.local_base / name)


# --- what breaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_byte", [0, 1 << 20, len(_DATA) - 1, len(_DATA)])
def test_a_killed_session_leaves_what_a_repeat_puts_right(server: OpenSshServer, name: str, at_byte: int) -> None:
    folder = server.local_base / name
    with (
        SftpDestination.connect(server.settings(name), ActingLimiter(at_byte, server.kill_sessions)) as place,
        pytest.raises(ConnectionLostError),
    ):
        place.append(_ITEMS)
    assert _DATA.startswith((folder / "wal").read_bytes())
    if at_byte < len(_DATA):
        assert not (folder / "log").exists()
    repeat(server.settings(name))
    assert is_right(folder)


@pytest.mark.timeout(60)
def test_a_stalled_session_ends_in_time_and_cannot_spoil_the_repeat(server: OpenSshServer, name: str) -> None:
    folder = server.local_base / name
    limiter = ActingLimiter(1 << 20, server.stall_sessions)
    with (
        SftpDestination.connect(server.settings(name, timeout_seconds=1), limiter) as place,
        pytest.raises(DestinationTimeoutError, match="nothing came for 1 s"),
    ):
        place.append(_ITEMS)
    stalled = server.sessions()
    repeat(server.settings(name))
    for session in stalled:
        session.resume()
    wait_for_end(stalled)
    assert is_right(folder)


class UnexpectedError(Exception):
    """Nothing that the program raises."""


def test_answers_of_a_call_that_broke_off_reach_no_other(server: OpenSshServer, name: str) -> None:
    def fail() -> None:
        raise UnexpectedError

    with SftpDestination.connect(server.settings(name), ActingLimiter(1 << 20, fail)) as place:
        with pytest.raises(UnexpectedError):
            place.append(_ITEMS)
        with pytest.raises(ConnectionLostError, match="closed"):
            place.append(_ITEMS)
    repeat(server.settings(name))
    assert is_right(server.local_base / name)


def test_a_full_disk_is_told_and_a_repeat_with_room_puts_it_right(server: OpenSshServer, name: str) -> None:
    rest = [Append(at("wal"), 1000, _DATA[1000:]), Append(at("log"), 2, b"ne")]
    with (
        server.small_disk(name, "size=8m") as folder,
        SftpDestination.connect(server.settings(name)) as place,
    ):
        place.write_bytes(at("ballast"), bytes(4 << 20))
        for _ in range(2):
            place.append([Append(at("wal"), 0, _DATA[:1000]), Append(at("log"), 0, b"li")])
            with pytest.raises(NoSpaceError, match="cannot append to wal: the disk is full"):
                place.append(rest)
            assert (folder / "log").read_bytes() == b"li"
            assert open_files(server, folder) == 0
        place.remove_tree(at("ballast"))
        place.append(rest)
        assert is_right(folder)


def test_a_full_disk_in_a_small_append_shows_by_the_size(server: OpenSshServer, name: str) -> None:
    more = [Append(at("wal"), 5, bytes(200_000)), Append(at("log"), 1, b"2"), Append(at("new"), 0, b"3")]
    with (
        server.small_disk(name, "size=1m") as folder,
        SftpDestination.connect(server.settings(name)) as place,
    ):
        place.append([Append(at("wal"), 0, b"start"), Append(at("log"), 0, b"1")])
        place.write_bytes(at("ballast"), bytes(900_000))
        place.append([Append(at("wal"), 5, b""), Append(at("log"), 1, b"")])  # which opens them
        with pytest.raises(NoSpaceError, match="cannot append to wal"):
            place.append(more)
        assert (folder / "wal").stat().st_size < 200_005
        assert not (folder / "new").exists()
        place.remove_tree(at("ballast"))
        place.append(more)
        assert (folder / "wal").read_bytes() == b"start" + bytes(200_000)
        assert (folder / "log").read_bytes() == b"12"
        assert (folder / "new").read_bytes() == b"3"


def test_when_one_of_many_writes_failed_no_later_file_is_written(server: OpenSshServer, name: str) -> None:
    with (
        server.small_disk(name, "size=1m") as folder,
        SftpDestination.connect(server.settings(name)) as place,
    ):
        place.write_bytes(at("ballast"), bytes(700_000))
        place.append([Append(at("wal"), 0, b"start"), Append(at("log"), 0, b"1")])
        with pytest.raises(NoSpaceError, match="cannot append to wal"):
            place.append([Append(at("wal"), 5, bytes(600_000)), Append(at("log"), 1, b"2")])
        assert (folder / "log").read_bytes() == b"1"


def test_once_a_failure_is_known_no_more_is_sent(server: OpenSshServer, name: str) -> None:
    limiter = ActingLimiter(0, lambda: None)
    with (
        server.small_disk(name, "size=1m"),
        SftpDestination.connect(server.settings(name), limiter) as place,
        pytest.raises(NoSpaceError),
    ):
        place.append(_ITEMS)
    assert sum(limiter.passed) < len(_DATA)


def test_no_inode_left_for_a_new_file_is_no_space(server: OpenSshServer, name: str) -> None:
    with (
        server.small_disk(name, "size=3m,nr_inodes=3") as folder,
        SftpDestination.connect(server.settings(name)) as place,
    ):
        with pytest.raises(NoSpaceError, match="cannot create 2: the filesystem has no inode left"):
            place.append([Append(at(f"{number}"), 0, b"x") for number in range(5)])
        assert {path.name for path in folder.iterdir()} == {"0", "1"}
        assert (folder / "1").read_bytes() == b"x"


def test_a_file_that_somebody_else_removed_or_shortened_is_missed(server: OpenSshServer, name: str) -> None:
    folder = server.local_base / name
    with SftpDestination.connect(server.settings(name)) as place:
        place.append([Append(at("removed"), 0, b"0123"), Append(at("replaced"), 0, b"0123")])
        (folder / "removed").unlink()
        with closing(SftpDestination.connect(server.settings(name))) as other:
            other.write_bytes(at("replaced"), b"01")
        for _ in range(2):
            with pytest.raises(NotFoundError):
                place.append([Append(at("removed"), 4, b"45")])
            with pytest.raises(ProtocolError, match="replaced has 2 bytes"):
                place.append([Append(at("replaced"), 4, b"45")])
        place.append([Append(at("removed"), 0, b"anew"), Append(at("replaced"), 2, b"2345")])
    assert (folder / "removed").read_bytes() == b"anew"
    assert (folder / "replaced").read_bytes() == b"012345"
