"""A restore drill: the newest state of a replica is restored to a folder of its own, checked, and removed again.

It only reads at the destination, by a connection of its own. What it comes to is a value; when drills are made,
and who is told, is decided elsewhere (`drill_loop`, the command line).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from replicator.checkpoint.checkpoint_logs import check_logs
from replicator.checkpoint.engine import open_with_engine
from replicator.checkpoint.engine_reach import ENGINE_VERSION, EngineReach, engine_reach, unknown_comparators
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.verification import check_structure
from replicator.errors import (
    CheckpointError,
    CorruptFileError,
    DamageError,
    InterruptedTransferError,
    NotFoundError,
    ReplicatorError,
    TargetError,
)
from replicator.replica.generations import generation_ids
from replicator.replica.layout import ReplicaLayout
from replicator.replica.restore import plan_restore, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.restore import Restored, RestorePlan

_FOLDER_PREFIX: Final = "replicator-drill-"
_FOLDER_HINT: Final = "name a folder with room for the whole database: --folder, for the service drill_folder"


@dataclass(frozen=True, slots=True)
class DrillPair:
    """A database at a destination; `connect` makes a connection for the drill alone."""

    database: str
    destination: str
    connect: Callable[[], Destination]


@dataclass(frozen=True, slots=True)
class EngineWord:
    """Whether RocksDB opened what was restored, and that in words: if it did not, it could not have."""

    opened: bool
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """What was restored, and is in order.

    `loss_seconds` is how much the source would have lost by dying when the drill began. It is never negative: what
    was shipped while the drill went on may have been restored too.
    """

    restored: Restored
    loss_seconds: float
    engine: EngineWord


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill came to; `began_at` is in UTC, on the clock of this host."""

    database: str
    destination: str
    began_at: datetime
    took_seconds: float
    outcome: Sound | ReplicatorError


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """Give a new folder below `parent`, or where the system has its temporary files; in the end it is removed.

    Only this user can look into it. Raises `TargetError`.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent))
    except OSError as error:
        where = parent or "any folder for temporary files"
        raise TargetError(f"cannot make a folder in {where}: {error.strerror}") from error
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise TargetError(f"cannot remove {folder}: {error.strerror}") from error


def drill(
    pair: DrillPair,
    scratch: Callable[[], AbstractContextManager[Path]],
    observer: TransferObserver,
    *,
    planned: Callable[[RestorePlan], None] = lambda _plan: None,
) -> Drilled:
    """Restore a replica to a folder that `scratch` gives for that long, and check it.

    `planned` is told what is going to be fetched. What is wrong is part of the result. Raises
    `InterruptedTransferError` once `observer` asks for a stop, at the end of a file; closing the connection ends a
    drill sooner, and as a failure.
    """
    began_at, started = datetime.now(UTC), time.monotonic()
    outcome: Sound | ReplicatorError
    try:
        with scratch() as folder:
            outcome = _rehearse(pair, folder / pair.database, began_at, observer, planned)
    except InterruptedTransferError:
        raise
    except TargetError as error:
        outcome = TargetError(str(error), hint=_FOLDER_HINT)
    except ReplicatorError as error:
        outcome = error
    except OSError as error:  # those of a destination are no OSError
        outcome = TargetError(f"cannot work on what was restored: {error}", hint=_FOLDER_HINT)
    return Drilled(pair.database, pair.destination, began_at, time.monotonic() - started, outcome)


def _rehearse(
    pair: DrillPair,
    target: Path,
    began_at: datetime,
    observer: TransferObserver,
    planned: Callable[[RestorePlan], None],
) -> Sound:
    with pair.connect() as destination:
        restored = _restore_newest(destination, ReplicaLayout(pair.database), target, observer, planned)
        what = f"{destination.label}: generation {restored.generation} of {pair.database}"
    return Sound(
        restored=restored,
        loss_seconds=max(0.0, (began_at - restored.state_at).total_seconds()),
        engine=_check(restored.target, what, observer),
    )


def _restore_newest(
    destination: Destination,
    layout: ReplicaLayout,
    target: Path,
    observer: TransferObserver,
    planned: Callable[[RestorePlan], None],
) -> Restored:
    while True:
        # By force: of a generation that was retired in the middle, the next one uses what has been fetched.
        plan = plan_restore(destination, layout, target, force=True)
        planned(plan)
        try:
            return restore(plan, destination, observer)
        except NotFoundError:
            if plan.generation in generation_ids(destination, layout.generations):
                raise


def _check(database: Path, what: str, observer: TransferObserver) -> EngineWord:
    """Check all that can be checked without knowing what should be in it."""
    try:
        checkpoint = inspect_checkpoint(database)
        check_structure(database, [file.name for file in checkpoint.inventory.files])
        check_logs(checkpoint)
    except (CheckpointError, CorruptFileError) as error:
        raise DamageError(
            f"{what} is what its catalog says, and still no sound database: {error}",
            hint="it was damaged before it was published: check the primary's disk",
        ) from error
    reach = engine_reach(checkpoint.inventory.rocksdb_version, checkpoint.comparators)
    if reach is EngineReach.NEVER_OPENS:
        return _structure_only(f"the comparator {', '.join(unknown_comparators(checkpoint.comparators))}")
    complaint = open_with_engine(database, stop_requested=observer.stop_requested)
    if not complaint:
        return EngineWord(opened=True, text=f"opened by RocksDB {ENGINE_VERSION}")
    if reach is EngineReach.MAY_OPEN:
        return _structure_only(f"RocksDB {checkpoint.inventory.rocksdb_version}")
    raise CheckpointError(
        f"{what} has a sound structure, but RocksDB {ENGINE_VERSION} cannot open it: {complaint}",
        hint="does the application itself open a restore of it? `replicator restore` makes one",
    )


def _structure_only(reason: str) -> EngineWord:
    return EngineWord(
        opened=False,
        text=f"structure only: the engine (RocksDB {ENGINE_VERSION}) cannot open databases of {reason}",
    )
