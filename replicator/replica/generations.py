"""Reading what lies at a destination: which generations there are, what their catalogs say, which links name them.

Everything read here is untrusted; a damaged generation is reported, not fatal. Changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.errors import DamageError, DestinationError, NotFoundError, ProtocolError
from replicator.replica.catalog import (
    CATALOG_LIMIT_BYTES,
    compare_with_listing,
    decode_catalog,
)
from replicator.replica.layout import CATALOG_NAME, parse_id, parse_link_text
from replicator.replica.shipped import (
    SHIPPED_LIMIT_BYTES,
    SHIPPED_NAME,
    judge_journal,
    newest_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Catalog, Writer
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import Journal, ShippedLine

CURRENT = "current"
PREVIOUS = "prev"

_NAMES_SHOWN = 10
_SOUND_HINT = "take another generation; `replicator verify --all` says which are sound"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as a listing shows it; without a readable catalog the figures are None.

    `problem` says why it is not complete, empty if it is. `links` are the names of the links that point to it.
    Files and size are those of its newest state; `shipped_until` is None too if it was never shipped to.
    """

    id: GenerationId
    links: tuple[str, ...]
    problem: str
    captured_at: datetime | None = None
    shipped_until: datetime | None = None
    file_count: int | None = None
    size_bytes: int | None = None
    writer: Writer | None = None

    @property
    def complete(self) -> bool:
        """Whether every file of the catalog is there with its size."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class Contents:
    """What the folder of a generation holds: its listing as in `folder_sizes`, and what was shipped to it."""

    sizes: Mapping[str, int | None]
    journal: Journal


@dataclass(frozen=True, slots=True)
class Choice:
    """The generation that a caller's words mean; `note` says so when it is not the obvious one."""

    id: GenerationId
    note: str = ""


def generation_ids(destination: Destination, folder: PurePosixPath) -> list[GenerationId]:
    """Return the ids that are names of folders in `folder`, oldest first; none if there is no such folder."""
    try:
        entries = destination.list_folder(folder)
    except NotFoundError:
        return []
    folders = (entry.name for entry in entries if entry.kind is EntryKind.FOLDER)
    return sorted(generation for name in folders if (generation := parse_id(name)) is not None)


def linked_generations(destination: Destination, layout: ReplicaLayout) -> dict[str, GenerationId]:
    """Return the links in the folder of the database that name a generation, whether it exists or not."""
    try:
        entries = destination.list_folder(layout.folder)
    except NotFoundError:
        return {}
    links = {}
    for entry in entries:
        if entry.kind is EntryKind.SYMLINK and "/" not in entry.name:
            generation = parse_link_text(destination.read_link(layout.folder / entry.name))
            if generation is not None:
                links[entry.name] = generation
    return links


def folder_sizes(destination: Destination, folder: PurePosixPath) -> dict[str, int | None]:
    """Return the size in bytes of every plain file in `folder`, and None for what is something else."""
    return {
        entry.name: entry.size_bytes if entry.kind is EntryKind.FILE else None
        for entry in destination.list_folder(folder)
    }


def read_catalog(destination: Destination, layout: ReplicaLayout, generation: GenerationId) -> Catalog:
    """Read the catalog of a complete generation.

    Raises `DamageError` if it is missing, malformed or another generation's, `ProtocolError` if it is too large
    or has a format that this version does not know.
    """
    path = layout.generation(generation) / CATALOG_NAME
    try:
        catalog = decode_catalog(destination.read_bytes(path, limit_bytes=CATALOG_LIMIT_BYTES))
    except NotFoundError as error:
        raise DamageError(
            f"{destination.label}: generation {generation} has no {CATALOG_NAME}", hint=_SOUND_HINT
        ) from error
    except DamageError as error:
        raise DamageError(f"{destination.label}: {path}: {error}", hint=_SOUND_HINT) from error
    except ProtocolError as error:
        raise ProtocolError(f"{destination.label}: {path}: {error}", hint=error.hint) from error
    if catalog.generation != generation:
        raise DamageError(f"{destination.label}: {path} is the catalog of generation {catalog.generation}")
    return catalog


