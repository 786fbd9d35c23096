"""Tidying up after a publish: generations that need not be kept are retired, one of them is the seed of the next.

A retired generation is renamed out of `generations/`, so that it is whole, or gone. Most of its files are those of
the new one: rather than to remove so many names and to make as many again, they are left where the next
generation is put together. The seed takes no space: nothing stays in it but what the current generation has too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.replica.generations import generation_ids, linked_generations
from replicator.replica.layout import CATALOG_NAME
from replicator.replica.memory import Seed
from replicator.replica.retention import generations_to_drop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Catalog
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.retention import KeepPolicy


def retire(
    destination: Destination, layout: ReplicaLayout, ids: Iterable[GenerationId], keep: KeepPolicy
) -> tuple[GenerationId, ...]:
    """Take generations that need not be kept out of the way, each by one rename; return them, oldest first.

    `ids` are all that there are, the newest was just published. Raises `DestinationError`.
    """
    known = tuple(ids)
    linked = linked_generations(destination, layout).values()
    doomed = generations_to_drop(known, keep, protected={max(known), *linked})
    for generation in doomed:
        destination.rename(layout.generation(generation), layout.upload(generation))
    return doomed


def clean(
    destination: Destination,
    layout: ReplicaLayout,
    catalog: Catalog,
    *,
    since: Mapping[str, GenerationId],
    retired: Iterable[GenerationId],
) -> Seed | None:
    """Remove what was retired, and uploads that were never finished, all but a seed; return that.

    `catalog` is that of the current generation; `since` says since which generation each of its tables and blob
    files has been in all. Raises `DestinationError`.
    """
    oldest = min(since.values(), default=None)
    candidate = max(retired, default=None)
    if oldest is None or candidate is None or candidate < oldest or not destination.capabilities().hard_link:
        candidate = None
    seed = None
    for leftover in generation_ids(destination, layout.incoming):
        if leftover == candidate:
            seed = _make_seed(destination, layout, leftover, catalog, since)
        if seed is None or leftover != candidate:
            destination.remove_tree(layout.upload(leftover))
    return seed


def _make_seed(
    destination: Destination,
    layout: ReplicaLayout,
    retired: GenerationId,
    catalog: Catalog,
    since: Mapping[str, GenerationId],
) -> Seed | None:
    """Leave nothing in a retired generation but its catalog and what is current; None if that is no use."""
    folder = layout.upload(retired)
    sizes = {}
    for entry in destination.list_folder(folder):
        if entry.kind is not EntryKind.FILE:
            return None
        sizes[entry.name] = entry.size_bytes
    shared = {name for name, first in since.items() if first <= retired}
    files = {
        file.name: file
        for file in catalog.files
        if file.name in shared and sizes.get(file.name) == file.size_bytes
    }
    if CATALOG_NAME not in sizes or not files:
        return None
    destination.remove_files([folder / name for name in sizes if name not in files and name != CATALOG_NAME])
    (found,) = destination.look_up([folder])
    return Seed(retired, files, found.modified_seconds) if found else None
