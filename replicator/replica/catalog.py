"""The catalog of a generation, `replica.json`: every file with its kind, size, identity and SHA-256.

Pure. Also the text of `SHA256SUMS`. While a generation is put together, its folder holds a *draft*: the same
document in which digests are still missing; it tells the next try what the finished files are. A catalog that
was read is untrusted: `decode_catalog` refuses whatever would be unsafe to act on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from replicator.errors import DamageError, ProtocolError
from replicator.replica.growing_logs import growing_logs
from replicator.replica.layout import (
    CATALOG_NAME,
    CHECKSUMS_NAME,
    GenerationId,
    parse_database_file,
    wal_number,
)
from replicator.rocksdb.filenames import CURRENT_NAME, FileKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = 1

#: More than this is not read from a destination: enough for about 200 000 files.
CATALOG_LIMIT_BYTES = 64 << 20

_SIZE_LIMIT_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Writer:
    """Who publishes a replica: only one writer may, unless another takes over."""

    host: str
    database_path: str
    database_id: str

    def __str__(self) -> str:
        # Part of what may come from a destination: repr keeps control characters off the terminal.
        return f"host {self.host!r}, database {self.database_path!r} (id {self.database_id!r})"


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One file of a generation; `sha256` (lower-case hex) is None only in a draft."""

    name: str
    kind: FileKind
    size_bytes: int
    identity: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a generation holds, and where it came from."""

    generation: GenerationId
    captured_at: datetime
    writer: Writer
    rocksdb_version: str
    column_families: tuple[str, ...]
    manifest_name: str
    files: tuple[CatalogFile, ...]

    @property
    def size_bytes(self) -> int:
        """Sum of all sizes."""
        return sum(file.size_bytes for file in self.files)

    @property
    def newest_log_number(self) -> int:
        """The number of the newest write-ahead log; -1 without one."""
        numbers = (wal_number(file.name) for file in self.files if file.kind is FileKind.WAL)
        return max((number for number in numbers if number is not None), default=-1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one file of a generation."""

    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name if self.name.isprintable() else repr(self.name)} {self.problem}"


