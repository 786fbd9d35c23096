"""What a capture does to the database: nothing. It lists, reads and links; it does not open it with RocksDB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.demo.oracle import judge
from replicator.demo.settings import PrimarySettings
from tests.support.captures import WARM_UP_BATCHES
from tests.support.databases import write_batches
from tests.support.primaries import STORMS, Primary

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]

#: Captures, and says at each step which files are open, in which mode, and which modules are there.
OBSERVED_CAPTURES = """
import json, os, sys
from pathlib import Path

from replicator import cli  # all that the program loads
from replicator.checkpoint import capture as module, staging
from replicator.checkpoint.capture import Capture
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.verification import check_structure

seen = []

def look():
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            info = Path(f"/proc/self/fdinfo/{name}").read_text()
        except FileNotFoundError:
            continue
        flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
        seen.append((target, int(flags, 8)))

def check(folder, new_names, _need_room):
    look()
    check_structure(folder, new_names)
    look()

def looking(function):
    def call(*arguments):
        look()
        result = function(*arguments)
        look()
        return result
    return call

module.copy_bytes = looking(module.copy_bytes)
module.sync_folder = looking(module.sync_folder)
staging.LinkStaging.pin = looking(staging.LinkStaging.pin)
staging.LinkStaging.settle = looking(staging.LinkStaging.settle)

root = CheckpointRoot(Path(sys.argv[2]))
root.create()
capture = Capture(Path(sys.argv[1]), root, check)
for _ in range(10):
    capture.make()
    look()
maps = Path("/proc/self/maps").read_text()
print(json.dumps({"seen": sorted(set(seen)), "modules": sorted(sys.modules), "maps": maps}))
"""


def _listing(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """Name, inode, size, time and mode of everything; a link that is made of a file may be counted in it."""
    stats = {str(path.relative_to(folder)): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_mode) for name, stat in stats.items()}


@pytest.fixture(name="quiet")
def make_quiet_database(tmp_path: Path) -> Iterator[Path]:
    """A database that a primary has open and does not write to."""
    settings = STORMS["everything"]
    limited = PrimarySettings(
        layout=settings.layout,
        max_batches=3000,
        # What it would write into its LOG at a random time.
        database_options=dict(settings.database_options)
        | {"stats_dump_period_sec": "0", "stats_persist_period_sec": "0"},
        family_options=dict(settings.family_options) | {"disable_auto_compactions": "true"},
    )
    write_batches(tmp_path / "db", limited, 3000)
    with Primary(tmp_path / "db", limited) as primary:
        primary.wait_for(3000)
        yield primary.path


def test_the_directory_stays_as_it_is(quiet: Path, tmp_path: Path) -> None:
    before = _listing(quiet)
    root = CheckpointRoot(tmp_path / "root")
    root.create()
    capture = Capture(quiet, root)
    for _ in range(4):
        capture.make()
        assert _listing(quiet) == before
    capture.close()
    assert _listing(quiet) == before
    assert judge(root.current).position == 3000


def test_the_command_leaves_the_directory_as_it_is(quiet: Path, tmp_path: Path) -> None:
    before = _listing(quiet)
    for _ in range(2):
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from replicator.cli import main; main()",
                "checkpoint",
                quiet,
                tmp_path / "root",
            ],
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )
    assert _listing(quiet) == before
    assert judge(tmp_path / "root" / "checkpoint_current").position == 3000


def test_nothing_of_the_database_is_open_but_for_reading(tmp_path: Path) -> None:
    with Primary(tmp_path / "db") as primary:
        primary.wait_for(WARM_UP_BATCHES)
        done = subprocess.run(
            [sys.executable, "-c", OBSERVED_CAPTURES, primary.path, tmp_path / "root"],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        )
    observed = json.loads(done.stdout)
    of_database = {
        Path(target.removesuffix(" (deleted)")).name: flags & 0o3
        for target, flags in observed["seen"]
        if target.startswith(f"{tmp_path}/db/")
    }
    # The observer saw what there is to see, ...
    assert any(name.endswith(".log") for name in of_database)
    assert any(name.startswith("MANIFEST-") for name in of_database)
    # ... all of it opened for reading alone, and never the lock that an engine takes.
    assert set(of_database.values()) == {0}
    assert "LOCK" not in of_database
    assert not {"rocksdict", "pyrex", "rdbpy"} & set(observed["modules"])
    assert "rocksdict" not in observed["maps"]
    assert f"{tmp_path}/db/" not in observed["maps"]
