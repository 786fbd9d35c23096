"""Restoring a state of a generation into a local folder: a database directory that RocksDB opens, or none.

CURRENT is written last, so nothing opens a restore that is not finished. One that broke off is recognized by the
marker it left, and goes on with what is there. Every byte is checked against a SHA-256, of the catalog or, for
write-ahead logs that were shipped, of the journal. Which state is meant is decided in `choice`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination.interface import Download
from replicator.errors import DamageError, TargetError
from replicator.moments import format_moment
from replicator.replica.choice import choose_state, choose_state_at
from replicator.replica.target_folder import PART_SUFFIX, TargetFolder, UnfinishedRestore
from replicator.rocksdb.filenames import CURRENT_NAME

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.errors import SourceError
    from replicator.replica.catalog import Catalog, CatalogFile
    from replicator.replica.choice import ChosenState
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import ReplicaState


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do. `note` says what an operator should know of the choice; empty if nothing.

    `moment` is the instant that was asked for, None for the newest state. `keep` are files that are there already,
    `remove` the names in the target that do not belong to the state.
    """

    layout: ReplicaLayout
    target: Path
    catalog: Catalog
    state: ReplicaState
    moment: datetime | None
    note: str
    keep: tuple[CatalogFile, ...]
    fetch: tuple[CatalogFile, ...]
    remove: tuple[str, ...]

    @property
    def generation(self) -> GenerationId:
        """The generation that is restored."""
        return self.catalog.generation

    @property
    def state_at(self) -> datetime:
        """The instant (UTC) at which the primary was in the state that is restored."""
        return self.state.at

    @property
    def fetch_bytes(self) -> int:
        """Sum of the sizes of the files to be fetched."""
        return sum(file.size_bytes for file in self.fetch)


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore; `bytes_fetched` is what crossed the wire, `state_at` as in `RestorePlan`."""

    generation: GenerationId
    state_at: datetime
    target: Path
    files: int
    size_bytes: int
    bytes_fetched: int
    duration_seconds: float


def plan_restore(  # noqa: PLR0913 - what a restore can be asked for
    destination: Destination,
    layout: ReplicaLayout,
    target: Path,
    *,
    wanted: str | None = None,
    at: datetime | None = None,
    force: bool = False,
) -> RestorePlan:
    """Decide what to restore and what that takes; changes nothing.

    `wanted` is an id, `current` or `prev`, and means the newest state of that generation; `at` (with a time zone)
    means the last state at or before that instant, whatever its generation. With neither of the two it is what a
    restore into `target` has begun with, or the newest state of the current generation. A target that is not empty
    needs `force`, unless it holds the beginning of a restore of the same generation.

    Raises `NotFoundError`, `DamageError` for a damaged catalog, `TargetError`, `ValueError` if both `wanted` and
    `at` are given.
    """
    folder = TargetFolder(target)
    begun = folder.unfinished_restore(layout.database)
    chosen = _choose(destination, layout, wanted, at, None if force else begun)
    generation = chosen.catalog.generation
    if begun is not None and begun.generation != generation:
        if not force:
            raise TargetError(
                f"{target} holds an unfinished restore of generation {begun.generation}, not of {generation}",
                hint=f"without --generation and --at that of {begun.generation} goes on; --force starts over",
            )
        begun = None
    if begun is None and not force:
        folder.refuse_if_not_empty()
    folder.refuse_if_open()
    going_on = "" if begun is None else f"going on with the restore of generation {generation} that broke off"
    files = chosen.state.files
    keep = tuple(file for file in files if file.name != CURRENT_NAME and folder.has(file))
    kept = {file.name for file in keep}
    fetch = tuple(file for file in files if file.name not in kept)
    parts = set() if begun is None else {file.name + PART_SUFFIX for file in fetch}
    plan = RestorePlan(
        layout=layout,
        target=target,
        catalog=chosen.catalog,
        state=chosen.state,
        moment=chosen.moment,
        note="; ".join(filter(None, (chosen.note, going_on))),
        keep=keep,
        fetch=fetch,
        remove=tuple(sorted(folder.database_names() - kept - parts)),
    )
    folder.refuse_if_too_small(plan.fetch_bytes, replaced={*plan.remove, *parts})
    return plan


def _choose(
    destination: Destination,
    layout: ReplicaLayout,
    wanted: str | None,
    at: datetime | None,
    begun: UnfinishedRestore | None,
) -> ChosenState:
    if at is not None:
        if wanted is not None:
            raise ValueError("a generation and an instant exclude each other")
        return choose_state_at(destination, layout, at)
    if wanted is None and begun is not None:
        return choose_state(destination, layout, str(begun.generation), begun.moment)
    return choose_state(destination, layout, wanted)


def restore(plan: RestorePlan, destination: Destination, observer: TransferObserver) -> Restored:
    """Carry out a plan.

    Raises `DamageError` if a file is not what the catalog says (all that are sound are kept, and there is no
    CURRENT), `TargetError` for trouble with the target, `InterruptedTransferError`.
    """
    started = time.monotonic()
    folder = TargetFolder(plan.target)
    folder.begin(plan.layout.database, UnfinishedRestore(plan.generation, plan.moment))
    folder.remove(plan.remove)
    fetching = _Fetching(plan, folder, destination, observer)
    fetching.fetch([file for file in plan.fetch if file.name != CURRENT_NAME])
    folder.sync()
    fetching.fetch([file for file in plan.fetch if file.name == CURRENT_NAME])
    folder.finish()
    return Restored(
        generation=plan.generation,
        state_at=plan.state_at,
        target=plan.target,
        files=len(plan.state.files),
        size_bytes=plan.state.size_bytes,
        bytes_fetched=fetching.bytes_fetched,
        duration_seconds=time.monotonic() - started,
    )


class _Fetching:
    """Fetches files to their `.part` names and gives them their own when the digest agrees."""

    def __init__(
        self, plan: RestorePlan, folder: TargetFolder, destination: Destination, observer: TransferObserver
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._destination = destination
        self._observer = observer
        self._expected = {file.name + PART_SUFFIX: file for file in plan.state.files}
        self._mismatched: list[CatalogFile] = []
        self.bytes_fetched = 0

    def fetch(self, files: list[CatalogFile]) -> None:
        offsets = {file.name: self._folder.part_bytes(file) for file in files}
        self._download(files, offsets)
        # What an earlier try had left of a file may be at fault: only a whole fetch proves damage.
        resumed = [file for file in self._mismatched if offsets[file.name]]
        if resumed:
            self._mismatched = [file for file in self._mismatched if not offsets[file.name]]
            self._download(resumed, {})
        if self._mismatched:
            names = ", ".join(file.name for file in self._mismatched)
            raise DamageError(
                f"{self._destination.label}: generation {self._plan.generation} of {self._plan.layout.database}"
                f" is damaged: {names} does not have the SHA-256 that was recorded for it",
                findings=tuple(f"{file.name}: wrong SHA-256" for file in self._mismatched),
                hint=self._remedy(),
            )

    def _remedy(self) -> str:
        if set(self._mismatched).isdisjoint(self._plan.catalog.files):
            return (
                "what was shipped to it is damaged, an earlier state may be sound:"
                f" restore with --at and a time before {format_moment(self._plan.state_at)}"
            )
        return "restore another generation; `replicator verify --all` says which are sound"

    def _download(self, files: list[CatalogFile], offsets: dict[str, int]) -> None:
        generation = self._plan.layout.generation(self._plan.generation)
        downloads = [
            Download(
                source=generation / file.name,
                target=self._folder.path / (file.name + PART_SUFFIX),
                size_bytes=file.size_bytes,
                offset=offsets.get(file.name, 0),
            )
            for file in files
        ]
        self._destination.download(downloads, self)

    # --- TransferObserver ----------------------------------------------------------------------------

    def bytes_moved(self, count: int) -> None:
        self.bytes_fetched += count
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        file = self._expected[target.name]
        if sha256 == file.sha256:
            self._folder.accept(file)
            self._observer.file_done(self._folder.path / file.name, sha256)
        else:
            self._folder.discard_part(file)
            self._mismatched.append(file)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        return self._observer.stop_requested()
