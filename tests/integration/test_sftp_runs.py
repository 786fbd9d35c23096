"""Runs of requests beside everything else on one connection to a real OpenSSH server, near and far away.

What the server may send is for us to say: when too little is allowed, nothing ever comes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from replicator.destination import sftp_protocol as protocol
from replicator.destination.interface import Download, FolderUpload, Upload
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_connection import SftpConnection
from replicator.destination.sftp_replies import StatusCode
from replicator.errors import ConnectionLostError, ProtocolError
from tests.contract.test_small_files import FolderRecorder, files_in, seen_in
from tests.support.far_away import FarAwayServer
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.places import at, digest, names, random_bytes, read, source, works
from tests.support.talkative_sftp_server import GARBLED, UNASKED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicator.destination.sftp_route import SftpSettings

OK, FAILURE, NO_SUCH_FILE = int(StatusCode.OK), int(StatusCode.FAILURE), int(StatusCode.NO_SUCH_FILE)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer() as server:
        yield server


@pytest.fixture(params=["near", "far away"])
def settings(request: pytest.FixtureRequest, server: OpenSshServer, tmp_path: Path) -> Iterator[SftpSettings]:
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)
    server.make_folder(name)
    with ExitStack() as stack:
        found = server.settings(name, timeout_seconds=10)
        if request.param == "far away":
            found = stack.enter_context(FarAwayServer(server.port)).settings(found, tmp_path / "known_hosts")
        yield found


def folders_of(local: Path, count: int, *, files: int = 5, to: str = "new") -> list[FolderUpload]:
    """Return that many new folders of small files, `to` with their numbers."""
    uploads = []
    for number in range(count):
        here = local / f"{number}"
        files_in(here, {f"{name}": b"%d %d" % (number, name) for name in range(files)})
        uploads.append(FolderUpload(str(here), f"{to} {number}", seen_in(here), f"aside/{number}", is_new=True))
    return uploads


@pytest.mark.parametrize("order", ["first to last", "last to first", "from the middle"])
def test_answers_are_to_be_had_in_any_order(settings: SftpSettings, order: str) -> None:
    connection = SftpConnection.open(settings)
    base = str(settings.base).encode()
    for size in (1, 3, 150):
        runs = []
        for number in range(6):
            run = connection.runs.begin()
            # Answers of several lengths: most of them more than the usual one.
            for count in range(size):
                path = b"%b/%d-%d-%d" % (base, size, number, count)
                run.add(protocol.make_folder(path, 0o700))
                run.add(protocol.make_folder(path, 0o700))
                run.add(protocol.remove(path + b"/no such name"))
                run.add(protocol.remove_folder(path))
            connection.runs.send(run)
            runs.append(run)
        empty = connection.runs.begin()
        connection.runs.send(empty)
        assert connection.runs.answers_to(empty) == []
        places = {"first to last": range(6), "last to first": range(5, -1, -1)}.get(order, [3, 2, 4, 1, 5, 0])
        for place in places:
            assert connection.runs.answers_to(runs[place]) == [OK, FAILURE, NO_SUCH_FILE, OK] * size
    connection.call(protocol.make_folder(base + b"/after", 0o700))
    connection.close()


def test_runs_and_contents_and_listings_take_turns_on_one_connection(
    settings: SftpSettings, server: OpenSshServer, tmp_path: Path
) -> None:
    content = random_bytes(24 << 20)
    large = source(tmp_path, content, "large")
    (tmp_path / "small").mkdir()
    names_there = {f"name {number}" for number in range(4000)}
    with SftpDestination.connect(settings) as place:
        place.make_folders([at("aside"), at("many")])
        for name in names_there:
            (server.local_base / settings.base.name / "many" / name).touch()
        place.upload([Upload(large, at("large"), len(content))], RecordingObserver())
        for turn in range(2):
            observer = RecordingObserver()
            place.download([Download(at("large"), tmp_path / f"{turn}", len(content))], observer)
            assert observer.done == [(str(tmp_path / f"{turn}"), digest(content))]
            assert names(place, "many") == names_there
            uploads = folders_of(tmp_path / "small", 150, to=f"{turn}")
            recorder = FolderRecorder()
            place.upload_folders(uploads, recorder)
            assert recorder.left == {str(upload.target): [] for upload in uploads}
            assert names(place, "many") == names_there
        assert works(place)


def test_each_follows_right_after_a_run(settings: SftpSettings, tmp_path: Path) -> None:
    content = random_bytes(9 << 20)
    large = source(tmp_path, content, "large")
    (tmp_path / "small").mkdir()
    with SftpDestination.connect(settings) as place:
        place.make_folder(at("aside"))
        place.upload([Upload(large, at("large"), len(content))], RecordingObserver())
        for turn, count in enumerate((1, 40)):
            place.upload_folders(folders_of(tmp_path / "small", count, to=f"first {turn}"), FolderRecorder())
            assert read(place, f"first {turn} 0/0") == b"0 0"
            place.upload_folders(folders_of(tmp_path / "small", count, to=f"second {turn}"), FolderRecorder())
            observer = RecordingObserver()
            place.download([Download(at("large"), None, len(content))], observer)
            assert observer.moved_bytes == len(content)
            assert names(place, f"second {turn} 0") == set("01234")


# --- a server that says too much ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def talkative() -> Iterator[OpenSshServer]:
    with OpenSshServer(ServerOptions(talkative=True, user="root")) as server:
        yield server


@pytest.mark.parametrize("said", [UNASKED, GARBLED])
def test_what_nobody_asked_for_ends_the_connection(talkative: OpenSshServer, tmp_path: Path, said: str) -> None:
    settings = talkative.settings(talkative.make_folder(f"in a run, {said[-5:]}").name, timeout_seconds=10)
    uploads = folders_of(tmp_path, 100)
    with SftpDestination.connect(settings) as place:
        place.make_folder(at("aside"))
        place.upload_folders(uploads[:50], FolderRecorder())
        uploads[99] = uploads[99]._replace(target=said)

        def send_and_look() -> None:
            place.upload_folders(uploads[50:], FolderRecorder())
            works(place)  # what is said last is not let in before

        with pytest.raises(ProtocolError):
            send_and_look()
        with pytest.raises(ConnectionLostError):
            works(place)


@pytest.mark.parametrize("said", [UNASKED, GARBLED])
def test_the_same_of_single_requests(talkative: OpenSshServer, said: str) -> None:
    settings = talkative.settings(talkative.make_folder(f"single, {said[-5:]}").name, timeout_seconds=10)
    with SftpDestination.connect(settings) as place:
        with pytest.raises(ProtocolError):
            place.make_folders([at(said), *(at(f"{number}") for number in range(100))])
        with pytest.raises(ConnectionLostError):
            works(place)
