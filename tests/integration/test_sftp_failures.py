"""What goes wrong with a real OpenSSH server: killed, stalled, full, closed to us, restricted."""

from __future__ import annotations

import random
import subprocess
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import Append, Download, Link, Prefix, Upload
from replicator.destination.rate_limit import RateLimiter
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    DestinationTimeoutError,
    MissingCapabilityError,
    NoSpaceError,
)
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, ServerOptions, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE_BYTES = 8 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer() as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest, server: OpenSshServer) -> str:
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)
    server.make_folder(name)
    return name


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(random.Random(number).randbytes(_FILE_BYTES))
    return paths


def at(path: str) -> PurePosixPath:
    return PurePosixPath(path)


def uploads_of(sources: list[Path]) -> list[Upload]:
    return [Upload(path, at(path.name), path.stat().st_size) for path in sources]


def once_after(limit_bytes: int, act: Callable[[], object]) -> RecordingObserver:
    """Return an observer that acts when so many bytes have been moved."""
    moved = 0
    acted = False

    def on_bytes(count: int) -> None:
        nonlocal moved, acted
        moved += count
        if moved >= limit_bytes and not acted:
            acted = True
            act()

    return RecordingObserver(on_bytes=on_bytes)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def complete_names(folder: Path) -> set[str]:
    return {name for name in names_in(folder) if not name.endswith(".part")}


# --- killed ------------------------------------------------------------------------------------------


