"""What lies at a destination, seen from its own side, and judged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicator.demo.oracle import Recovery, judge
from replicator.destination.directory import DirectoryDestination
from replicator.replica.layout import ReplicaLayout
from replicator.replica.restore import plan_restore, restore
from tests.support.observer import RecordingObserver
from tests.support.program import run_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

_WAIT_SECONDS = 90.0
_POLL_SECONDS = 0.005


def position_of(path: Path) -> int:
    """Return the position of a database that must be exact: a link to a generation, a generation, a restore."""
    verdict = judge(path.resolve(strict=True))
    assert verdict.exact, f"{path}: {verdict}"
    return verdict.position


def growing_position_of(path: Path) -> int:
    """Return the position of a replica that is being shipped to: its newest log may end in half a record."""
    verdict = judge(path.resolve(strict=True), recovery=Recovery.POINT_IN_TIME)
    assert verdict.exact, f"{path}: {verdict}"
    return verdict.position


def restored_position(
    replica: Path, target: Path, *, generation: str | None = None, at: datetime | None = None
) -> int:
    """Restore to `target`, which is replaced, and return the position of that, which must be exact."""
    with DirectoryDestination(replica.parent, label=str(replica.parent)) as destination:
        layout = ReplicaLayout(replica.name)
        plan = plan_restore(destination, layout, target, wanted=generation, at=at, force=True)
        restore(plan, destination, RecordingObserver())
    return position_of(target)


def assert_sound(replica: Path, *options: object) -> None:
    """Check that there are only whole generations and nothing else, as the program's own commands say."""
    listed = run_program("generations", replica, *options, "--json").document
    assert listed
    assert all(generation["complete"] for generation in listed)
    assert listed[-1]["links"] == ["checkpoint_current"]
    assert run_program("verify", replica, *options, "--all", "--json").document["sound"]
    assert_no_more_than_a_seed(replica)


def assert_no_more_than_a_seed(replica: Path) -> None:
    """Check that nothing takes space in `incoming/`: one folder may be there, with names of what is current."""
    seeds = list((replica / "incoming").iterdir())
    assert len(seeds) <= 1
    for path in (path for seed in seeds for path in seed.iterdir() if path.name != "replica.json"):
        assert path.samefile(replica / "checkpoint_current" / path.name)


def finished_uploads(replica: Path) -> dict[str, tuple[int, int]]:
    """Return the tables of the upload under way that are finished: name to inode and size in bytes."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_size)
        for path in (replica / "incoming").glob("*/*.sst")
        if path.exists()
    }


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(_POLL_SECONDS)


def wait_for_mid_file(replica: Path, *, finished: int = 1) -> None:
    """Wait until that many tables of an upload are finished and another one has begun to arrive."""

    def in_the_middle() -> bool:
        arriving = (replica / "incoming").glob("*/*.sst.part")
        return len(finished_uploads(replica)) >= finished and any(_size_bytes(path) > 0 for path in arriving)

    wait_until(in_the_middle, f"{finished} tables uploaded and one on its way in {replica}")


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
