"""What a publish must know of a replica before it begins: who wrote it, and which files can be used again.

Reads only; all that comes back is untrusted, and what cannot be read is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.errors import DamageError, NotFoundError, ProtocolError
from replicator.replica.catalog import CATALOG_LIMIT_BYTES, decode_draft
from replicator.replica.generations import (
    folder_sizes,
    generation_ids,
    linked_generations,
    read_catalog,
    read_contents,
)
from replicator.replica.layout import CATALOG_NAME, DRAFT_NAME
from replicator.replica.plan import Stored, StoredFile
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Catalog, Writer
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import ShippedLine


@dataclass(frozen=True, slots=True)
class Leftover:
    """An upload of ours that broke off, and the names in its folder."""

    id: GenerationId
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Replica:
    """The state of a replica. `newest` is the newest catalog that can be read.

    `taken_ids` are those that a new generation's id must be above. `is_recalled` says that this process left it
    so, and that no more than a few names were looked at again.
    """

    ids: tuple[GenerationId, ...]
    taken_ids: tuple[GenerationId, ...]
    current: GenerationId | None
    newest: Catalog | None
    leftover: Leftover | None
    stored: Stored
    is_recalled: bool = False


def inspect_replica(destination: Destination, layout: ReplicaLayout, writer: Writer) -> Replica:
    """Look at a replica on behalf of `writer`; a folder that does not exist is an empty one."""
    ids = generation_ids(destination, layout.generations)
    uploads = generation_ids(destination, layout.incoming)
    current = linked_generations(destination, layout).get(layout.current_link.name)
    newest = _newest_catalog(destination, layout, ids)
    leftover, uploaded = _leftover(destination, layout, uploads, newest_id=ids[-1] if ids else None, writer=writer)
    return Replica(
        ids=tuple(ids),
        taken_ids=tuple(taken for taken in (*ids, *uploads) if leftover is None or taken != leftover.id),
        current=current if current in ids else None,
        newest=newest,
        leftover=leftover,
        stored=Stored(
            generation=_stored_generation(destination, layout, newest) if newest else {},
            upload=uploaded,
        ),
    )


def _newest_catalog(destination: Destination, layout: ReplicaLayout, ids: list[GenerationId]) -> Catalog | None:
    for generation in reversed(ids):
        try:
            return read_catalog(destination, layout, generation)
        except DamageError:
            continue
    return None


def _stored_generation(destination: Destination, layout: ReplicaLayout, catalog: Catalog) -> dict[str, StoredFile]:
    folder = layout.generation(catalog.generation)
    try:
        contents = read_contents(destination, layout, catalog)
    except ProtocolError:
        # A journal too large to be read must not keep a new generation from being published.
        return stored_files(folder, catalog, folder_sizes(destination, folder))
    return stored_files(folder, catalog, contents.sizes, contents.journal.lines)


def _leftover(
    destination: Destination,
    layout: ReplicaLayout,
    uploads: list[GenerationId],
    *,
    newest_id: GenerationId | None,
    writer: Writer,
) -> tuple[Leftover | None, dict[str, StoredFile]]:
    """Find the newest upload of ours that broke off, and its finished files.

    Ids only rise, so one at or below the newest generation's is a retired generation that waits for its removal.
    """
    for generation in reversed(uploads):
        if newest_id is not None and generation <= newest_id:
            break
        folder = layout.upload(generation)
        draft = _draft(destination, folder)
        if draft is None or draft.writer != writer:
            continue
        sizes = folder_sizes(destination, folder)
        return Leftover(generation, frozenset(sizes)), stored_files(folder, draft, sizes)
    return None, {}


def _draft(destination: Destination, folder: PurePosixPath) -> Catalog | None:
    """Return what the files in the folder of an upload are, if they are there; None if nothing tells."""
    found: Catalog | None = None
    for name in (CATALOG_NAME, DRAFT_NAME):
        try:
            draft = decode_draft(destination.read_bytes(folder / name, limit_bytes=CATALOG_LIMIT_BYTES))
        except NotFoundError:
            continue
        except DamageError:
            return None
        if found is None:
            found = draft
        elif found.writer != draft.writer:
            return None
        else:
            files = {file.name: file for file in (*found.files, *draft.files)}
            found = replace(draft, files=tuple(files.values()))
    return found


def stored_files(
    folder: PurePosixPath,
    catalog: Catalog,
    sizes: Mapping[str, int | None],
    lines: Iterable[ShippedLine] = (),
) -> dict[str, StoredFile]:
    """Return which of the files are there in full: `sizes` is the listing of `folder`, `lines` its journal."""
    stored = {
        file.name: StoredFile(folder / file.name, file.size_bytes, file.identity, file.sha256)
        for file in catalog.files
        if file.kind is not FileKind.WAL and sizes.get(file.name) == file.size_bytes
    }
    prefixes: dict[str, dict[int, str]] = {}
    for file in catalog.files:
        if file.kind is FileKind.WAL and file.sha256:
            prefixes[file.name] = {file.size_bytes: file.sha256}
    for line in lines:
        prefixes.setdefault(line.name, {})[line.size_bytes] = line.sha256
    for name, known in prefixes.items():
        size_bytes = sizes.get(name)
        if size_bytes is not None and size_bytes >= max(known):
            stored[name] = StoredFile(folder / name, size_bytes, "", known.get(size_bytes), known)
    return stored
