"""Several connections for one batch, each but the first in a process of its own, against a real OpenSSH server."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import psutil
import pytest

from replicator.destination.interface import Download, Upload
from replicator.destination.rate_limit import RateLimiter
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_helpers import Sharing
from replicator.errors import ConnectionLostError, NotFoundError
from tests.support.destinations import ALWAYS_SHARED
from tests.support.far_away import FarAwayServer
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicator.destination.sftp_route import SftpSettings

_FILE_BYTES = 2 << 20


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
    folder = tmp_path / "sources"
    folder.mkdir()
    paths = [folder / f"{number}" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(random.Random(number).randbytes(_FILE_BYTES))
    return paths


def at(path: str) -> PurePosixPath:
    return PurePosixPath(path)


def uploads_of(sources: list[Path]) -> list[Upload]:
    return [Upload(path, at(path.name), path.stat().st_size) for path in sources]


def connected(settings: SftpSettings, limiter: RateLimiter | None = None) -> SftpDestination:
    """Return a destination all of whose connections are there."""
    place = SftpDestination.connect(settings, limiter, ALWAYS_SHARED)
    place.warm_up()
    return place


def helpers() -> list[psutil.Process]:
    """The processes that help with transfers of this one."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # which goes for those too that nobody has reaped yet
            if "replicator.destination.sftp_helper_process" in child.cmdline():
                found.append(child)
    return found


def complete(folder: Path, sources: list[Path]) -> set[str]:
    """The names of files that are there, each of which must be whole."""
    found = {path.name: path for path in folder.iterdir() if not path.name.endswith(".part")}
    for source in sources:
        if source.name in found:
            assert found[source.name].read_bytes() == source.read_bytes()
    return set(found)


class CountingLimiter(RateLimiter):
    """Holds nothing back, lets ask for little at a time, and writes down what is asked for by which thread."""

    def __init__(self) -> None:
        super().__init__(1e6)
        self.passed: dict[str, int] = {}
        self.most_bytes = 0

    def acquire(self, count_bytes: int) -> None:
        thread = threading.current_thread().name
        self.passed[thread] = self.passed.get(thread, 0) + count_bytes
        self.most_bytes = max(self.most_bytes, count_bytes)


# --- together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
def test_all_connections_take_part_and_share_one_limit(
    server: OpenSshServer, name: str, sources: list[Path], tmp_path: Path, way: str
) -> None:
    limiter = CountingLimiter()
    observer = RecordingObserver()
    with connected(server.settings(name), limiter) as place:
        place.upload(uploads_of(sources), observer)
        if way == "down":
            limiter.passed.clear()
            observer = RecordingObserver()
            downloads = [Download(at(path.name), tmp_path / path.name, _FILE_BYTES) for path in sources]
            place.download(downloads, observer)
    assert sum(limiter.passed.values()) == observer.moved_bytes == len(sources) * _FILE_BYTES
    assert set(limiter.passed) == {"MainThread", "sftp-helper-1", "sftp-helper-2"}
    assert limiter.most_bytes <= limiter.chunk_bytes
    folder = server.local_base / name if way == "up" else tmp_path
    assert complete(folder, sources) >= {path.name for path in sources}
    assert len(observer.done) == len(sources)


