"""One publish under way: a method for each step that changes something. Their order is `publish`'s business."""

from __future__ import annotations

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
from replicator.replica.generations import folder_sizes, generation_ids
from replicator.replica.layout import CATALOG_NAME, CHECKSUMS_NAME, DRAFT_NAME, ReplicaLayout, link_text
from replicator.replica.local_digest import sha256_of_prefixes
from replicator.replica.observing import RememberingObserver, SilentObserver
from replicator.replica.plan import Send
from replicator.replica.tidying import clean, retire
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.replica.decision import Decision
    from replicator.replica.inspect_replica import Leftover
    from replicator.replica.layout import GenerationId
    from replicator.replica.memory import ReplicaMemory
    from replicator.rocksdb.inventory import DatabaseFile

_DIGEST_CHARACTERS = 64


class Publication:
    """Makes a generation of what was decided on, step by step."""

    def __init__(
        self, decision: Decision, destination: Destination, observer: TransferObserver, memory: ReplicaMemory
    ) -> None:
        self._request = decision.request
        self._before = decision.replica
        self.generation = decision.generation
        self.plan = decision.plan
        self._log_digests = decision.log_digests
        self._destination = destination
        self._memory = memory
        self._layout = ReplicaLayout(decision.request.database)
        self._upload_folder = self._layout.upload(decision.generation)
        self._retired: tuple[GenerationId, ...] = ()
        self.transfer = RememberingObserver(observer)

    def catalog(self) -> Catalog:
        """Describe the generation with the digests known so far."""
        plan = self.plan
        known = {name: digests[max(digests)] for name, digests in self._log_digests.by_name.items()}
        known |= {item.file.name: item.sha256 for item in plan.keep if item.sha256}
        known |= {item.file.name: item.sha256 for item in (*plan.link, *plan.copy)}
        known |= self.transfer.digests
        others = [item.file for item in plan.keep]
        others += [item.file for item in (*plan.link, *plan.copy)]
        others += [item.file for item in plan.send]
        described = (self._described(file, known.get(file.name)) for file in others)
        return self._catalog_of((*plan.seeded, *described))

    def _catalog_of(self, files: tuple[CatalogFile, ...]) -> Catalog:
        inventory = self._request.inventory
        return Catalog(
            generation=self.generation,
            captured_at=self._request.captured_at,
            writer=self._request.writer,
            rocksdb_version=inventory.rocksdb_version,
            column_families=inventory.column_families,
            manifest_name=inventory.manifest_name,
            files=files,
        )

    def _described(self, file: DatabaseFile, sha256: str | None) -> CatalogFile:
        described = CatalogFile(file.name, file.kind, file.size_bytes, file.identity, sha256)
        known = self._memory.files.get(file.name)
        return known if known == described else described

    def prepare(self) -> None:
        """Make the folder, or take over what is there for it, and note in it what will be there."""
        catalog = self.catalog()
        draft = encode_catalog(catalog, self._memory.lines)
        # A catalog too large to be read back is found out before anything is sent, not by a restore.
        if len(draft) + len(catalog.files) * _DIGEST_CHARACTERS > CATALOG_LIMIT_BYTES:
            raise ProtocolError(
                f"{self._layout.database} has {len(catalog.files)} files:"
                f" their catalog would be larger than {CATALOG_LIMIT_BYTES} bytes",
                hint="a larger target_file_size_base in the application makes fewer files",
            )
        leftover = self._before.leftover
        if not self._before.is_recalled:
            self._destination.make_folder(self._layout.generations)
        if leftover is None:
            self._destination.make_folder(self._upload_folder)
        else:
            if leftover.id != self.generation:
                self._destination.rename(self._layout.upload(leftover.id), self._upload_folder)
            self._remove_unwanted(leftover)
        # From here on a file under its final name is what the draft says, or is not there.
        if self.plan.seeded:
            # Of what is in the folder already the seed's catalog tells.
            added = self._catalog_of(catalog.files[len(self.plan.seeded) :])
            self._destination.write_bytes(self._upload_folder / DRAFT_NAME, encode_catalog(added))
        else:
            self._destination.write_bytes(self._upload_folder / CATALOG_NAME, draft)
            if leftover is not None:
                self._destination.remove_files([self._upload_folder / DRAFT_NAME])

    def reuse(self) -> None:
        """Link and copy what the destination has already."""
        self._destination.link([Link(item.source, self._target(item.file.name)) for item in self.plan.link])
        logs = [item for item in self.plan.copy if item.file.kind is FileKind.WAL]
        others = [item for item in self.plan.copy if item.file.kind is not FileKind.WAL]
        self._destination.copy([Link(item.source, self._target(item.file.name)) for item in others])
        # What is shipped to the source meanwhile makes it longer: exactly the first bytes are copied.
        self._upload(
            [Send(item.file, Prefix(item.source, item.file.size_bytes)) for item in logs],
            SilentObserver(self.transfer),
        )

    def upload(self) -> None:
        """Send the rest."""
        self._upload(self.plan.send, self.transfer)

    def write_catalog(self) -> None:
        """Check that everything is there, and describe it."""
        self._take_missing_digests()
        catalog = self.catalog()
        findings = [Finding(file.name, "has no digest") for file in catalog.files if file.sha256 is None]
        if not self._is_sure():
            findings += compare_with_listing(catalog, folder_sizes(self._destination, self._upload_folder))
        if findings:
            raise ProtocolError(
                f"{self._destination.label}: {self._upload_folder} does not hold what was stored in it: "
                + "; ".join(str(finding) for finding in findings),
                hint="nothing was published; is something else writing to that folder?",
            )
        self._destination.write_bytes(self._upload_folder / CHECKSUMS_NAME, encode_checksums(catalog))
        self._destination.write_bytes(
            self._upload_folder / CATALOG_NAME, encode_catalog(catalog, self._memory.lines)
        )
        if self.plan.seeded:
            self._destination.remove_files([self._upload_folder / DRAFT_NAME])

    def complete(self) -> None:
        """Make it a generation."""
        meanwhile = set(generation_ids(self._destination, self._layout.generations)) - set(self._before.ids)
        if meanwhile:
            raise WrongWriterError(
                f"{self._destination.label}: another writer published generation {max(meanwhile)} of"
                f" {self._layout.database} in the meantime",
                hint="two hosts write to this folder; stop one of them",
            )
        self._destination.rename(self._upload_folder, self._layout.generation(self.generation))

    def flip_previous(self) -> None:
        """Let `checkpoint_prev` name what `checkpoint_current` names still."""
        if self._before.current is not None:
            self._destination.point_link(self._layout.previous_link, link_text(self._before.current))

    def flip_current(self) -> None:
        """Let `checkpoint_current` name the new generation."""
        self._destination.point_link(self._layout.current_link, link_text(self.generation))

    def retire(self) -> tuple[str, ...]:
        """Take generations that need not be kept out of the way; return what went wrong."""
        try:
            self._retired = retire(
                self._destination, self._layout, (*self._before.ids, self.generation), self._request.keep
            )
        except DestinationError as error:
            return (f"old generations could not be retired: {error}",)
        return ()

    def clean(self) -> tuple[str, ...]:
        """Remove what was retired, and uploads that were never finished; remember what is left.

        Return what went wrong.
        """
        catalog = self.catalog()
        newest = self._before.newest
        continued = {file.name for file in self.plan.seeded} | {item.file.name for item in self.plan.link}
        since = self._memory.shared_since(catalog, continued, newest.generation if newest else None)
        try:
            retired = self._retired if self._memory.wants_seeds else ()
            seed = clean(self._destination, self._layout, catalog, since=since, retired=retired)
        except DestinationError as error:
            return (f"{self._layout.incoming} could not be emptied: {error}",)
        ids = tuple(known for known in (*self._before.ids, self.generation) if known not in self._retired)
        self._memory.remember(self._destination, catalog, ids=ids, since=since, seed=seed)
        return ()

    # --- parts ---------------------------------------------------------------------------------------

    def _is_sure(self) -> bool:
        """Whether all that can be in the folder was put or seen there over this connection."""
        return self._before.is_recalled and self._memory.is_same_session(self._destination)

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
        kept = {item.file.name for item in self.plan.keep} | {file.name for file in self.plan.seeded}
        unwanted = leftover.names - kept - {CATALOG_NAME, DRAFT_NAME}
        if self._before.is_recalled:
            self._destination.remove_files([self._target(name) for name in unwanted])
        else:
            for name in unwanted:
                self._destination.remove_tree(self._target(name))

    def _take_missing_digests(self) -> None:
        """Digest our own copy of what an earlier try has sent: it was the same file."""
        for item in self.plan.keep:
            if item.sha256 is None:
                if self.transfer.stop_requested():
                    raise InterruptedTransferError(f"stopped before the digest of {item.file.name}")
                size = item.file.size_bytes
                self.transfer.digests[item.file.name] = sha256_of_prefixes(
                    self._request.folder / item.file.name, (size,)
                )[size]
