"""Checkpoints made of arbitrary bytes, and checks on what lies at a destination in a local folder."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.destination.directory import DirectoryDestination
from replicator.replica.catalog import Catalog, Writer, decode_catalog
from replicator.replica.decision import PublishRequest
from replicator.replica.layout import CATALOG_NAME, CHECKSUMS_NAME, parse_database_file
from replicator.replica.publish import publish
from replicator.replica.retention import KeepPolicy
from replicator.rocksdb.filenames import FileKind
from replicator.rocksdb.inventory import DatabaseFile, Inventory
from tests.support.observer import RecordingObserver

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "chat"
DATABASE_ID = "11f3e7a1-0000-4000-8000-000000000001"
WRITER = Writer("alpha", "/var/lib/chat", DATABASE_ID)
BEGINNING = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
ALWAYS_SENT = {"CURRENT", "IDENTITY", "MANIFEST-000004", "OPTIONS-000007"}

_IDENTIFIED = {FileKind.TABLE, FileKind.BLOB}


class FakePrimary:
    """A folder of files named as RocksDB names them, whose contents only the tests understand."""

    def __init__(self, folder: Path, *, seed: int = 1, table_bytes: int = 20_000) -> None:
        folder.mkdir()
        self.folder = folder
        self._random = random.Random(seed)
        self._table_bytes = table_bytes
        self._identities: dict[str, str] = {}
        self._ticks = 0
        for number in (10, 11, 12):
            self.add_table(number)
        self.write("000013.blob", self._random.randbytes(table_bytes))
        self.write("000008.log", self._random.randbytes(5_000))
        self.write("000014.log", self._random.randbytes(3_000))
        self.write("MANIFEST-000004", self._random.randbytes(700))
        self.write("CURRENT", b"MANIFEST-000004\n")
        self.write("IDENTITY", DATABASE_ID.encode())
        self.write("OPTIONS-000007", self._random.randbytes(300))

    def add_table(self, number: int) -> None:
        self.write(f"{number:06d}.sst", self._random.randbytes(self._table_bytes))

    def write(self, name: str, content: bytes) -> None:
        """Make a file anew: it gets an identity of its own."""
        (self.folder / name).write_bytes(content)
        self._identities[name] = hashlib.sha256(content).hexdigest()[:16]

    def append(self, name: str, size_bytes: int) -> bytes:
        """Make a log grow; return what it grew by."""
        data = self._random.randbytes(size_bytes)
        with (self.folder / name).open("ab") as file:
            file.write(data)
        return data

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def inventory(self) -> Inventory:
        files = []
        for path in sorted(self.folder.iterdir()):
            parsed = parse_database_file(path.name)
            assert parsed is not None
            identity = self._identities[path.name] if parsed.kind in _IDENTIFIED else ""
            files.append(DatabaseFile(path.name, parsed.kind, path.stat().st_size, identity))
        return Inventory(DATABASE_ID, "MANIFEST-000004", tuple(files), ("default", "events"), "11.9.0")

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def request(
        self, *, writer: Writer = WRITER, keep: KeepPolicy | None = None, take_over: bool = False
    ) -> PublishRequest:
        """Describe the present state as a checkpoint, one minute later than the one before."""
        self._ticks += 1
        return PublishRequest(
            database=DATABASE,
            folder=self.folder,
            inventory=self.inventory(),
            captured_at=BEGINNING + timedelta(minutes=self._ticks),
            writer=writer,
            keep=keep or KeepPolicy(last=10),
            take_over=take_over,
        )


def publish_database(base: Path, database: Path) -> Path:
    """Publish a database that nobody has open; return the generation."""
    checkpoint = inspect_checkpoint(database)
    request = PublishRequest(
        database=DATABASE,
        folder=database,
        inventory=checkpoint.inventory,
        captured_at=datetime.fromtimestamp(checkpoint.captured_at_seconds, UTC),
        writer=Writer("alpha", str(database), checkpoint.inventory.database_id),
    )
    publish(request, directory(base), RecordingObserver())
    return current_generation(base)


def flip_bit(path: Path) -> None:
    """Damage a file, and none that shares its inode."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def directory(base: Path) -> DirectoryDestination:
    base.mkdir(exist_ok=True)
    return DirectoryDestination(base, label=f"file://{base}")


def current_generation(base: Path) -> Path:
    return (base / DATABASE / "checkpoint_current").resolve(strict=True)


def sound_catalog(generation: Path) -> Catalog:
    """Return the catalog of a generation after checking every file of it."""
    catalog = decode_catalog((generation / CATALOG_NAME).read_bytes())
    assert str(catalog.generation) == generation.name
    expected = {file.name for file in catalog.files} | {CATALOG_NAME, CHECKSUMS_NAME}
    assert {path.name for path in generation.iterdir()} == expected
    for file in catalog.files:
        content = (generation / file.name).read_bytes()
        assert len(content) == file.size_bytes
        assert hashlib.sha256(content).hexdigest() == file.sha256, file.name
    return catalog


def database_files(generation: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in generation.iterdir()
        if path.name not in {CATALOG_NAME, CHECKSUMS_NAME}
    }
