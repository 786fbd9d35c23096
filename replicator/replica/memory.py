"""What this process knows of a replica because it published there last: it is not listed or read again.

What was seen counts for the connection over which it was seen, and for an hour. Each time a few names tell whether
somebody else was there: those of the generations, of what lies in `incoming/`, and where the link points. If
anything is not as it was left, all of it is looked at anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind
from replicator.errors import NotFoundError, ProtocolError
from replicator.replica.catalog import Catalog, CatalogFile, FileLines
from replicator.replica.generations import generation_ids
from replicator.replica.inspect_replica import Leftover, Replica, inspect_replica, stored_files
from replicator.replica.layout import CATALOG_NAME, link_text, parse_id
from replicator.replica.plan import Stored, StoredFile
from replicator.replica.shipped import SHIPPED_LIMIT_BYTES, SHIPPED_NAME, decode_lines, judge_journal
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Writer
    from replicator.replica.growing import GrowingGeneration
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import ShippedLine

#: After so long the replica is looked at as if it were not known.
_TRUST_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Seed:
    """A retired generation in `incoming/`, from which the next one is made.

    All that is left of it are `files`, which are the current generation's too, and its catalog. Its folder was
    changed last at `modified_seconds` (of the destination's clock).
    """

    id: GenerationId
    files: Mapping[str, CatalogFile]
    modified_seconds: int


@dataclass(frozen=True, slots=True)
class _Known:
    """A replica as a publish left it; of `logs`, the catalog, tables and blob files are left out.

    `since` says of each table and blob file since which generation all of them have had it, by hard links.
    """

    session: int
    looked_at_seconds: float
    ids: tuple[GenerationId, ...]
    logs: Catalog
    files: Mapping[str, CatalogFile]
    since: Mapping[str, GenerationId]
    seed: Seed | None


@dataclass(frozen=True, slots=True)
class Current:
    """The current generation: its tables and blob files, and its catalog without them."""

    files: Mapping[str, CatalogFile]
    others: Catalog


class ReplicaMemory:
    """Of one database at one destination."""

    def __init__(self, *, wants_seeds: bool = True) -> None:
        """A process that publishes once has no use for a seed."""
        self.wants_seeds = wants_seeds
        self._known: _Known | None = None
        self._since: Mapping[str, GenerationId] = {}
        self._session = 0
        self._looked_at_seconds = 0.0
        #: The tables and blob files of the newest generation, by name.
        self.files: Mapping[str, CatalogFile] = {}
        self.lines = FileLines()
        #: Whether the last `replica` was known, so that a surprise there calls for a look at all of it.
        self.was_recalled = False
        #: The journal of the current generation, where it is not shipped to.
        self.journal: GrowingGeneration | None = None

    @property
    def generation(self) -> GenerationId | None:
        """The current generation; None if that is not known."""
        return self._known.logs.generation if self._known else None

    def current(self, destination: Destination, layout: ReplicaLayout, writer: Writer) -> Current | None:
        """Return what is current, if all is as it was left; None if that is to be looked at."""
        known = self._known
        if known is None or _recalled(known, destination, layout, writer) is None:
            return None
        return Current(known.files, known.logs)

    def replica(self, destination: Destination, layout: ReplicaLayout, writer: Writer) -> Replica:
        """Return the state of a replica, to be changed by a publish. Raises as `inspect_replica`.

        Nothing is known any more until that publish is `remember`ed.
        """
        known, self._known = self._known, None
        self.journal = None
        replica = _recalled(known, destination, layout, writer) if known else None
        if known is None or replica is None:
            replica = inspect_replica(destination, layout, writer)
            self._looked_at_seconds = time.monotonic()
        newest = replica.newest.generation if replica.newest else None
        goes_on = known is not None and newest == known.logs.generation
        self._since = known.since if known and goes_on else {}
        if not replica.is_recalled:
            self.files = _immutable(replica.newest) if replica.newest else {}
        self._session = destination.session
        self.was_recalled = replica.is_recalled
        return replica

    def is_same_session(self, destination: Destination) -> bool:
        """Whether all since `replica` went over one connection."""
        return destination.session == self._session

    def shared_since(
        self, catalog: Catalog, continued: Collection[str], before: GenerationId | None
    ) -> dict[str, GenerationId]:
        """Say since which generation each table and blob file of a new one has been in all of them.

        `continued` are names that it shares with the generation `before` it.
        """
        since = self._since
        return {
            name: since.get(name, before) if before and name in continued else catalog.generation
            for name in _immutable(catalog)
        }

    def remember(
        self,
        destination: Destination,
        catalog: Catalog,
        *,
        ids: tuple[GenerationId, ...],
        since: Mapping[str, GenerationId],
        seed: Seed | None,
    ) -> None:
        """Take note of a publish that went well: `ids` are all generations, the one of `catalog` is current."""
        if not self.is_same_session(destination):
            return
        self.files = _immutable(catalog)
        others = tuple(file for file in catalog.files if file.name not in self.files)
        self._known = _Known(
            session=self._session,
            looked_at_seconds=self._looked_at_seconds,
            ids=ids,
            logs=replace(catalog, files=others),
            files=self.files,
            since=since,
            seed=seed,
        )


def _recalled(known: _Known, destination: Destination, layout: ReplicaLayout, writer: Writer) -> Replica | None:
    """Return the replica as it was left, with what was shipped since; None if it is not so any more."""
    if known.logs.writer != writer or time.monotonic() - known.looked_at_seconds > _TRUST_SECONDS:
        return None
    generation = known.logs.generation
    try:
        is_so = (
            tuple(generation_ids(destination, layout.generations)) == known.ids
            and _uploads(destination, layout) == _expected(known.seed)
            and destination.read_link(layout.current_link) == link_text(generation)
        )
        if not is_so:
            return None
        logs = _stored_logs(destination, layout.generation(generation), known.logs)
    except (NotFoundError, ProtocolError):
        return None
    if destination.session != known.session:
        return None
    seed = known.seed
    return Replica(
        ids=known.ids,
        taken_ids=known.ids,
        current=generation,
        newest=known.logs,
        leftover=Leftover(seed.id, frozenset({*seed.files, CATALOG_NAME})) if seed else None,
        stored=Stored(
            generation=_Files(layout.generation(generation), known.files, logs),
            seed=seed.files if seed else {},
        ),
        is_recalled=True,
    )


class _Files(Mapping[str, StoredFile]):
    """The files of a generation; of thousands few are asked for."""

    def __init__(
        self, folder: PurePosixPath, files: Mapping[str, CatalogFile], logs: Mapping[str, StoredFile]
    ) -> None:
        self._folder = folder
        self._files = files
        self._logs = logs

    def __getitem__(self, name: str) -> StoredFile:
        if name in self._logs:
            return self._logs[name]
        file = self._files[name]
        return StoredFile(self._folder / name, file.size_bytes, file.identity, file.sha256)

    def __iter__(self) -> Iterator[str]:
        yield from self._files
        yield from self._logs

    def __len__(self) -> int:
        return len(self._files) + len(self._logs)


def _immutable(catalog: Catalog) -> dict[str, CatalogFile]:
    kinds = {FileKind.TABLE, FileKind.BLOB}
    return {file.name: file for file in catalog.files if file.kind in kinds}


def _uploads(destination: Destination, layout: ReplicaLayout) -> dict[GenerationId, int]:
    """Return what lies in `incoming/`, each with the time of its last change."""
    try:
        entries = destination.list_folder(layout.incoming)
    except NotFoundError:
        return {}
    return {
        upload: entry.modified_seconds
        for entry in entries
        if entry.kind is EntryKind.FOLDER and (upload := parse_id(entry.name)) is not None
    }


def _expected(seed: Seed | None) -> dict[GenerationId, int]:
    return {seed.id: seed.modified_seconds} if seed else {}


def _stored_logs(destination: Destination, folder: PurePosixPath, catalog: Catalog) -> dict[str, StoredFile]:
    """Return the logs of a generation with what was shipped to them."""
    # In this order: logs only grow, and lines come after the bytes that they tell of.
    try:
        journal = destination.read_bytes(folder / SHIPPED_NAME, limit_bytes=SHIPPED_LIMIT_BYTES)
    except NotFoundError:
        journal = b""
    names = {file.name for file in catalog.files if file.kind is FileKind.WAL}
    names |= {line.name for line in decode_lines(journal)}
    found = destination.look_up([folder / name for name in names])
    sizes = {entry.name: entry.size_bytes if entry.kind is EntryKind.FILE else None for entry in found if entry}
    lines: tuple[ShippedLine, ...] = judge_journal(journal, catalog, sizes).lines
    return stored_files(folder, catalog, sizes, lines)
