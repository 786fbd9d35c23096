"""The far end of a benchmark: an OpenSSH server on loopback, its account on a file system in memory.

A disk would be measured along with the rest, and differently each time. The account has a shell, which rsync
and scp need at the far end.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.bootstrap.destinations import connect
from replicator.config.model import DestinationConfig
from tests.support.openssh import OpenSshServer, with_shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicator.destination.interface import Destination

MIB = 1 << 20
#: What the forced cipher is compared with: rsync as it comes, and with the cipher that ours prefers.
CIPHERS = {"rsync -a": (), "rsync -a, aes128-gcm": ("-c", "aes128-gcm@openssh.com")}


class FarEnd:
    """A server with an empty account; `port` may be that of something between it and its clients."""

    def __init__(self, server: OpenSshServer, memory: Path, port: int | None = None) -> None:
        self.server = server
        self.memory = memory
        self.port = port or server.port

    @property
    def local_folder(self) -> Path:
        """The account's folder in memory, as this machine sees it."""
        return self.memory

    def config(self) -> DestinationConfig:
        """How a service would be told of it."""
        return DestinationConfig.model_validate(
            {
                "name": "far",
                "url": f"sftp://{self.server.user}@127.0.0.1:{self.port}{self.memory}",
                "identity_file": str(self.server.identity_file),
                "known_hosts": str(self._known_hosts()),
            }
        )

    def connect(self) -> Destination:
        """Log in as a service does."""
        config = self.config()
        return connect(config.url, config=config)

    def rsync(
        self, source: Path, folder: str, *, options: Sequence[str] = (), ssh_options: Sequence[str] = ()
    ) -> None:
        """Make `folder` equal to `source` with `rsync -a` over ssh."""
        ssh = ["ssh", "-p", str(self.port), *self.ssh_options(), *ssh_options]
        target = f"{self.server.user}@127.0.0.1:{self.memory}/{folder}/"
        _run("rsync", "-a", *options, "-e", shlex.join(ssh), f"{source}/", target)

    def scp_from(self, folder: str, target: Path) -> None:
        """Fetch all of `folder` with scp."""
        source = f"{self.server.user}@127.0.0.1:{self.memory}/{folder}"
        _run("scp", "-q", "-r", "-P", str(self.port), *self.ssh_options(), source, str(target))

    def ssh_options(self) -> list[str]:
        """What ssh needs to log in."""
        known = f"UserKnownHostsFile={self._known_hosts()}"
        return ["-F", "none", "-i", str(self.server.identity_file), "-o", known, "-o", "BatchMode=yes"]

    def _known_hosts(self) -> Path:
        path = self.server.folder / f"known_hosts_{self.port}"
        path.write_text(self.server.known_hosts.read_text().replace(f":{self.server.port} ", f":{self.port} "))
        return path


@contextmanager
def far_end(*, most_sessions: int = 10) -> Iterator[FarEnd]:
    """Run a server; with one session for each connection nothing but SFTP can be used."""
    with (
        OpenSshServer(with_shell(most_sessions=most_sessions)) as server,
        tempfile.TemporaryDirectory(dir=memory_folder(), prefix="replicator-far-") as memory,
    ):
        yield FarEnd(server, Path(memory))


@contextmanager
def near_folder() -> Iterator[Path]:
    """Make a folder in memory on this side."""
    with tempfile.TemporaryDirectory(dir=memory_folder(), prefix="replicator-near-") as name:
        yield Path(name)


def memory_folder() -> str | None:
    """Return where files are kept in memory, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def make_files(folder: Path, count: int, size_bytes: int) -> list[Path]:
    """Fill a new folder with files that do not compress."""
    folder.mkdir()
    files = [folder / f"{number:06d}.sst" for number in range(count)]
    for file in files:
        file.write_bytes(os.urandom(size_bytes))
    return files


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
