"""The demo's SFTP server does all that a replica needs: it is used through the program's own destination."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.demo.server import Endpoint
from replicator.destination.interface import Append, Capabilities, Download, Link, Prefix, Upload
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_route import SftpSettings
from replicator.errors import NotFoundError, PermanentDestinationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.errors import SourceError

MEBIBYTE = 1024 * 1024


class Recorder:
    """Keeps what a transfer reports."""

    def __init__(self) -> None:
        self.moved_bytes = 0
        self.digests: dict[str, str] = {}

    def bytes_moved(self, count: int) -> None:
        self.moved_bytes += count

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        self.digests[target.name] = sha256

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        raise AssertionError(target) from error

    def stop_requested(self) -> bool:
        return False


@contextmanager
def running_server(root: Path, keys: Path) -> Iterator[tuple[subprocess.Popen[str], Endpoint]]:
    root.mkdir()
    keys.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "replicator.demo.server", str(root), str(keys)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            yield process, Endpoint.from_json(process.stdout.readline())
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[SftpDestination]:
    with running_server(tmp_path / "root", tmp_path / "keys") as (_, endpoint), connect(endpoint) as connected:
        yield connected


def connect(endpoint: Endpoint) -> SftpDestination:
    return SftpDestination.connect(
        SftpSettings(
            host=endpoint.host,
            port=endpoint.port,
            user="replica",
            base=PurePosixPath("/"),
            label="sftp://demo",
            ssh_config=Path(os.devnull),
            identity_file=Path(endpoint.identity_file),
            known_hosts=Path(endpoint.known_hosts),
            timeout_seconds=20,
        )
    )


def test_it_offers_all_that_a_destination_can(destination: SftpDestination) -> None:
    assert destination.capabilities() == Capabilities(
        hard_link=True, server_copy=True, fsync=True, free_space=True
    )
    assert destination.free_bytes()


def test_a_large_file_goes_there_and_back(destination: SftpDestination, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = os.urandom(MEBIBYTE) * 24 + b"odd"
    source.write_bytes(content)
    recorder = Recorder()
    destination.make_folder(PurePosixPath("a/b"))
    destination.upload([Upload(source, PurePosixPath("a/b/large"), len(content))], recorder)
    assert (tmp_path / "root/a/b/large").read_bytes() == content
    assert recorder.moved_bytes == len(content)

    destination.download([Download(PurePosixPath("a/b/large"), target, len(content))], Recorder())
    assert target.read_bytes() == content


def test_many_small_files_go_there(destination: SftpDestination, tmp_path: Path) -> None:
    uploads = []
    for number in range(200):
        source = tmp_path / f"{number}"
        source.write_bytes(b"%d" % number)
        uploads.append(Upload(source, PurePosixPath(source.name), source.stat().st_size))
    destination.upload(uploads, Recorder())
    assert {path.name: path.read_text() for path in (tmp_path / "root").iterdir()} == {
        f"{number}": f"{number}" for number in range(200)
    }


def test_a_prefix_is_copied_on_the_server(destination: SftpDestination, tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_bytes(b"first" * 100_000 + b"second")
    destination.upload([Upload(source, PurePosixPath("old"), 500_000)], Recorder())
    recorder = Recorder()
    prefix = Prefix(PurePosixPath("old"), 500_000)
    destination.upload([Upload(source, PurePosixPath("new"), 500_006, prefix)], recorder)
    assert (tmp_path / "root/new").read_bytes() == source.read_bytes()
    assert recorder.moved_bytes == 6


def test_hard_links_share_the_file(destination: SftpDestination, tmp_path: Path) -> None:
    destination.write_bytes(PurePosixPath("one"), b"x")
    destination.link([Link(PurePosixPath("one"), PurePosixPath("two"))])
    assert (tmp_path / "root/one").samefile(tmp_path / "root/two")


def test_a_link_flips_and_reads_as_it_was_written(destination: SftpDestination, tmp_path: Path) -> None:
    current = PurePosixPath("checkpoint_current")
    for generation in ("1", "2"):
        destination.make_folder(PurePosixPath("generations") / generation)
        destination.write_bytes(PurePosixPath("generations") / generation / "id", generation.encode())
        destination.point_link(current, f"generations/{generation}")
        assert destination.read_link(current) == f"generations/{generation}"
        assert destination.read_bytes(current / "id", limit_bytes=10) == generation.encode()
    assert (tmp_path / "root/checkpoint_current").readlink() == Path("generations/2")


def test_trees_are_renamed_and_removed(destination: SftpDestination, tmp_path: Path) -> None:
    destination.make_folder(PurePosixPath("incoming/1"))
    destination.write_bytes(PurePosixPath("incoming/1/file"), b"x")
    destination.make_folder(PurePosixPath("generations"))
    destination.rename(PurePosixPath("incoming/1"), PurePosixPath("generations/1"))
    assert (tmp_path / "root/generations/1/file").exists()
    destination.remove_tree(PurePosixPath("generations"))
    assert not (tmp_path / "root/generations").exists()
    with pytest.raises(NotFoundError):
        destination.list_folder(PurePosixPath("generations"))


def test_its_private_key_is_private(tmp_path: Path) -> None:
    with running_server(tmp_path / "root", tmp_path / "keys") as (_, endpoint):
        assert stat.S_IMODE(Path(endpoint.identity_file).stat().st_mode) == 0o600
        assert endpoint.fingerprint.startswith("SHA256:")


@pytest.mark.parametrize("ending", ["terminated", "orphaned"])
def test_it_ends_when_told_and_with_its_parent(tmp_path: Path, ending: str) -> None:
    with running_server(tmp_path / "root", tmp_path / "keys") as (process, endpoint), connect(endpoint):
        if ending == "terminated":
            process.terminate()
            assert process.wait(30) == 0
        else:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 1


def test_files_grow_and_parts_of_them_are_copied(destination: SftpDestination) -> None:
    log, data, part = PurePosixPath("log"), PurePosixPath("data"), PurePosixPath("part")
    content = os.urandom(MEBIBYTE)
    for offset in range(2):
        destination.append([Append(data, offset, content[offset:]), Append(log, offset, b"x")])
    destination.append([Append(part, 0, b"")])
    destination.copy_range(data, part, offset=0, end=1000)
    assert destination.read_bytes(data, limit_bytes=MEBIBYTE) == content
    assert destination.read_bytes(log, limit_bytes=2) == b"xx"
    assert destination.read_bytes(part, limit_bytes=1000) == content[:1000]
    destination.point_link(PurePosixPath("link"), "log")
    with pytest.raises(PermanentDestinationError):
        destination.append([Append(PurePosixPath("link"), 2, b"x")])
    with pytest.raises(NotFoundError):
        destination.append([Append(PurePosixPath("missing/file"), 0, b"x")])
    assert destination.read_bytes(log, limit_bytes=2) == b"xx"
