"""Every kind of destination, made ready for a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.destination.directory import DirectoryDestination
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_helpers import Sharing
from tests.support.memory_destination import MemoryDestination
from tests.support.openssh import OpenSshServer, ServerOptions, with_shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.destination.interface import Destination


KINDS = ("memory", "directory", "sftp", "sftp-chroot", "sftp-bare", "sftp-shared", "retrying")

#: They differ from "sftp" and "sftp-shared" for small files only, which they have unpacked.
WITH_SHELL = ("sftp-shell", "sftp-shared-shell")

#: Whatever is more than one file is spread over three connections.
ALWAYS_SHARED = Sharing(connections=3, from_bytes=0, from_files=2)
# Everything that the contract does not make a capability stays on.
_BARE = ServerOptions(denied=("fsync", "statvfs", "limits", "lsetstat"))


@contextmanager
def destinations_of(kind: str) -> Iterator[Callable[[str, Path], Destination]]:
    """Start what the kind needs; the result makes a destination over a folder of that name."""
    if kind == "memory":
        yield lambda _name, _folder: MemoryDestination()
    elif kind == "directory":
        yield lambda _name, folder: DirectoryDestination(folder, label="directory")
    else:
        options = {
            "sftp-chroot": ServerOptions(chroot=True),
            "sftp-bare": _BARE,
            **dict.fromkeys(WITH_SHELL, with_shell()),
        }
        with OpenSshServer(options.get(kind, ServerOptions())) as server:

            def make(name: str, _folder: Path) -> Destination:
                server.make_folder(name)
                settings = server.settings(name)
                if kind == "retrying":
                    policy = RetryPolicy(first_wait_seconds=0.01)
                    return RetryingDestination(
                        lambda: SftpDestination.connect(settings), label="retrying", policy=policy
                    )
                if kind in {"sftp-shared", "sftp-shared-shell"}:
                    shared = SftpDestination.connect(settings, sharing=ALWAYS_SHARED)
                    shared.warm_up()
                    return shared
                if kind == "sftp-shell":
                    return SftpDestination.connect(settings, sharing=Sharing(from_files=1))
                return SftpDestination.connect(settings)

            yield make