def test_helpers_stay_for_the_next_batch_and_end_with_the_destination(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    with connected(server.settings(name)) as place:
        before = helpers()
        assert len(before) == 2
        place.upload(uploads_of(sources), RecordingObserver())
        place.upload(uploads_of(sources), RecordingObserver())
        assert helpers() == before
    assert helpers() == []


def test_what_is_small_is_left_to_one_connection(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    with SftpDestination.connect(server.settings(name), sharing=Sharing(connections=2)) as place:
        place.upload(uploads_of(sources[:3]), RecordingObserver())
        assert helpers() == []


def test_many_small_files_do_not_cost_a_round_trip_each(server: OpenSshServer, name: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(400)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with (
        FarAwayServer(server.port) as far_away,
        connected(far_away.settings(server.settings(name), tmp_path / "known_hosts")) as place,
    ):
        before = sum(far_away.round_trips)
        place.upload(uploads_of(paths), RecordingObserver())
        uploaded = sum(far_away.round_trips)
        place.download([Download(at(path.name), None, path.stat().st_size) for path in paths], RecordingObserver())
        downloaded = sum(far_away.round_trips)
    assert complete(server.local_base / name, paths) == {path.name for path in paths}
    # Create, write with sync and close, rename, sync the folder: four for up to 128 files at a time.
    assert uploaded - before < 100
    assert downloaded - uploaded < 100


# --- what goes wrong ---------------------------------------------------------------------------------


def once(act: Callable[[], object]) -> RecordingObserver:
    """Return an observer that acts when some bytes have been moved."""
    acts = [act]
    moved = 0

    def on_bytes(count: int) -> None:
        nonlocal moved
        moved += count
        if moved > 2 * _FILE_BYTES and acts:
            acts.pop()()

    return RecordingObserver(on_bytes=on_bytes)


def kill_a_helper() -> None:
    helper = helpers()[0]
    helper.kill()
    wait_for_end([helper])


def test_a_helper_that_is_killed_leaves_whole_files_only(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    observer = once(kill_a_helper)
    with connected(server.settings(name), RateLimiter(20e6)) as place, pytest.raises(ConnectionLostError):
        place.upload(uploads_of(sources), observer)
    assert {done for done, _ in observer.done} <= complete(server.local_base / name, sources)


def test_a_retry_after_that_sends_what_is_missing(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    observer = once(kill_a_helper)
    with RetryingDestination(
        lambda: connected(server.settings(name), RateLimiter(20e6)),
        label="retrying",
        policy=RetryPolicy(first_wait_seconds=0.01),
    ) as place:
        place.upload(uploads_of(sources), observer)
    assert sorted(done for done, _ in observer.done) == sorted(path.name for path in sources)
    assert complete(server.local_base / name, sources) == {path.name for path in sources}


def test_an_error_of_a_helper_keeps_its_class(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    with connected(server.settings(name)) as place:
        place.upload(uploads_of(sources), RecordingObserver())
        (server.local_base / name / "9").unlink()
        with pytest.raises(NotFoundError, match="9"):
            place.download([Download(at(path.name), None, _FILE_BYTES) for path in sources], RecordingObserver())
        place.upload(uploads_of(sources), RecordingObserver())
    assert complete(server.local_base / name, sources) == {path.name for path in sources}


def test_an_observer_that_raises_ends_the_batch_with_its_error(
    server: OpenSshServer, name: str, sources: list[Path]
) -> None:
    def refuse(_: int) -> None:
        raise ValueError("enough")

    with connected(server.settings(name)) as place:
        with pytest.raises(ValueError, match="enough"):
            place.upload(uploads_of(sources), RecordingObserver(on_bytes=refuse))
        assert helpers() == []


def test_closing_from_another_thread_breaks_off_all(server: OpenSshServer, name: str, sources: list[Path]) -> None:
    place = connected(server.settings(name), RateLimiter(5e6))
    closing = threading.Thread(target=place.close)
    with pytest.raises(ConnectionLostError):
        place.upload(uploads_of(sources), once(closing.start))
    closing.join()
    assert helpers() == []
    assert len(complete(server.local_base / name, sources)) < len(sources)


def test_a_server_that_lets_no_further_session_in_gets_all_over_the_first(
    server: OpenSshServer, name: str, sources: list[Path], tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(server.known_hosts.read_text())
    settings = replace(server.settings(name), known_hosts=known_hosts)
    with SftpDestination.connect(settings, sharing=ALWAYS_SHARED) as place:
        known_hosts.write_text("")
        place.warm_up()
        place.upload(uploads_of(sources), RecordingObserver())
    assert complete(server.local_base / name, sources) == {path.name for path in sources}


_STARTER = """
import sys, time
from tests.integration.test_sftp_shared import connected, helpers
from replicator.destination.sftp_route import SftpSettings
from pathlib import Path, PurePosixPath
port, user, base, key, known_hosts = sys.argv[1:]
settings = SftpSettings("127.0.0.1", PurePosixPath(base), "place", port=int(port), user=user,
    identity_file=Path(key), known_hosts=Path(known_hosts), ssh_config=Path("/nowhere"))
place = connected(settings)
print(*(helper.pid for helper in helpers()), flush=True)
time.sleep(600)
"""


def test_helpers_end_when_their_starter_is_killed(server: OpenSshServer) -> None:
    arguments = [server.port, server.user, server.base, server.identity_file, server.known_hosts]
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        assert len(processes) == 2
        starter.kill()
    wait_for_end(processes)


# --- compression -------------------------------------------------------------------------------------


@pytest.mark.alone  # it counts all bytes of the loopback interface
def test_with_compression_less_goes_over_the_wire(server: OpenSshServer, name: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"the same again and again " * 200_000)
    sent: dict[bool, int] = {}
    for compression in (False, True):
        settings = replace(server.settings(name), compression=compression)
        with SftpDestination.connect(settings) as place:
            before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
            place.upload(uploads_of([path]), RecordingObserver())
            sent[compression] = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
        assert complete(server.local_base / name, [path]) == {"log"}
    assert sent[True] < sent[False] / 10