def read_contents(destination: Destination, layout: ReplicaLayout, catalog: Catalog) -> Contents:
    """Read the journal of the generation, and list its folder; it may be shipped to meanwhile.

    Raises `ProtocolError` for a journal that is too large, `NotFoundError` if the folder is gone.
    """
    folder = layout.generation(catalog.generation)
    # In this order: files only grow, and lines come after the bytes that they tell of.
    try:
        journal = destination.read_bytes(folder / SHIPPED_NAME, limit_bytes=SHIPPED_LIMIT_BYTES)
    except NotFoundError:
        journal = b""
    sizes = folder_sizes(destination, folder)
    return Contents(sizes, judge_journal(journal, catalog, sizes))


def read_shipped(destination: Destination, layout: ReplicaLayout, catalog: Catalog) -> tuple[ShippedLine, ...]:
    """Return what was shipped to a generation, as far as it can be believed; errors as in `read_contents`."""
    return read_contents(destination, layout, catalog).journal.lines


def list_generations(destination: Destination, layout: ReplicaLayout) -> list[Generation]:
    """Return all generations, oldest first. Raises `NotFoundError` if there is no replica at all."""
    links = linked_generations(destination, layout)
    ids = generation_ids(destination, layout.generations)
    if not ids:
        raise no_replica(destination, layout)
    return [
        _describe(
            destination,
            layout,
            generation,
            tuple(sorted(name for name, target in links.items() if target == generation)),
        )
        for generation in ids
    ]


def choose_generation(destination: Destination, layout: ReplicaLayout, wanted: str | None) -> Choice:
    """Find the generation that is meant by an id, by `current` or by `prev`.

    None means the current one, or the newest complete one where the link is missing or broken.
    Raises `NotFoundError`.
    """
    ids = generation_ids(destination, layout.generations)
    if not ids:
        raise no_replica(destination, layout)
    if wanted not in {None, CURRENT, PREVIOUS}:
        generation = parse_id(wanted or "")
        if generation not in ids or generation is None:
            raise NotFoundError(
                f"{destination.label}: {layout.folder} has no generation {wanted!r}",
                hint=f"the newest is {ids[-1]}; `replicator generations` lists them all",
            )
        return Choice(generation)
    link = layout.previous_link if wanted == PREVIOUS else layout.current_link
    linked = linked_generations(destination, layout).get(link.name)
    if linked in ids and linked is not None:
        return Choice(linked)
    if wanted is not None:
        raise NotFoundError(
            f"{destination.label}: {link} is missing or names no generation",
            hint="`replicator generations` lists those there are; name one with --generation",
        )
    newest = _newest_complete(destination, layout, reversed(ids))
    return Choice(newest, f"{link} is missing or broken: taking the newest complete generation, {newest}")


def _newest_complete(
    destination: Destination, layout: ReplicaLayout, newest_first: Iterable[GenerationId]
) -> GenerationId:
    for generation in newest_first:
        if _describe(destination, layout, generation, ()).complete:
            return generation
    raise NotFoundError(f"{destination.label}: {layout.folder} has no complete generation")


def _describe(
    destination: Destination, layout: ReplicaLayout, generation: GenerationId, links: tuple[str, ...]
) -> Generation:
    try:
        catalog = read_catalog(destination, layout, generation)
        contents = read_contents(destination, layout, catalog)
    except (DamageError, ProtocolError, NotFoundError) as error:
        return Generation(generation, links, str(error))
    lines = contents.journal.lines
    state = newest_state(catalog, lines)
    return Generation(
        id=generation,
        links=links,
        problem="; ".join(str(finding) for finding in compare_with_listing(catalog, contents.sizes)),
        captured_at=catalog.captured_at,
        shipped_until=state.at if lines else None,
        file_count=len(state.files),
        size_bytes=state.size_bytes,
        writer=catalog.writer,
    )


def no_replica(destination: Destination, layout: ReplicaLayout) -> NotFoundError:
    """Return the error that says that nothing was published yet."""
    hint = "the source is the folder that holds checkpoint_current; has a publish finished yet?"
    with suppress(DestinationError):  # it was not asked for, and may be closed to us
        entries = destination.list_folder(layout.folder.parent)
        folders = sorted(entry.name for entry in entries if entry.kind is EntryKind.FOLDER)
        if others := [name for name in folders if not name.startswith(".") and name != layout.folder.name]:
            hint += f" Beside it there is: {', '.join(others[:_NAMES_SHOWN])}"
    return NotFoundError(f"{destination.label}: there is no replica in {layout.folder}", hint=hint)