class FileLines:
    """What catalogs say of files, a line for each: it is put into words once, as long as it stays the same."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[CatalogFile, str]] = {}

    def of(self, files: Iterable[CatalogFile]) -> list[str]:
        """Return a line for each of the files; those of others are forgotten."""
        known = self._lines
        lines: dict[str, tuple[CatalogFile, str]] = {}
        for file in files:
            line = known.get(file.name)
            lines[file.name] = line if line and line[0] is file else (file, _line(file))
        self._lines = lines
        return [line for _, line in lines.values()]


def encode_catalog(catalog: Catalog, lines: FileLines | None = None) -> bytes:
    """Write a catalog, or a draft, as JSON; `lines` are those of the one before, if there was one."""
    document = {
        "format": FORMAT,
        "generation": str(catalog.generation),
        "captured_at": catalog.captured_at.astimezone(UTC).isoformat(),
        "writer": {
            "host": catalog.writer.host,
            "database_path": catalog.writer.database_path,
            "database_id": catalog.writer.database_id,
        },
        "rocksdb_version": catalog.rocksdb_version,
        "column_families": list(catalog.column_families),
        "manifest": catalog.manifest_name,
        "total_files": len(catalog.files),
        "total_bytes": catalog.size_bytes,
    }
    head = json.dumps(document, indent=1).removesuffix("\n}")
    files = ",\n".join((lines or FileLines()).of(catalog.files))
    return f'{head},\n "files": [\n{files}\n ]\n}}\n'.encode("ascii")


def _line(file: CatalogFile) -> str:
    document = {
        "name": file.name,
        "kind": file.kind.value,
        "size_bytes": file.size_bytes,
        "identity": file.identity,
        "sha256": file.sha256,
    }
    return f"  {json.dumps(document)}"


def decode_catalog(data: bytes) -> Catalog:
    """Read the catalog of a complete generation.

    Raises `DamageError` for one that is malformed, contradicts itself, names a file that no database has, or
    is only a draft, and `ProtocolError` for a format that a later version of this program wrote.
    """
    catalog = decode_draft(data)
    unfinished = [file.name for file in catalog.files if file.sha256 is None]
    if unfinished:
        raise DamageError(f"the catalog is a draft: {len(unfinished)} files have no SHA-256")
    return catalog


def decode_draft(data: bytes) -> Catalog:
    """Read a catalog or a draft; errors as in `decode_catalog`."""
    try:
        version = _Envelope.model_validate_json(data).format
        if version != FORMAT:
            raise ProtocolError(
                f"the catalog has format {version}; this version reads format {FORMAT}",
                hint="use the version of replicator that wrote it, or a later one",
            )
        document = _Document.model_validate_json(data)
    except ValidationError as error:
        raise DamageError(f"the catalog is damaged: {_first_problem(error)}") from error
    catalog = document.to_catalog()
    _check(catalog, document)
    return catalog


def encode_checksums(catalog: Catalog) -> bytes:
    """Write `SHA256SUMS`: `sha256sum -c SHA256SUMS` in the folder of the generation checks its files.

    All but the write-ahead log, or two, that may grow by what is shipped afterwards: their first bytes are for
    `verify` to check.
    """
    growing = growing_logs({file.name: file.size_bytes for file in catalog.files if file.kind is FileKind.WAL})
    lines = (f"{file.sha256}  {file.name}\n" for file in catalog.files if file.name not in growing)
    return "".join(lines).encode("ascii")


def compare_with_listing(catalog: Catalog, sizes: Mapping[str, int | None]) -> list[Finding]:
    """Say where a folder's listing (name to size in bytes, None for what is no plain file) is not the catalog's.

    What may have been shipped since is no finding: a write-ahead log that is longer than its catalog says, and
    logs that are newer than all in the catalog. Nor are names that RocksDB does not read: opening a generation to
    look at it leaves a LOG behind.
    """
    findings = []
    for file in catalog.files:
        size_bytes = sizes.get(file.name)
        if size_bytes is None:
            findings.append(Finding(file.name, "is missing" if file.name not in sizes else "is not a plain file"))
        elif size_bytes != file.size_bytes and (file.kind is not FileKind.WAL or size_bytes < file.size_bytes):
            findings.append(Finding(file.name, f"has {size_bytes} bytes, expected {file.size_bytes}"))
    expected = {file.name for file in catalog.files} | {CATALOG_NAME, CHECKSUMS_NAME}
    unexpected = sorted(name for name in sizes.keys() - expected if parse_database_file(name))
    newest_log = catalog.newest_log_number
    for name in unexpected:
        number = wal_number(name)
        if number is None or number <= newest_log:
            findings.append(Finding(name, "is not in the catalog"))
    return findings


def _check(catalog: Catalog, document: _Document) -> None:
    kinds: dict[str, FileKind] = {}
    for file in catalog.files:
        if file.name in kinds:
            raise DamageError(f"the catalog is damaged: it names {file.name} twice")
        kinds[file.name] = file.kind
    if CURRENT_NAME not in kinds or kinds.get(catalog.manifest_name) is not FileKind.MANIFEST:
        raise DamageError("the catalog is damaged: CURRENT or the MANIFEST is not among its files")
    if (document.total_files, document.total_bytes) != (len(kinds), catalog.size_bytes):
        raise DamageError("the catalog is damaged: its totals are not those of its files")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where or 'document'}: {problem['msg']}"


def _parse_id(text: str) -> str:
    GenerationId.parse(text)
    return text


class _Envelope(BaseModel):
    format: int


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _File(_Part):
    name: str
    kind: FileKind
    size_bytes: Annotated[int, Field(ge=0, lt=_SIZE_LIMIT_BYTES)]
    identity: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None

    def to_value(self) -> CatalogFile:
        parsed = parse_database_file(self.name)
        if parsed is None:
            raise DamageError(f"the catalog is damaged: {self.name!r} is not the name of a database file")
        if parsed.kind is not self.kind:
            raise DamageError(f"the catalog is damaged: {self.name} is said to be of kind {self.kind.value}")
        return CatalogFile(self.name, self.kind, self.size_bytes, self.identity, self.sha256)


class _Writer(_Part):
    host: str
    database_path: str
    database_id: str


class _Document(_Part):
    format: Literal[1]
    generation: Annotated[str, AfterValidator(_parse_id)]
    captured_at: AwareDatetime
    writer: _Writer
    rocksdb_version: str
    column_families: tuple[str, ...]
    manifest: str
    total_files: int
    total_bytes: int
    files: tuple[_File, ...]

    def to_catalog(self) -> Catalog:
        return Catalog(
            generation=GenerationId.parse(self.generation),
            captured_at=self.captured_at,
            writer=Writer(self.writer.host, self.writer.database_path, self.writer.database_id),
            rocksdb_version=self.rocksdb_version,
            column_families=self.column_families,
            manifest_name=self.manifest,
            files=tuple(file.to_value() for file in self.files),
        )
