"""Mirrored trees over OpenSSH: owners where the account may set them, and connections that break on the way."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import FileAttributes, Owner, Upload
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.places import at, entry, source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("denied", [(), ("lsetstat",)])
def test_owners_are_kept_where_the_account_may(tmp_path: Path, denied: tuple[str, ...]) -> None:
    attributes = FileAttributes(0o6755, 1234, Owner(4321, 8765))
    with OpenSshServer(ServerOptions(user="root", denied=denied)) as server:
        folder = server.make_folder("place")
        (folder / "link").symlink_to("kept")
        (folder / "kept").write_bytes(b"")
        with SftpDestination.connect(server.settings("place")) as place:
            place.make_folder(at("folder"))
            upload = Upload(source(tmp_path, b"1"), at("uploaded"), 1, attributes=attributes)
            place.upload([upload], RecordingObserver())
            place.write_bytes(at("file"), b"1")
            items = [(at(name), attributes) for name in ("folder", "file", "link")]
            assert place.set_attributes(items) == [at("link")]
            assert entry(place, "file").owner == Owner(4321, 8765)
        for name in ("folder", "file", "uploaded"):
            status = (folder / name).stat()
            assert (status.st_uid, status.st_gid, status.st_mtime) == (4321, 8765, 1234)
            assert stat.S_IMODE(status.st_mode) == 0o6755
        assert (folder / "kept").stat().st_uid == 0


def test_a_listing_survives_killed_sessions() -> None:
    with OpenSshServer() as server:
        server.make_folder("place")
        settings = server.settings("place")
        with RetryingDestination(
            lambda: SftpDestination.connect(settings), label="place", policy=RetryPolicy(first_wait_seconds=0.01)
        ) as place:
            folders = [f"{number}" for number in range(600)]
            place.make_folders([at(folder) for folder in folders])
            seen = []
            for folder, entries in place.list_folders(folders):
                seen.append((folder, entries))
                if len(seen) in {1, 250}:
                    assert server.kill_sessions()
            assert sorted(seen) == sorted((folder, []) for folder in folders)
