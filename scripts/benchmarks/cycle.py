"""What a cycle costs when little or nothing changed in a large database, against a whole `rsync -a` over ssh.

Ours is what a running service does with a new checkpoint: a generation of its own at the destination, every file
of it accounted for, and the links flipped. rsync makes one folder equal to the checkpoint, in place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capture import Primary
from far_end import MIB, FarEnd, far_end, near_folder
from report import Row

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.pinned import CheckpointPin
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.config.model import Config
from replicator.replica.publish import PublishStep
from replicator.replica.retention import KeepPolicy
from replicator.service.board import StatusBoard
from replicator.service.collector import collect_seldom
from replicator.service.transfer import Transfer, TransferSettings
from replicator.service.watched import watched_databases
from tests.support.observer import RecordingObserver

if TYPE_CHECKING:
    from pathlib import Path

TABLES = 10_000
NEW_BYTES = 8 * MIB
AGAINST = "rsync -a"
#: So many generations are kept, and so many cycles come before those that count: retention is at work then.
_KEPT = 3


def bench_cycle(runs: int) -> list[Row]:
    """Compare cycles with nothing new and with one new table; with the capture, and without."""
    collect_seldom()  # as a service does
    with near_folder() as near, far_end() as far, Primary(near / "db") as primary:
        primary.do("flush", TABLES)
        cycle = _Cycle(near, far)
        for _ in range(_KEPT + 2):
            primary.do("flush", 1)
            cycle.run()
        cycle.rsync()
        rows = []
        for what, new_bytes in (("nothing new", 0), ("1 new of 8 MiB", NEW_BYTES)):
            captures, publishes, transfers, theirs = [], [], [], []
            for _ in range(runs):
                if new_bytes:
                    primary.do("large", new_bytes)
                cycled = cycle.run()
                captures.append(cycled.capture_seconds)
                publishes.append(cycled.publish_seconds)
                transfers.append(cycled.publish_seconds + cycled.tidying_seconds)
                theirs.append(cycle.rsync())
            case = f"{TABLES} files present, {what}"
            whole = tuple(map(sum, zip(captures, transfers, strict=True)))
            rows += [
                Row(f"{case}: until published (warm)", AGAINST, tuple(publishes), tuple(theirs), at_least=5.0),
                Row(f"{case}: and tidied up (warm)", AGAINST, tuple(transfers), tuple(theirs)),
                Row(f"{case}: with the capture too (warm)", AGAINST, whole, tuple(theirs)),
            ]
        cycle.close()
    return rows


@dataclass(frozen=True, slots=True)
class _Cycled:
    """How long the parts of a cycle took; what was retired is tidied up once the links are flipped."""

    capture_seconds: float
    publish_seconds: float
    tidying_seconds: float


class _Cycle:
    """A database's way to the far end, as the service goes it, and rsync's."""

    def __init__(self, near: Path, far: FarEnd) -> None:
        database = {"name": "chat", "path": str(near / "db"), "checkpoint_root": str(near / "root")}
        destination = far.config()
        config = Config.model_validate({"database": [database]}).model_copy(
            update={"destinations": (destination,)}
        )
        self._far = far
        self._published_at = 0.0
        self._root = CheckpointRoot(near / "root")
        self._root.create()
        self._capture = Capture(near / "db", self._root)
        self._destination = far.connect()
        self._transfer = Transfer(
            config.databases[0],
            CheckpointPin(self._root, destination.name),
            TransferSettings(
                destination_name=destination.name,
                keep=KeepPolicy(last=_KEPT),
                reupload=False,
                take_over=False,
                take_over_command="",
            ),
            on_step=self._note,
            board=StatusBoard(watched_databases(config)),
        )
        (far.memory / "copy").mkdir()

    def _note(self, step: PublishStep) -> None:
        if step is PublishStep.CLEAN:
            self._published_at = time.perf_counter()

    def run(self) -> _Cycled:
        """Make a checkpoint and transfer it."""
        started = time.perf_counter()
        self._capture.make()
        captured = time.perf_counter()
        self._published_at = 0.0
        self._transfer.run(self._destination, RecordingObserver(), planned=lambda _plan: None)
        ended = time.perf_counter()
        published = self._published_at or ended  # with nothing new there is nothing to tidy up
        return _Cycled(captured - started, published - captured, ended - published)

    def rsync(self) -> float:
        """Transfer the same checkpoint with rsync; return the seconds."""
        started = time.perf_counter()
        self._far.rsync(self._root.current, "copy", options=("--delete",))
        return time.perf_counter() - started

    def close(self) -> None:
        """Log out."""
        self._destination.close()
        self._capture.close()
