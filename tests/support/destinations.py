"""Every kind of destination, made ready for a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.destination.directory import DirectoryDestination
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.destination.sftp import SftpDestination
from tests.support.memory_destination import MemoryDestination
from tests.support.openssh import OpenSshServer, ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.destination.interface import Destination


KINDS = ("memory", "directory", "sftp", "sftp-chroot", "sftp-bare", "retrying")

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
        options = {"sftp-chroot": ServerOptions(chroot=True), "sftp-bare": _BARE}.get(kind, ServerOptions())
        with OpenSshServer(options) as server:

            def make(name: str, _folder: Path) -> Destination:
                server.make_folder(name)
                settings = server.settings(name)
                if kind == "retrying":
                    policy = RetryPolicy(first_wait_seconds=0.01)
                    return RetryingDestination(
                        lambda: SftpDestination.connect(settings), label="retrying", policy=policy
                    )
                return SftpDestination.connect(settings)

            yield make
