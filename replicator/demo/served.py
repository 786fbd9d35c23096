"""The replica in the folder that the demo's server serves, read past the server and the service.

So it tells what is really there at an instant, and not what the service knows of it by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination.directory import DirectoryDestination
from replicator.errors import NotFoundError
from replicator.replica.generations import choose_generation, generation_ids, read_catalog, read_shipped
from replicator.replica.layout import ReplicaLayout
from replicator.replica.shipped import newest_state

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from replicator.replica.catalog import Catalog
    from replicator.replica.layout import GenerationId
    from replicator.replica.shipped import ShippedLine


@dataclass(frozen=True, slots=True)
class Held:
    """What a restore would have found at one instant: the current generation, and what its journal said."""

    catalog: Catalog
    lines: tuple[ShippedLine, ...]

    @property
    def state_at(self) -> datetime:
        """When (UTC) the primary was in the newest state there is."""
        return newest_state(self.catalog, self.lines).at


class ServedReplica:
    """The replica of one database in a local folder, which others write to meanwhile."""

    def __init__(self, base: Path, database: str) -> None:
        """`base` is the folder of the destination, and exists."""
        self._base = base
        self._layout = ReplicaLayout(database)
        self._destination = DirectoryDestination(base, label="the served folder")

    def folder(self, generation: GenerationId) -> Path:
        """Return where a generation lies."""
        return self._base / self._layout.generation(generation)

    def held(self) -> Held | None:
        """Read what could be restored at this instant; None before the first generation is there.

        Raises `DestinationError` and `DamageError` if it is not what it should be.
        """
        try:
            chosen = choose_generation(self._destination, self._layout, None)
        except NotFoundError:
            return None
        catalog = read_catalog(self._destination, self._layout, chosen.id)
        return Held(catalog, read_shipped(self._destination, self._layout, catalog))

    def last_complete(self, held: Held) -> datetime:
        """Return the last instant (UTC) whose state was there completely when `held` was read.

        To be asked once nothing more comes. A look at the primary is one line for each log, all with its time: if
        some of the lines came later, only the look before it counts.
        """
        came_later = read_shipped(self._destination, self._layout, held.catalog)[len(held.lines) :]
        complete = [line for line in held.lines if not came_later or line.at < came_later[0].at]
        return newest_state(held.catalog, complete).at

    def shipped_bytes(self) -> int:
        """Return by how much all generations have grown since they were captured."""
        grown_bytes = 0
        for generation in generation_ids(self._destination, self._layout.generations):
            catalog = read_catalog(self._destination, self._layout, generation)
            lines = read_shipped(self._destination, self._layout, catalog)
            grown_bytes += newest_state(catalog, lines).size_bytes - catalog.size_bytes
        return grown_bytes
