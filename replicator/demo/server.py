"""A loopback SFTP server in a process of its own, for the demo: keys made at run time, one folder to serve.

    python -m replicator.demo.server ROOT KEYS

serves the folder ROOT as `/` on a free port of 127.0.0.1, to whoever has the key that it writes into the
folder KEYS. When it listens it prints one line of JSON, the fields of `Endpoint`. SIGTERM ends it, and so does
the end of its standard input. It offers SFTP and nothing else: no shell, no forwarding.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from replicator.demo.lifeline import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST = "127.0.0.1"
_KEY_TYPE = "ssh-ed25519"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is, and the files that a client needs; any user name does."""

    host: str
    port: int
    identity_file: str
    known_hosts: str
    fingerprint: str

    def to_json(self) -> str:
        """Return the form that the server prints."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Endpoint:
        """Read that form. Raises `ValueError` or `TypeError` for anything else."""
        return cls(**json.loads(text))


class FolderServer(asyncssh.SFTPServer):
    """The files below one folder, to every client the root of all there is."""

    def readlink(self, path: bytes) -> bytes:
        """Return a link's text as it is: the library would resolve a relative one against its own folder."""
        return os.fsencode(Path(os.fsdecode(self.map_path(path))).readlink())


async def serve(root: Path, keys: Path) -> None:
    """Listen and serve until SIGTERM."""
    host_key = asyncssh.generate_private_key(_KEY_TYPE)
    user_key = asyncssh.generate_private_key(_KEY_TYPE)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listener = await asyncssh.listen(
        _HOST,
        0,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
        sftp_factory=lambda channel: FolderServer(channel, chroot=os.fsencode(root)),
    )
    endpoint = _write_keys(keys, listener.get_port(), host_key, user_key)
    sys.stdout.write(endpoint.to_json() + "\n")
    sys.stdout.flush()
    await stop.wait()
    listener.close()  # not waited for: that would be waiting for the clients to leave


def _write_keys(keys: Path, port: int, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> Endpoint:
    identity, known_hosts = keys / "identity", keys / "known_hosts"
    identity.touch(mode=0o600)  # before there is a secret in it
    identity.write_bytes(user_key.export_private_key())
    known_hosts.write_text(f"[{_HOST}]:{port} {host_key.export_public_key().decode()}")
    return Endpoint(_HOST, port, str(identity), str(known_hosts), host_key.get_fingerprint())


def main(arguments: Sequence[str]) -> int:
    """Run the server that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m replicator.demo.server")
    parser.add_argument("root", type=Path, help="folder to serve")
    parser.add_argument("keys", type=Path, help="existing folder for the client's key and known_hosts")
    options = parser.parse_args(arguments)
    die_with_parent()
    asyncio.run(serve(options.root.resolve(), options.keys.resolve()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