def test_a_killed_server_leaves_whole_files_only(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    observer = once_after(int(2.5 * _FILE_BYTES), server.kill_sessions)
    with SftpDestination.connect(server.settings(name)) as place:
        with pytest.raises(ConnectionLostError):
            place.upload(uploads_of(sources), observer)
        with pytest.raises(ConnectionLostError):
            place.list_folder(at("."))
    folder = server.local_base / name
    assert {done for done, _ in observer.done} <= complete_names(folder) < {path.name for path in sources}
    for path in sources:
        if path.name in complete_names(folder):
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_retried_upload_sends_only_what_is_missing(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    observer = once_after(int(2.5 * _FILE_BYTES), server.kill_sessions)
    retries: list[DestinationError] = []
    with RetryingDestination(
        lambda: SftpDestination.connect(server.settings(name)),
        label="retrying",
        policy=RetryPolicy(first_wait_seconds=0.01),
        on_retry=lambda error, _attempt, _wait: retries.append(error),
    ) as place:
        place.upload(uploads_of(sources), observer)
    assert [type(error) for error in retries] == [ConnectionLostError]
    assert sorted(done for done, _ in observer.done) == sorted(path.name for path in sources)
    # The file in the middle, and one whose last answers were on their way.
    assert observer.moved_bytes <= (len(sources) + 2) * _FILE_BYTES
    for path in sources:
        assert (server.local_base / name / path.name).read_bytes() == path.read_bytes()


def test_a_retried_download_goes_on_with_the_missing_files(
    server: OpenSshServer, name: str, sources: list[Path], tmp_path: Path
) -> None:
    observer = once_after(int(2.5 * _FILE_BYTES), server.kill_sessions)
    target = tmp_path / "fetched"
    target.mkdir()
    with RetryingDestination(
        lambda: SftpDestination.connect(server.settings(name)),
        label="retrying",
        policy=RetryPolicy(first_wait_seconds=0.01),
    ) as place:
        place.upload(uploads_of(sources), RecordingObserver())
        downloads = [Download(at(path.name), target / path.name, _FILE_BYTES) for path in sources]
        place.download(downloads, observer)
    assert sorted(done for done, _ in observer.done) == sorted(str(target / path.name) for path in sources)
    assert observer.moved_bytes <= (len(sources) + 2) * _FILE_BYTES
    for path in sources:
        assert (target / path.name).read_bytes() == path.read_bytes()


def test_a_server_that_is_gone_is_tried_so_often_and_no_more() -> None:
    with OpenSshServer() as gone:
        settings = gone.settings()
        gone.stop()
        waits: list[float] = []
        place = RetryingDestination(
            lambda: SftpDestination.connect(settings),
            label="retrying",
            policy=RetryPolicy(attempts=3, first_wait_seconds=0.01),
            on_retry=lambda _error, _attempt, wait: waits.append(wait),
        )
        with pytest.raises(ConnectionLostError, match="refused"):
            place.list_folder(at("."))
        assert len(waits) == 2
        gone.start()
        assert place.list_folder(at(".")) == []
        place.close()


# --- stalled -----------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_a_stalled_upload_ends_in_time_and_is_finished_later(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    observer = once_after(int(1.5 * _FILE_BYTES), server.stall_sessions)
    with SftpDestination.connect(server.settings(name, timeout_seconds=1)) as place:
        try:
            with pytest.raises(DestinationTimeoutError, match="nothing came for 1 s"):
                place.upload(uploads_of(sources), observer)
        finally:
            server.resume_sessions()
    with SftpDestination.connect(server.settings(name)) as place:
        place.upload(uploads_of(sources), RecordingObserver())
    for path in sources:
        assert (server.local_base / name / path.name).read_bytes() == path.read_bytes()


@pytest.mark.timeout(60)
def test_a_stalled_download_ends_in_time(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    observer = once_after(_FILE_BYTES // 2, server.stall_sessions)
    with SftpDestination.connect(server.settings(name, timeout_seconds=1)) as place:
        place.upload(uploads_of(sources), RecordingObserver())
        downloads = [Download(at(path.name), None, _FILE_BYTES) for path in sources]
        try:
            with pytest.raises(DestinationTimeoutError):
                place.download(downloads, observer)
        finally:
            server.resume_sessions()


@pytest.mark.timeout(60)
def test_a_stalled_question_ends_in_time(server: OpenSshServer, name: str) -> None:
    with SftpDestination.connect(server.settings(name, timeout_seconds=1)) as place:
        server.stall_sessions()
        try:
            with pytest.raises(DestinationTimeoutError):
                place.list_folder(at("."))
        finally:
            server.resume_sessions()


@pytest.mark.timeout(60)
def test_a_stalled_call_ends_when_another_thread_closes(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    with SftpDestination.connect(server.settings(name, timeout_seconds=300)) as place:
        closer = threading.Timer(0.5, place.close)

        def stall() -> None:
            server.stall_sessions()
            closer.start()

        observer = once_after(_FILE_BYTES // 2, stall)
        try:
            with pytest.raises(ConnectionLostError, match="closed"):
                place.upload(uploads_of(sources), observer)
        finally:
            server.resume_sessions()
            closer.join()


@pytest.mark.timeout(60)
def test_slow_is_not_stalled(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    limiter = RateLimiter(64 * 1024)
    with SftpDestination.connect(server.settings(name, timeout_seconds=0.5), limiter) as place:
        observer = RecordingObserver()
        place.upload([Upload(sources[0], at("file"), 96 * 1024)], observer)
        place.download([Download(at("file"), None, 48 * 1024)], observer)
    assert len(observer.done) == 2


@pytest.mark.timeout(60)
def test_a_session_that_was_given_up_cannot_spoil_the_next_try(
    server: OpenSshServer, name: str, tmp_path: Path, sources: list[Path]
) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(_FILE_BYTES))
    observer = once_after(_FILE_BYTES // 4, server.stall_sessions)
    with (
        SftpDestination.connect(server.settings(name, timeout_seconds=1)) as place,
        pytest.raises(DestinationTimeoutError),
    ):
        place.upload([Upload(sources[0], at("file"), _FILE_BYTES)], observer)
    stalled = server.sessions()
    with SftpDestination.connect(server.settings(name)) as place:
        place.upload([Upload(other, at("file"), _FILE_BYTES)], RecordingObserver())
    for session in stalled:
        session.resume()
    wait_for_end(stalled)
    assert (server.local_base / name / "file").read_bytes() == bytes(_FILE_BYTES)


# --- full, or closed ---------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_no_half_file_appears(server: OpenSshServer, name: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(4)]
    for path in paths:
        path.write_bytes(random.Random(path.name).randbytes(1 << 20))
    observer = RecordingObserver()
    with server.small_disk(name) as folder, SftpDestination.connect(server.settings(name)) as place:
        with pytest.raises(NoSpaceError, match="the disk is full"):
            place.upload(uploads_of(paths), observer)
        assert names_in(folder) == {done for done, _ in observer.done} < {path.name for path in paths}
        for done, _ in observer.done:
            assert (folder / done).read_bytes() == (tmp_path / done).read_bytes()
        with pytest.raises(NoSpaceError):
            place.write_bytes(at("small"), bytes(3 << 20))
        assert "small" not in names_in(folder)
        place.remove_tree(at("0"))
        place.write_bytes(at("small"), b"there is room again")


def test_a_full_disk_ends_a_copy(server: OpenSshServer, name: str) -> None:
    with server.small_disk(name) as folder, SftpDestination.connect(server.settings(name)) as place:
        place.write_bytes(at("file"), bytes(2 << 20))
        with pytest.raises(NoSpaceError):
            place.copy([Link(at("file"), at("copy"))])
        assert names_in(folder) == {"file"}


def test_a_full_disk_ends_the_copy_of_a_range(server: OpenSshServer, name: str) -> None:
    with server.small_disk(name) as folder, SftpDestination.connect(server.settings(name)) as place:
        place.write_bytes(at("file"), bytes(2 << 20))
        place.write_bytes(at("other"), b"")
        with pytest.raises(NoSpaceError, match="the disk is full"):
            place.copy_range(at("file"), at("other"), offset=0, end=2 << 20)
        assert names_in(folder) == {"file", "other"}


def test_no_inode_left_is_no_space(server: OpenSshServer, name: str) -> None:
    with (
        server.small_disk(name, "size=3m,nr_inodes=5") as folder,
        SftpDestination.connect(server.settings(name)) as place,
    ):

        def use_all() -> None:
            for number in range(5):
                place.write_bytes(at(f"{number}"), b"")

        with pytest.raises(NoSpaceError, match="inode"):
            use_all()
        assert names_in(folder) == complete_names(folder)


def test_a_read_only_filesystem_is_told(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    with server.small_disk(name) as folder, SftpDestination.connect(server.settings(name)) as place:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(AccessDeniedError, match="read-only"):
            place.upload(uploads_of(sources), RecordingObserver())
        with pytest.raises(AccessDeniedError, match="read-only") as caught:
            place.write_bytes(at("file"), b"")
    assert "mount" in caught.value.hint


def test_a_folder_of_somebody_else(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    folder = server.local_base / name / "closed"
    folder.mkdir(mode=0o755)
    (folder / "file").write_text("kept")
    with SftpDestination.connect(server.settings(name)) as place:
        attempts: list[Callable[[], None]] = [
            lambda: place.upload([Upload(sources[0], at("closed/new"), 10)], RecordingObserver()),
            lambda: place.write_bytes(at("closed/new"), b""),
            lambda: place.append([Append(at("closed/new"), 0, b"")]),
            lambda: place.append([Append(at("closed/file"), 4, b"more")]),
            lambda: place.copy_range(at("closed/file"), at("closed/file"), offset=0, end=4),
            lambda: place.make_folder(at("closed/new")),
            lambda: place.make_folder(at("closed/new/below")),
            lambda: place.link([Link(at("closed/file"), at("closed/new"))]),
            lambda: place.rename(at("closed/file"), at("closed/new")),
            lambda: place.point_link(at("closed/new"), "file"),
            lambda: place.remove_tree(at("closed")),
        ]
        for attempt in attempts:
            with pytest.raises(AccessDeniedError):
                attempt()
        assert place.read_bytes(at("closed/file"), limit_bytes=10) == b"kept"
    assert names_in(folder) == {"file"}


# --- restricted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denied", "lacking", "attempt"),
    [
        ("hardlink", "hard_link", lambda place: place.link([Link(at("file"), at("new"))])),
        ("copy-data", "server_copy", lambda place: place.copy([Link(at("file"), at("new"))])),
        (
            "copy-data",
            "server_copy",
            lambda place: place.copy_range(at("file"), at("file"), offset=0, end=4),
        ),
        (
            "copy-data",
            "server_copy",
            lambda place: place.upload(
                [Upload(Path("/dev/null"), at("new"), 0, Prefix(at("file"), 0))], RecordingObserver()
            ),
        ),
        ("posix-rename", None, lambda place: place.write_bytes(at("new"), b"")),
        ("posix-rename", None, lambda place: place.point_link(at("new"), "file")),
        ("posix-rename", None, lambda place: place.rename(at("file"), at("new"))),
        (
            "posix-rename",
            None,
            lambda place: place.upload([Upload(Path("/dev/null"), at("new"), 0)], RecordingObserver()),
        ),
    ],
)
def test_what_a_server_lacks_is_named(
    denied: str, lacking: str | None, attempt: Callable[[SftpDestination], None]
) -> None:
    with OpenSshServer(ServerOptions(denied=(denied,))) as server:
        file = server.local_base / "file"
        file.write_text("kept")
        server.give(file)
        with SftpDestination.connect(server.settings()) as place:
            if lacking is not None:
                assert not getattr(place.capabilities(), lacking)
            with pytest.raises(MissingCapabilityError, match=denied):
                attempt(place)
            assert [entry.name for entry in place.list_folder(at("."))] == ["file"]


def test_a_server_without_fsync_and_statvfs_says_so() -> None:
    with (
        OpenSshServer(ServerOptions(denied=("fsync", "statvfs"))) as server,
        SftpDestination.connect(server.settings()) as place,
    ):
        found = place.capabilities()
        assert not found.fsync
        assert not found.free_space
        assert found.hard_link
        assert place.free_bytes() is None
