"""The parts of the service that replicate databases. What they are loads much: it is loaded by who makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from replicator.service.database_loop import DatabaseLoop
    from replicator.service.destination_worker import DestinationWorker
    from replicator.service.reconfiguration import Reconfigurable
    from replicator.service.service import Part
    from replicator.service.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Databases:
    """All of them, put together. `roots` take the checkpoint roots for as long as the context lasts.

    `steady` and `guards` are those of `Service`; `reconfigurable` and `transfers`, by destination, are what
    settings reach.
    """

    roots: Sequence[Callable[[], AbstractContextManager[None]]] = ()
    loops: Sequence[DatabaseLoop] = ()
    workers: Sequence[DestinationWorker] = ()
    steady: Sequence[Part] = ()
    guards: Sequence[Part] = ()
    reconfigurable: Sequence[Reconfigurable] = ()
    transfers: Mapping[str, Sequence[Transfer]] = field(default_factory=dict)
