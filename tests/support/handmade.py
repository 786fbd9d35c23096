"""A database directory written step by step, as a primary would, so that a test decides what happens when.

No engine reads it. Whether a checkpoint of it is one point in its history shows in its sequence numbers: those
of its tables and logs together must have no gap.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.rocksdb.manifest import ManifestState
from replicator.rocksdb.wal import WalReader
from tests.support import rocksdb_encoding as encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    import pytest

    from replicator.checkpoint.database_folder import ListedFile
    from replicator.rocksdb.manifest import ManifestVersion

_TABLE_MAGIC = 0x88E241B785F4CFF7
TABLE_BYTES = 1000
_LAST_SEQUENCE = 4  # a field of an edit


class HandmadeDatabase:
    """Starts with an empty MANIFEST and no log; `sequence` is that of the last write."""

    def __init__(self, path: Path, *, identity: str = "handmade", recycles: bool = False) -> None:
        self.path = path
        self.sequence = 0
        self._recycles = recycles
        self._logs: dict[int, encode.LogWriter] = {}
        path.mkdir(exist_ok=True)
        if identity:
            (path / "IDENTITY").write_text(identity)
        self.begin_manifest(1, encode.database_id(identity) + encode.log_number(0))

    def begin_manifest(self, number: int, *edits: bytes) -> None:
        """Go on with a new MANIFEST that begins with `edits`, as a rollover does."""
        self._manifest = encode.LogWriter()
        self._manifest_path = self.path / f"MANIFEST-{number:06d}"
        self._manifest_path.touch()
        self.edit(*edits)
        temporary = self.path / f"{number:06d}.dbtmp"
        temporary.write_text(f"{self._manifest_path.name}\n")
        temporary.rename(self.path / "CURRENT")

    def edit(self, *edits: bytes) -> None:
        """Append edits to the MANIFEST, each as a record."""
        start = len(self._manifest.content)
        for edit in edits:
            self._manifest.add(edit)
        with self._manifest_path.open("ab") as file:
            file.write(self._manifest.content[start:])

    def create_wal(self, number: int, *, recycled_from: int | None = None) -> None:
        """Begin a log; with `recycled_from` in the file of an older one."""
        self._logs[number] = encode.LogWriter(number if self._recycles else None)
        if recycled_from is None:
            self.wal_path(number).touch()
        else:
            self.wal_path(recycled_from).rename(self.wal_path(number))

    def write(self, wal: int, *, count: int = 1, body: bytes = b"") -> None:
        """Write batches of one entry each to a log, where its last one ends."""
        log = self._logs[wal]
        start = len(log.content)
        for _ in range(count):
            self.sequence += 1
            log.add(encode.batch(self.sequence, 1, body))
        with self.wal_path(wal).open("r+b") as file:
            file.seek(start)
            file.write(log.content[start:])

    def flush(
        self, table: int, sequences: tuple[int, int], log_number: int, *, size_bytes: int = TABLE_BYTES
    ) -> None:
        """Make a table of these sequence numbers; logs below `log_number` are not needed any more."""
        self.write_table(table, size_bytes)
        self.edit(
            encode.new_table(table, size_bytes=size_bytes, sequences=sequences)
            + encode.log_number(log_number)
            + encode.min_log_number(log_number)
            + encode.number_field(_LAST_SEQUENCE, sequences[1])
        )

    def write_table(self, number: int, size_bytes: int = TABLE_BYTES) -> None:
        """Write the file of a table, of which the MANIFEST does not know yet."""
        self.table_path(number).write_bytes(bytes(size_bytes - 8) + struct.pack("<Q", _TABLE_MAGIC))

    def delete_wals(self, *numbers: int) -> None:
        """Delete obsolete logs."""
        for number in numbers:
            self.wal_path(number).unlink()

    def wal_path(self, number: int) -> Path:
        """Where a log is."""
        return self.path / f"{number:06d}.log"

    def table_path(self, number: int) -> Path:
        """Where a table is."""
        return self.path / f"{number:06d}.sst"

    @property
    def manifest_path(self) -> Path:
        """Where the MANIFEST is."""
        return self._manifest_path


@dataclass(frozen=True)
class Held:
    """What a checkpoint of a handmade database holds."""

    version: ManifestVersion
    tables: set[int]
    wals: set[int]
    sequences: list[int]

    @property
    def is_one_point(self) -> bool:
        """Whether it holds every write up to some write, and no other."""
        return self.sequences == list(range(1, len(self.sequences) + 1)) and self.tables == set(
            self.version.tables
        )


def read_held(folder: Path) -> Held:
    """Read a checkpoint as RocksDB's recovery would."""
    state = ManifestState()
    state.feed((folder / (folder / "CURRENT").read_text().strip()).read_bytes())
    version = state.snapshot()
    sequences = {
        sequence
        for table in version.tables.values()
        for sequence in range(table.smallest_sequence, table.largest_sequence + 1)
    }
    wals = {int(path.stem) for path in folder.glob("*.log")}
    for number in wals:
        reader = WalReader(number)
        content = (folder / f"{number:06d}.log").read_bytes()
        batches = reader.feed(content)
        assert reader.end_offset == len(content), "a checkpoint's log ends with a whole record"
        if number >= version.lowest_needed_wal:
            sequences.update(struct.unpack_from("<Q", content)[0] for content in batches)
    return Held(version, {int(path.stem) for path in folder.glob("*.sst")}, wals, sorted(sequences))


class Calls:
    """Lets things happen before or after the n-th call (from 1) of a method of the code under test.

    Where two programs race, this is how a test makes one of them win.
    """

    def __init__(self, patch: pytest.MonkeyPatch, owner: type | ModuleType, name: str) -> None:
        self.count = 0
        self._before: dict[int, Callable[[], None]] = {}
        self._after: dict[int, Callable[[], None]] = {}
        original = getattr(owner, name)

        def call(*arguments: object, **keywords: object) -> object:
            self.count += 1
            number = self.count
            self._before.get(number, _nothing)()
            result = original(*arguments, **keywords)
            self._after.get(number, _nothing)()
            return result

        patch.setattr(owner, name, call)

    def before(self, number: int, action: Callable[[], None]) -> None:
        """Do `action` before the call."""
        self._before[number] = action

    def after(self, number: int, action: Callable[[], None]) -> None:
        """Do `action` after the call."""
        self._after[number] = action


def overlook(  # noqa: PLR0913 - what happens, when, and what is seen of it
    patch: pytest.MonkeyPatch,
    owner: type,
    *,
    call: int,
    meanwhile: Callable[[], None],
    overlooked: str,
    method: str = "list_files",
) -> None:
    """During the n-th listing (from 1) let `meanwhile` happen, of which the listing shows all but one file."""
    original = getattr(owner, method)
    calls = 0

    def list_files(self: object, folder: Path) -> Iterator[ListedFile]:
        nonlocal calls
        calls += 1
        if calls == call:
            meanwhile()
            return (file for file in original(self, folder) if file.name.name != overlooked)
        return iter(original(self, folder))

    patch.setattr(owner, method, list_files)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    """Change bytes of a file in place."""
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), content, offset)


def _nothing() -> None:
    pass
