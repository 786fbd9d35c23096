"""First uploads of data files: ours over a warm connection, against a whole `rsync -a` over ssh.

Both go to the same OpenSSH server on loopback. rsync is started for each run, as lsyncd starts one for every
change; it is measured with its default cipher and with AES-GCM, the cipher that ours prefers.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from report import Row

from replicator.destination.interface import Upload
from replicator.destination.sftp import SftpDestination
from tests.support.observer import RecordingObserver
from tests.support.openssh import OpenSshServer, ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import Destination

MIB = 1 << 20
CASES = {
    "8 files of 64 MiB": (8, 64 * MIB),
    "2000 files of 64 KiB": (2000, 64 << 10),
}
#: An account with a shell, which rsync needs at the far end.
_OPTIONS = ServerOptions(user=getpass.getuser())
CIPHERS = {"rsync -a": (), "rsync -a, aes128-gcm": ("-c", "aes128-gcm@openssh.com")}


def bench_transfer(runs: int) -> list[Row]:
    """Compare the first upload of large and of small files."""
    rows = []
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name, OpenSshServer(_OPTIONS) as server:
        for case, (count, size_bytes) in CASES.items():
            files = _make_files(Path(name) / case.replace(" ", "-"), count, size_bytes)
            for against, options in CIPHERS.items():
                ours, theirs = [], []
                with SftpDestination.connect(server.settings()) as destination:
                    upload = partial(_upload, destination, files)
                    rsync = partial(_rsync, files[0].parent, server, options)
                    for _ in range(runs):
                        ours.append(_timed(upload, server))
                        theirs.append(_timed(rsync, server))
                rows.append(Row(case, against, tuple(ours), tuple(theirs)))
    return rows


def memory_folder() -> str | None:
    """A disk would be measured along with the rest, and differently each time."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def _make_files(folder: Path, count: int, size_bytes: int) -> Sequence[Path]:
    folder.mkdir()
    files = [folder / f"{number:06d}.sst" for number in range(count)]
    for file in files:
        file.write_bytes(os.urandom(size_bytes))
    return files


def _timed(work: Callable[[], None], server: OpenSshServer) -> float:
    target = server.make_folder("target")
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    shutil.rmtree(target)
    return seconds


def _upload(destination: Destination, files: Sequence[Path]) -> None:
    target = PurePosixPath("target")
    uploads = [Upload(file, target / file.name, file.stat().st_size) for file in files]
    destination.upload(uploads, RecordingObserver())


def _rsync(folder: Path, server: OpenSshServer, options: Sequence[str]) -> None:
    ssh = ["ssh", "-p", str(server.port), "-i", str(server.identity_file), *options]
    ssh += ["-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes", "-F", "none"]
    target = f"{server.user}@127.0.0.1:{server.base}/target/"
    command = ["rsync", "-a", "-e", " ".join(ssh), f"{folder}/", target]
    subprocess.run(command, check=True, stdout=sys.stderr)
