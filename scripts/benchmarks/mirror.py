"""A mirror, against what it takes the place of: lsyncd while it runs, `rsync -a` for a tree as a whole.

The delay is the time from a file's close until it is whole at the destination, over ssh to the same server. A tree
is compared, and sent, by a whole process on both sides. lsyncd is Debian's package of that name.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from far_end import FarEnd, far_end, near_folder
from report import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = 10_000
FILES_IN_FOLDER = 10
FILE_BYTES = 1024
#: lsyncd's delay in seconds, and how often it is worth waiting for: its default, and the least.
LSYNCD_DELAYS = {15: 6, 0: 20}
#: quiet and max_delay: as they are by default, and as low as makes sense.
OUR_DELAYS = {"1s": 40, "50ms": 200}

_PROGRAM = Path(sys.executable).with_name("replicator")
_LONGEST_DELAY_SECONDS = 60.0
_POLL_SECONDS = 0.0005


def bench_mirror(runs: int) -> list[Row | Figure]:
    """Compare whole trees, then the delay of single files."""
    return [
        *_bench_trees(runs, account="with a shell", most_sessions=10, at_least=1.0),
        *_bench_trees(runs, account="SFTP alone", most_sessions=1, at_least=None),
        *_bench_delays(),
    ]


# --- whole trees -------------------------------------------------------------------------------------


def _bench_trees(runs: int, *, account: str, most_sessions: int, at_least: float | None) -> list[Row]:
    count = FOLDERS * FILES_IN_FOLDER
    times: dict[tuple[str, str], list[float]] = {}
    with near_folder() as near, far_end(most_sessions=most_sessions) as far:
        media = near / "media"
        _make_tree(media)
        config = _configure(near, far, media)
        for _ in range(runs):
            for who, folder in (("ours", "media"), ("theirs", "copy")):
                for what in ("empty", "equal"):
                    started = time.perf_counter()
                    if who == "ours":
                        _run(str(_PROGRAM), "run", "-c", str(config), "--once")
                    else:
                        far.rsync(media, folder, options=("--delete",))
                    times.setdefault((what, who), []).append(time.perf_counter() - started)
                shutil.rmtree(far.memory)
                far.memory.mkdir()
    return [
        Row(
            f"{count} files, {FOLDERS} folders: destination {what}, account {account} (whole process)",
            "rsync -a --delete",
            tuple(times[what, "ours"]),
            tuple(times[what, "theirs"]),
            at_least=at_least,
        )
        for what in ("equal", "empty")
    ]


def _make_tree(folder: Path) -> None:
    content = random.Random(1).randbytes(FILE_BYTES)  # noqa: S311 - no secret
    folder.mkdir()
    for number in range(FOLDERS):
        below = folder / f"{number % 100:02d}" / f"{number:05d}"
        below.mkdir(parents=True)
        for name in range(FILES_IN_FOLDER):
            (below / f"{name}.bin").write_bytes(content)


# --- single files ------------------------------------------------------------------------------------


def _bench_delays() -> list[Figure]:
    figures = []
    with near_folder() as near, far_end() as far:
        media = near / "media"
        media.mkdir()
        for quiet, samples in OUR_DELAYS.items():
            with _replicator(_configure(near, far, media, quiet=quiet)):
                figures += _figures(f"replicator, quiet = {quiet}", _delays(media, far.memory / "media", samples))
        for delay_seconds, samples in LSYNCD_DELAYS.items():
            with _lsyncd(near, far, media, delay_seconds):
                figures += _figures(
                    f"lsyncd, delay = {delay_seconds}", _delays(media, far.memory / "copy", samples)
                )
    return figures


def _figures(case: str, delays: list[float]) -> list[Figure]:
    delays.sort()
    p99 = delays[min(len(delays) - 1, round(0.99 * len(delays)))]
    return [
        Figure(f"{case}: close to presence, median", (delays[len(delays) // 2],), "s"),
        Figure(f"{case}: close to presence, 99 of 100", (p99,), "s"),
    ]


def _delays(source: Path, target: Path, samples: int) -> list[float]:
    _await_file(source / "first", target / "first")
    pauses = random.Random(2)  # noqa: S311 - no secret
    delays = []
    for number in range(samples):
        # Not in step with anybody's timer.
        time.sleep(pauses.uniform(0.05, 0.25))
        name = f"{time.time_ns()}-{number}"
        delays.append(_await_file(source / name, target / name))
    return delays


def _await_file(source: Path, target: Path) -> float:
    content = os.urandom(FILE_BYTES)
    source.write_bytes(content)
    closed = time.perf_counter()
    while not (target.exists() and target.stat().st_size == FILE_BYTES):
        if time.perf_counter() - closed > _LONGEST_DELAY_SECONDS:
            raise RuntimeError(f"{target} did not arrive")
        time.sleep(_POLL_SECONDS)
    return time.perf_counter() - closed


# --- who mirrors -------------------------------------------------------------------------------------


def _configure(near: Path, far: FarEnd, media: Path, *, quiet: str = "1s") -> Path:
    destination = far.config()
    config = near / "replicator.toml"
    config.write_text(
        f"""
        [[mirror]]
        name = "media"
        path = "{media}"
        quiet = "{quiet}"

        [[destination]]
        name = "far"
        url = "{destination.url}"
        identity_file = "{destination.identity_file}"
        known_hosts = "{destination.known_hosts}"

        [service]
        state_dir = "{near / "state"}"
        log_level = "warning"
        """
    )
    return config


@contextmanager
def _replicator(config: Path) -> Iterator[None]:
    with _running(str(_PROGRAM), "run", "-c", str(config)):
        yield


@contextmanager
def _lsyncd(near: Path, far: FarEnd, media: Path, delay_seconds: int) -> Iterator[None]:
    shell = shlex.join(["ssh", "-p", str(far.port), *far.ssh_options()])
    config = near / "lsyncd.lua"
    config.write_text(
        f"""
        settings {{ nodaemon = true }}
        sync {{
            default.rsync,
            source = "{media}",
            target = "{far.server.user}@127.0.0.1:{far.memory}/copy",
            delay = {delay_seconds},
            rsync = {{ archive = true, rsh = "{shell}" }},
        }}
        """
    )
    with _running("lsyncd", str(config)):
        yield


@contextmanager
def _running(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
