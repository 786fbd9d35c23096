"""Publishing a checkpoint: it becomes a generation, complete and durable, before any link names it.

The order of the steps is what keeps the promise that `checkpoint_current` always names a complete database:
everything is put together in `incoming/`, becomes a generation by one rename, and only then the links are
flipped. A publish that breaks off leaves a folder in `incoming/` whose finished files the next one uses.
Connecting, retrying and pacing belong to the destination; which files are sent is decided in `plan`.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from replicator.destination.interface import Link, Prefix, Upload
from replicator.errors import (
    DestinationError,
    InterruptedTransferError,
    ProtocolError,
    WrongWriterError,
)
from replicator.replica.catalog import (
    CATALOG_LIMIT_BYTES,
    Catalog,
    CatalogFile,
    Finding,
    compare_with_listing,
    encode_catalog,
    encode_checksums,
)
from replicator.replica.decision import decide
from replicator.replica.generations import folder_sizes, generation_ids, linked_generations
from replicator.replica.layout import (
    CATALOG_NAME,
    CHECKSUMS_NAME,
    GenerationId,
    ReplicaLayout,
    link_text,
)
from replicator.replica.local_digest import sha256_of_prefixes
from replicator.replica.plan import Send
from replicator.replica.retention import generations_to_drop
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.errors import SourceError
    from replicator.replica.decision import Decision, PublishRequest
    from replicator.replica.inspect_replica import Leftover
    from replicator.replica.plan import Plan


_DIGEST_CHARACTERS = 64


class PublishStep(StrEnum):
    """What a publish is about to do, in this order."""

    INSPECT = "inspect"
    PREPARE = "prepare"
    REUSE = "reuse"
    UPLOAD = "upload"
    CATALOG = "catalog"
    COMPLETE = "complete"
    FLIP_PREVIOUS = "flip_previous"
    FLIP_CURRENT = "flip_current"
    RETIRE = "retire"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Published:
    """A generation that `checkpoint_current` names now.

    `bytes_sent` is what crossed the wire for database files. `problems` are failures to tidy up afterwards: the
    next publish tries again.
    """

    generation: GenerationId
    files_sent: int
    files_reused: int
    bytes_sent: int
    bytes_reused: int
    duration_seconds: float
    problems: tuple[str, ...]


def publish(  # noqa: PLR0913 - three hooks for three purposes
    request: PublishRequest,
    destination: Destination,
    observer: TransferObserver,
    *,
    progress: Callable[[PublishStep], None] = lambda _step: None,
    planned: Callable[[Plan], None] = lambda _plan: None,
    handover: Callable[[Catalog], AbstractContextManager[None]] = lambda _catalog: nullcontext(),
) -> Published:
    """Publish one checkpoint.

    `progress` is called before each step, `planned` once it is known what must be sent; both may raise, which
    breaks the publish off as a crash would. So may `handover`, which gets the catalog of the complete generation:
    the links are flipped inside of the context that it returns.

    Raises `WrongWriterError` if the replica belongs to another writer, `MissingCapabilityError`, `NoSpaceError`,
    `SourceChangedError` if a file of the checkpoint is gone, `InterruptedTransferError`, and whatever else the
    destination raises. The links are as they were then, or name the new generation.
    """
    started = time.monotonic()
    progress(PublishStep.INSPECT)
    decision = decide(request, destination)
    plan = decision.plan
    planned(plan)
    publication = _Publication(decision, destination, observer)
    progress(PublishStep.PREPARE)
    publication.prepare()
    progress(PublishStep.REUSE)
    publication.reuse()
    progress(PublishStep.UPLOAD)
    publication.upload()
    progress(PublishStep.CATALOG)
    publication.write_catalog()
    progress(PublishStep.COMPLETE)
    publication.complete()
    with handover(publication.catalog()):
        progress(PublishStep.FLIP_PREVIOUS)
        publication.flip_previous()
        progress(PublishStep.FLIP_CURRENT)
        publication.flip_current()
    progress(PublishStep.RETIRE)
    problems = publication.retire()
    progress(PublishStep.CLEAN)
    problems += publication.clean()
    return Published(
        generation=decision.generation,
        files_sent=len(plan.send),
        files_reused=len(request.inventory.files) - len(plan.send),
        bytes_sent=publication.transfer.bytes_sent,
        bytes_reused=request.inventory.size_bytes - plan.send_bytes,
        duration_seconds=time.monotonic() - started,
        problems=problems,
    )


class _Transfer:
    """Passes on what happens in a transfer, and remembers digests and bytes."""

    def __init__(self, observer: TransferObserver) -> None:
        self._observer = observer
        self.bytes_sent = 0
        self.digests: dict[str, str] = {}

    def bytes_moved(self, count: int) -> None:
        self.bytes_sent += count
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        self.digests[target.name] = sha256
        self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        return self._observer.stop_requested()


class _Silent:
    """Passes on nothing but the wish to stop: what the destination copies by itself is not sent."""

    def __init__(self, observer: TransferObserver) -> None:
        self._observer = observer

    def bytes_moved(self, count: int) -> None:
        pass

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        pass

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        return self._observer.stop_requested()


class _Publication:
    """One publish under way; a method for each step."""

    def __init__(self, decision: Decision, destination: Destination, observer: TransferObserver) -> None:
        self._request = decision.request
        self._before = decision.replica
        self._generation = decision.generation
        self._plan = decision.plan
        self._log_digests = decision.log_digests
        self._destination = destination
        self._layout = ReplicaLayout(decision.request.database)
        self._upload_folder = self._layout.upload(decision.generation)
        self.transfer = _Transfer(observer)

    def catalog(self) -> Catalog:
        """Describe the generation with the digests known so far."""
        inventory = self._request.inventory
        known = {name: digests[max(digests)] for name, digests in self._log_digests.by_name.items()}
        known |= {item.file.name: item.sha256 for item in self._plan.keep if item.sha256}
        known |= {item.file.name: item.sha256 for item in (*self._plan.link, *self._plan.copy)}
        known |= self.transfer.digests
        return Catalog(
            generation=self._generation,
            captured_at=self._request.captured_at,
            writer=self._request.writer,
            rocksdb_version=inventory.rocksdb_version,
            column_families=inventory.column_families,
            manifest_name=inventory.manifest_name,
            files=tuple(
                CatalogFile(file.name, file.kind, file.size_bytes, file.identity, known.get(file.name))
                for file in inventory.files
            ),
        )

    def prepare(self) -> None:
        """Make the folder, or take over what an earlier try left, and note in it what will be there."""
        draft = encode_catalog(self.catalog())
        # A catalog too large to be read back is found out before anything is sent, not by a restore.
        if len(draft) + len(self._request.inventory.files) * _DIGEST_CHARACTERS > CATALOG_LIMIT_BYTES:
            raise ProtocolError(
                f"{self._layout.database} has {len(self._request.inventory.files)} files:"
                f" their catalog would be larger than {CATALOG_LIMIT_BYTES} bytes",
                hint="a larger target_file_size_base in the application makes fewer files",
            )
        leftover = self._before.leftover
        self._destination.make_folder(self._layout.generations)
        if leftover is None:
            self._destination.make_folder(self._upload_folder)
        else:
            if leftover.id != self._generation:
                self._destination.rename(self._layout.upload(leftover.id), self._upload_folder)
            self._remove_unwanted(leftover)
        # From here on a file under its final name is what this draft says, or is not there.
        self._destination.write_bytes(self._upload_folder / CATALOG_NAME, draft)

    def reuse(self) -> None:
        """Link and copy what the destination has already."""
        self._destination.link([Link(item.source, self._target(item.file.name)) for item in self._plan.link])
        logs = [item for item in self._plan.copy if item.file.kind is FileKind.WAL]
        others = [item for item in self._plan.copy if item.file.kind is not FileKind.WAL]
        self._destination.copy([Link(item.source, self._target(item.file.name)) for item in others])
        # What is shipped to the source meanwhile makes it longer: exactly the first bytes are copied.
        self._upload(
            [Send(item.file, Prefix(item.source, item.file.size_bytes)) for item in logs], _Silent(self.transfer)
        )

    def upload(self) -> None:
        """Send the rest."""
        self._upload(self._plan.send, self.transfer)

    def write_catalog(self) -> None:
        """Check that everything is there, and describe it."""
        self._take_missing_digests()
        catalog = self.catalog()
        findings = compare_with_listing(catalog, folder_sizes(self._destination, self._upload_folder))
        findings += [Finding(file.name, "has no digest") for file in catalog.files if file.sha256 is None]
        if findings:
            raise ProtocolError(
                f"{self._destination.label}: {self._upload_folder} does not hold what was stored in it: "
                + "; ".join(str(finding) for finding in findings),
                hint="nothing was published; is something else writing to that folder?",
            )
        self._destination.write_bytes(self._upload_folder / CHECKSUMS_NAME, encode_checksums(catalog))
        self._destination.write_bytes(self._upload_folder / CATALOG_NAME, encode_catalog(catalog))

    def complete(self) -> None:
        """Make it a generation."""
        meanwhile = set(generation_ids(self._destination, self._layout.generations)) - set(self._before.ids)
        if meanwhile:
            raise WrongWriterError(
                f"{self._destination.label}: another writer published generation {max(meanwhile)} of"
                f" {self._layout.database} in the meantime",
                hint="two hosts write to this folder; stop one of them",
            )
        self._destination.rename(self._upload_folder, self._layout.generation(self._generation))

    def flip_previous(self) -> None:
        """Let `checkpoint_prev` name what `checkpoint_current` names still."""
        if self._before.current is not None:
            self._destination.point_link(self._layout.previous_link, link_text(self._before.current))

    def flip_current(self) -> None:
        """Let `checkpoint_current` name the new generation."""
        self._destination.point_link(self._layout.current_link, link_text(self._generation))

    def retire(self) -> tuple[str, ...]:
        """Take generations that need not be kept out of the way, each by one rename: it is whole, or gone."""
        try:
            linked = set(linked_generations(self._destination, self._layout).values())
            doomed = generations_to_drop(
                [*self._before.ids, self._generation], self._request.keep, protected={self._generation, *linked}
            )
            for generation in doomed:
                self._destination.rename(self._layout.generation(generation), self._layout.upload(generation))
        except DestinationError as error:
            return (f"old generations could not be retired: {error}",)
        return ()

    def clean(self) -> tuple[str, ...]:
        """Remove what was retired, and uploads that were never finished."""
        try:
            for leftover in generation_ids(self._destination, self._layout.incoming):
                self._destination.remove_tree(self._layout.upload(leftover))
        except DestinationError as error:
            return (f"{self._layout.incoming} could not be emptied: {error}",)
        return ()

    # --- parts ---------------------------------------------------------------------------------------

    def _target(self, name: str) -> PurePosixPath:
        return self._upload_folder / name

    def _upload(self, items: Iterable[Send], observer: TransferObserver) -> None:
        self._destination.upload(
            [
                Upload(
                    source=self._request.folder / item.file.name,
                    target=self._target(item.file.name),
                    size_bytes=item.file.size_bytes,
                    prefix=item.prefix,
                )
                for item in items
            ],
            observer,
        )

    def _remove_unwanted(self, leftover: Leftover) -> None:
        kept = {item.file.name for item in self._plan.keep} | {CATALOG_NAME}
        for name in leftover.names - kept:
            self._destination.remove_tree(self._upload_folder / name)

    def _take_missing_digests(self) -> None:
        """Digest our own copy of what an earlier try has sent: it was the same file."""
        for item in self._plan.keep:
            if item.sha256 is None:
                if self.transfer.stop_requested():
                    raise InterruptedTransferError(f"stopped before the digest of {item.file.name}")
                size = item.file.size_bytes
                self.transfer.digests[item.file.name] = sha256_of_prefixes(
                    self._request.folder / item.file.name, (size,)
                )[size]
