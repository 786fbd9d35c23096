"""Verifying a generation: is every file there, is it what the catalog says, does it make sense to RocksDB.

Never stops at the first finding. Tables and blob files are read for their SHA-256 and stored nowhere; MANIFEST
and write-ahead logs are fetched to a temporary folder, one at a time, and their records are read too. What was
shipped is read up to the newest state: each one before it must be sound as well, and what follows is an append
under way.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.destination.interface import Download
from replicator.errors import (
    AuthenticationError,
    DamageError,
    HostKeyError,
    NotFoundError,
    PermanentDestinationError,
)
from replicator.replica.catalog import Finding, compare_with_listing, encode_checksums
from replicator.replica.generations import read_catalog, read_contents
from replicator.replica.layout import CATALOG_NAME, CHECKSUMS_NAME
from replicator.replica.local_digest import sha256_of_prefixes
from replicator.replica.shipped import SHIPPED_NAME, newest_state
from replicator.replica.structure import check_manifest, check_wal
from replicator.rocksdb.filenames import CURRENT_NAME, FileKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination, TransferObserver
    from replicator.errors import SourceError
    from replicator.replica.catalog import Catalog, CatalogFile
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import ShippedLine

_LOG_KINDS = frozenset({FileKind.MANIFEST, FileKind.WAL})


@dataclass(frozen=True, slots=True)
class Verified:
    """The result for one generation; sound if there are no `findings`. `size_bytes` is what was read."""

    generation: GenerationId
    files: int
    size_bytes: int
    findings: tuple[Finding, ...]


def verify_generation(
    destination: Destination, layout: ReplicaLayout, generation: GenerationId, observer: TransferObserver
) -> Verified:
    """Read all of a generation and say what is wrong with it.

    Raises `NotFoundError` if there is no such generation, `TransientDestinationError`, `InterruptedTransferError`,
    and `ProtocolError` for a catalog that is too large or of an unknown format.
    """
    try:
        catalog = read_catalog(destination, layout, generation)
    except DamageError as error:
        # A generation that is not there has no damage.
        destination.list_folder(layout.generation(generation))
        return Verified(generation, 0, 0, (Finding(CATALOG_NAME, f"cannot be used: {error}"),))
    contents = read_contents(destination, layout, catalog)
    journal = contents.journal
    findings = compare_with_listing(catalog, contents.sizes)
    if journal.problem:
        findings.append(Finding(SHIPPED_NAME, journal.problem))
    unusable = {finding.name for finding in findings}
    reading = _Reading(destination, layout.generation(generation), observer)
    files = newest_state(catalog, journal.lines).files
    present = [file for file in files if file.name not in unusable]
    reading.read_digests([file for file in present if file.kind not in _LOG_KINDS])
    reading.read_logs([file for file in present if file.kind in _LOG_KINDS], catalog, journal.lines)
    reading.read_small_files(catalog)
    return Verified(generation, len(files), reading.bytes_read, (*findings, *reading.findings))


#: Errors that say nothing about the file that was to be read.
_NOT_ABOUT_A_FILE = (AuthenticationError, HostKeyError)


class _Reading:
    """Reads the files of one generation and collects what is wrong with them."""

    def __init__(self, destination: Destination, folder: PurePosixPath, observer: TransferObserver) -> None:
        self._destination = destination
        self._folder = folder
        self._observer = observer
        self._digests: dict[str, str] = {}
        self.bytes_read = 0
        self.findings: list[Finding] = []

    def read_digests(self, files: Sequence[CatalogFile]) -> None:
        """Compare the SHA-256 of files; nothing is stored."""
        try:
            self._download(files, None)
        except _NOT_ABOUT_A_FILE:
            raise
        except PermanentDestinationError:
            # One file cannot be read: find out which, the others still count.
            for file in files:
                if file.name not in self._digests:
                    self._read_alone(file, None)
        self._compare(files)

    def read_logs(self, files: Sequence[CatalogFile], catalog: Catalog, lines: Sequence[ShippedLine]) -> None:
        """Compare the SHA-256 of logs, and of what `lines` tell of them, and read their records."""
        with tempfile.TemporaryDirectory(prefix="replicator-verify-") as scratch:
            for file in files:
                local = Path(scratch) / file.name
                if self._read_alone(file, local) and self._compare([file]):
                    if file.kind is FileKind.MANIFEST:
                        self.findings += check_manifest(file, local, catalog)
                    else:
                        shipped = {line.size_bytes: line.sha256 for line in lines if line.name == file.name}
                        self._compare_prefixes(file, local, shipped)
                        self.findings += check_wal(file, local, shipped)
                local.unlink(missing_ok=True)

    def read_small_files(self, catalog: Catalog) -> None:
        """Compare the contents of CURRENT and of SHA256SUMS, which follow from the catalog."""
        current = f"{catalog.manifest_name}\n".encode("ascii")
        for name, expected in ((CURRENT_NAME, current), (CHECKSUMS_NAME, encode_checksums(catalog))):
            try:
                found = self._destination.read_bytes(self._folder / name, limit_bytes=len(expected))
            except NotFoundError:
                if name != CURRENT_NAME:  # that CURRENT is missing is known from the listing
                    self.findings.append(Finding(name, "is missing"))
            except _NOT_ABOUT_A_FILE:
                raise
            except PermanentDestinationError as error:
                self.findings.append(Finding(name, f"cannot be read: {error}"))
            else:
                if found != expected:
                    self.findings.append(Finding(name, "does not say what follows from the catalog"))

    def _read_alone(self, file: CatalogFile, target: Path | None) -> bool:
        try:
            self._download([file], target)
        except _NOT_ABOUT_A_FILE:
            raise
        except PermanentDestinationError as error:
            self.findings.append(Finding(file.name, f"cannot be read: {error}"))
            return False
        return True

    def _download(self, files: Sequence[CatalogFile], target: Path | None) -> None:
        self._destination.download(
            [Download(self._folder / file.name, target, file.size_bytes) for file in files], self
        )

    def _compare(self, files: Sequence[CatalogFile]) -> bool:
        wrong = [
            Finding(file.name, "does not have the SHA-256 that was recorded for it")
            for file in files
            if self._digests.get(file.name, file.sha256) != file.sha256
        ]
        self.findings += wrong
        return not wrong

    def _compare_prefixes(self, file: CatalogFile, local: Path, shipped: Mapping[int, str]) -> None:
        found = sha256_of_prefixes(local, shipped)
        wrong = [length for length, sha256 in shipped.items() if found[length] != sha256]
        if wrong:
            problem = f"tells of a SHA-256 that the first {wrong[0]} bytes of {file.name} do not have"
            self.findings.append(Finding(SHIPPED_NAME, problem))

    # --- TransferObserver ----------------------------------------------------------------------------

    def bytes_moved(self, count: int) -> None:
        self.bytes_read += count
        self._observer.bytes_moved(count)

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        self._digests[target.name] = sha256
        self._observer.file_done(target, sha256)

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        self._observer.file_skipped(target, error)

    def stop_requested(self) -> bool:
        return self._observer.stop_requested()
