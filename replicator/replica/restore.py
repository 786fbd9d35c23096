"""Restoring a generation into a local folder: a database directory that RocksDB opens, or none.

CURRENT is written last, so nothing opens a restore that is not finished. One that broke off is recognized by the
marker it left, and goes on with what is there. Every byte is checked against the catalog's SHA-256.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination.interface import Download
from replicator.errors import DamageError, TargetError
from replicator.replica.generations import choose_generation, read_catalog
from replicator.replica.target_folder import PART_SUFFIX, TargetFolder
from replicator.rocksdb.filenames import CURRENT_NAME

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.catalog import Catalog, CatalogFile
    from replicator.replica.layout import GenerationId, ReplicaLayout


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do. `note` says what an operator should know of the choice; empty if nothing.

    `keep` are files that are there already, `remove` the names in the target that do not belong to the generation.
    """

    layout: ReplicaLayout
    target: Path
    catalog: Catalog
    note: str
    keep: tuple[CatalogFile, ...]
    fetch: tuple[CatalogFile, ...]
    remove: tuple[str, ...]

    @property
    def generation(self) -> GenerationId:
        """The generation that is restored."""
        return self.catalog.generation

    @property
    def fetch_bytes(self) -> int:
        """Sum of the sizes of the files to be fetched."""
        return sum(file.size_bytes for file in self.fetch)


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore; `bytes_fetched` is what crossed the wire."""

    generation: GenerationId
    target: Path
    files: int
    size_bytes: int
    bytes_fetched: int
    duration_seconds: float


def plan_restore(
    destination: Destination,
    layout: ReplicaLayout,
    target: Path,
    *,
    wanted: str | None = None,
    force: bool = False,
) -> RestorePlan:
    """Decide what to restore and what that takes; changes nothing.

    `wanted` is an id, `current`, `prev`, or None: the current one, or the one that a restore into `target`
    has begun with. A target that is not empty needs `force`, unless it holds such a beginning.

    Raises `NotFoundError`, `DamageError` for a damaged catalog, `TargetError`.
    """
    folder = TargetFolder(target)
    begun = folder.unfinished_restore(layout.database)
    if begun is not None and wanted is None and not force:
        wanted = str(begun)
    choice = choose_generation(destination, layout, wanted)
    if not force and begun != choice.id:
        if begun is not None:
            raise TargetError(
                f"{target} holds an unfinished restore of generation {begun}, not of {choice.id}",
                hint=f"finish it with --generation {begun}, or start over with --force",
            )
        folder.refuse_if_not_empty()
    folder.refuse_if_open()
    catalog = read_catalog(destination, layout, choice.id)
    note = choice.note
    if not note and begun == choice.id:
        note = f"going on with the restore of generation {begun} that broke off"
    keep = tuple(file for file in catalog.files if file.name != CURRENT_NAME and folder.has(file))
    kept = {file.name for file in keep}
    fetch = tuple(file for file in catalog.files if file.name not in kept)
    parts = {file.name + PART_SUFFIX for file in fetch} if begun == choice.id else set()
    plan = RestorePlan(
        layout=layout,
        target=target,
        catalog=catalog,
        note=note,
        keep=keep,
        fetch=fetch,
        remove=tuple(sorted(folder.database_names() - kept - parts)),
    )
    folder.refuse_if_too_small(plan.fetch_bytes, replaced={*plan.remove, *parts})
    return plan


def restore(plan: RestorePlan, destination: Destination, observer: TransferObserver) -> Restored:
    """Carry out a plan.

    Raises `DamageError` if a file is not what the catalog says (all that are sound are kept, and there is no
    CURRENT), `TargetError` for trouble with the target, `InterruptedTransferError`.
    """
    started = time.monotonic()
    folder = TargetFolder(plan.target)
    folder.begin(plan.layout.database, plan.generation)
    folder.remove(plan.remove)
    fetching = _Fetching(plan, folder, destination, observer)
    fetching.fetch([file for file in plan.fetch if file.name != CURRENT_NAME])
    folder.sync()
    fetching.fetch([file for file in plan.fetch if file.name == CURRENT_NAME])
    folder.finish()
    return Restored(
        generation=plan.generation,
        target=plan.target,
        files=len(plan.catalog.files),
        size_bytes=plan.catalog.size_bytes,
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
        self._expected = {file.name + PART_SUFFIX: file for file in plan.catalog.files}
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
                f" is damaged: {names} does not have the SHA-256 of its catalog",
                findings=tuple(f"{file.name}: wrong SHA-256" for file in self._mismatched),
                hint="restore another generation; `replicator verify --all` says which are sound",
            )

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

    def stop_requested(self) -> bool:
        return self._observer.stop_requested()
