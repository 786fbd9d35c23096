"""A tree that several processes change at random while it is mirrored to an OpenSSH server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.program import ConfigFile
from tests.support.trees import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What docs/destination.md sets up.
SFTP_ALONE = ServerOptions(chroot=True, forwarding=False)
_INOTIFY = Path("/proc/sys/fs/inotify")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What is mirrored, from where, to where."""

    config: Path
    source: Path
    outside: Path
    target: Path
    server: OpenSshServer

    def write(self, *, seed: int, operations: int) -> Writers:
        """Begin to change the source."""
        return Writers(self.source, self.outside, seed=seed, operations=operations)


@contextmanager
def mirrored(
    folder: Path, *, options: ServerOptions = SFTP_ALONE, connections: int = 2, **more: object
) -> Iterator[Mirrored]:
    """Yield a mirror that nobody has begun to make yet."""
    source, outside = folder / "source", folder / "outside"
    source.mkdir()
    outside.mkdir()
    with OpenSshServer(options) as server:
        server.make_folder("account")
        settings = {"quiet": "200ms", "max_delay": "1s", "rescan": "1h", **more}
        config = ConfigFile(folder / "replicator.toml").mirror("media", source, **settings)
        path = config.sftp("standby", server, "account", timeout="5s", connections=connections).write()
        yield Mirrored(path, source, outside, server.local_base / "account" / "media", server)


@contextmanager
def inotify_limit(name: str, value: int) -> Iterator[None]:
    """Set a limit of the system on inotify; only root may."""
    file = _INOTIFY / name
    before = file.read_text()
    file.write_text(str(value))
    try:
        yield
    finally:
        file.write_text(before)
