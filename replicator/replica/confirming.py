"""A checkpoint in which nothing is new needs no generation: the current one's journal says that it is as new.

A database that rests is the same, minute after minute. A line in the journal of the current generation, which any
restore believes as far as its SHA-256 bears it out, then says what a new generation would say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.errors import NotFoundError, ProtocolError
from replicator.replica.growing import GrowingGeneration, Growth, LogPrefix, Mark
from replicator.replica.layout import ReplicaLayout, wal_number
from replicator.replica.local_digest import sha256_of_prefixes
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.destination.interface import Destination
    from replicator.replica.decision import PublishRequest
    from replicator.replica.layout import GenerationId
    from replicator.replica.memory import Current, ReplicaMemory
    from replicator.rocksdb.inventory import DatabaseFile

_CHUNK_BYTES = 1 << 20


def unchanged_generation(
    request: PublishRequest, destination: Destination, memory: ReplicaMemory
) -> GenerationId | None:
    """Return the current generation, if it was published as exactly what the checkpoint is, and nobody was there.

    Raises `SourceChangedError` if a file of the checkpoint is gone, and what the destination raises.
    """
    if request.take_over:
        return None
    current = memory.current(destination, ReplicaLayout(request.database), request.writer)
    if current is None or not _is_same(request, current):
        return None
    return current.others.generation


def confirm(request: PublishRequest, destination: Destination, memory: ReplicaMemory) -> bool:
    """Say in the journal of the `unchanged_generation` that it is as new as the checkpoint.

    False if there is no log that a line could tell of, or if the journal takes no more. For a generation that is
    not shipped to. Raises what the destination raises.
    """
    logs = [file for file in request.inventory.files if file.kind is FileKind.WAL]
    newest = max(logs, key=lambda file: wal_number(file.name) or 0, default=None)
    generation = memory.generation
    if newest is None or generation is None:
        return False
    growing = memory.journal
    if growing is None:
        prefix = _prefix(request.folder / newest.name, newest)
        growing = GrowingGeneration(ReplicaLayout(request.database), generation, {newest.name: prefix})
        memory.journal = growing
    try:
        growing.extend(destination, Growth(marks=[Mark(request.captured_at, newest.name, newest.size_bytes)]))
    except (NotFoundError, ProtocolError):  # it is not as it was left, or full
        return False
    return True


def _is_same(request: PublishRequest, current: Current) -> bool:
    inventory, others = request.inventory, current.others
    if (inventory.manifest_name, inventory.column_families) != (others.manifest_name, others.column_families):
        return False
    if len(inventory.files) != len(current.files) + len(others.files):
        return False
    published = {file.name: file for file in others.files}
    small = []
    for file in inventory.files:
        there = current.files.get(file.name)
        if there is None:
            small.append(file)
        elif not file.identity or (there.identity, there.size_bytes) != (file.identity, file.size_bytes):
            return False
    for file in small:
        other = published.get(file.name)
        if other is None or other.size_bytes != file.size_bytes:
            return False
    return all(_digest(request.folder / file.name, file) == published[file.name].sha256 for file in small)


def _digest(path: Path, file: DatabaseFile) -> str:
    return sha256_of_prefixes(path, (file.size_bytes,))[file.size_bytes]


def _prefix(path: Path, file: DatabaseFile) -> LogPrefix:
    prefix = LogPrefix()
    with path.open("rb") as log:
        while data := log.read(min(_CHUNK_BYTES, file.size_bytes - prefix.size_bytes)):
            prefix.add(data)
    return prefix
