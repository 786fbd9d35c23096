"""First uploads of data files and a restore, against `rsync -a` and scp over ssh to the same server.

Uploads go over connections that are there already, as in a running service; rsync and scp are a whole process for
each run, as lsyncd starts one for every change. So is a restore, which is compared as a whole and, as what it
mainly does, over connections that are there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from delay import distant_port
from far_end import CIPHERS, MIB, FarEnd, far_end, make_files, near_folder
from report import Row

from replicator.destination.interface import Download, Upload
from replicator.replica.layout import CATALOG_NAME
from replicator.replica.publish import publish
from tests.support.observer import RecordingObserver
from tests.support.replicas import DATABASE, FakePrimary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.destination.interface import Destination

CASES = {
    "1 GiB in 64 MiB files, first upload (warm)": (16, 64 * MIB, {"rsync -a": 1.1, "rsync -a, aes128-gcm": 1.0}),
    "2000 files of 64 KiB, first upload (warm)": (2000, 64 << 10, {"rsync -a": 1.2, "rsync -a, aes128-gcm": 1.2}),
}
#: For each round trip the ratio that is wanted; at the other distances throughput must only not collapse.
DISTANCES = {0.05: None, 0.1: 1.0}


def bench_transfer(runs: int) -> list[Row]:
    """Compare the first upload of large and of small files, and a restore."""
    rows = []
    for case, (count, size_bytes, wanted) in CASES.items():
        with near_folder() as near, far_end() as far:
            files = make_files(near / "files", count, size_bytes)
            rows += [
                _compare(case, against, far, files, runs=runs, at_least=at_least)
                for against, at_least in wanted.items()
            ]
    return [*rows, *_bench_restore(runs)]


def bench_distance(runs: int) -> list[Row]:
    """Compare uploads to a server that seems to be far away."""
    rows = []
    with near_folder() as near, far_end() as far:
        files = make_files(near / "files", 32, 8 * MIB)
        for round_trip_seconds, wanted in DISTANCES.items():
            with distant_port(far.server.port, round_trip_seconds) as port:
                case = f"256 MiB in 8 MiB files at {round_trip_seconds * 1000:.0f} ms round trip (warm)"
                distant = FarEnd(far.server, far.memory, port)
                rows.append(_compare(case, "rsync -a", distant, files, runs=runs, at_least=wanted))
    return rows


def _compare(  # noqa: PLR0913 - what makes a row
    case: str, against: str, far: FarEnd, files: Sequence[Path], *, runs: int, at_least: float | None
) -> Row:
    ours, theirs = [], []
    with far.connect() as destination:
        upload = partial(_upload, destination, files)
        _timed(upload, far)  # a service has done this before
        for _ in range(runs):
            ours.append(_timed(upload, far))
            theirs.append(_timed(lambda: far.rsync(files[0].parent, "target", ssh_options=CIPHERS[against]), far))
    return Row(case, against, tuple(ours), tuple(theirs), at_least=at_least)


def _timed(work: Callable[[], None], far: FarEnd) -> float:
    target = far.memory / "target"
    target.mkdir()
    seconds = stopwatch(work)
    shutil.rmtree(target)
    return seconds


def stopwatch(work: Callable[[], None]) -> float:
    """Return how many seconds `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _upload(destination: Destination, files: Sequence[Path]) -> None:
    target = PurePosixPath("target")
    uploads = [Upload(file, target / file.name, file.stat().st_size) for file in files]
    destination.upload(uploads, RecordingObserver())


def _bench_restore(runs: int) -> list[Row]:
    warm, whole, theirs = [], [], []
    with near_folder() as near, far_end() as far:
        primary = FakePrimary(near / "primary", table_bytes=64 * MIB)
        for number in range(100, 100 + 12):
            primary.add_table(number)
        with far.connect() as destination:
            publish(primary.request(), destination, RecordingObserver())
            shutil.rmtree(primary.folder)
            restored = near / "restored"
            ways = ((warm, partial(_download, destination, far)), (whole, partial(_restore, far)))
            for _ in range(runs):
                for times, restore in (*ways, (theirs, partial(_scp, far))):
                    times.append(stopwatch(partial(restore, restored)))
                    shutil.rmtree(restored)
    return [
        Row("restore of 1 GiB: its download (warm)", "scp -r", tuple(warm), tuple(theirs), at_least=1.0),
        Row("restore of 1 GiB (whole process)", "scp -r", tuple(whole), tuple(theirs)),
    ]


def _download(destination: Destination, far: FarEnd, target: Path) -> None:
    target.mkdir()
    source = PurePosixPath(DATABASE) / "checkpoint_current"
    files = [entry for entry in (far.memory / source).iterdir() if entry.name != CATALOG_NAME]
    downloads = [Download(source / file.name, target / file.name, file.stat().st_size) for file in files]
    destination.download(downloads, RecordingObserver())


def _restore(far: FarEnd, target: Path) -> None:
    config = far.config()
    command = [
        str(Path(sys.executable).with_name("replicator")),
        "restore",
        f"{config.url}/{DATABASE}",
        str(target),
    ]
    command += ["--identity-file", str(config.identity_file), "--known-hosts", str(config.known_hosts)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _scp(far: FarEnd, target: Path) -> None:
    far.scp_from(f"{DATABASE}/checkpoint_current", target)
