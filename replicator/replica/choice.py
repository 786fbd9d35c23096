"""Which state of which generation is restored: the newest of one, or the last before an instant of them all.

Reads only. What to do with the state is left to `restore`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.errors import DamageError, NotFoundError, ProtocolError
from replicator.moments import format_moment
from replicator.replica.generations import (
    choose_generation,
    generation_ids,
    no_replica,
    read_catalog,
    read_shipped,
)
from replicator.replica.shipped import newest_state, state_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Catalog
    from replicator.replica.layout import GenerationId, ReplicaLayout
    from replicator.replica.shipped import ReplicaState, ShippedLine


@dataclass(frozen=True, slots=True)
class ChosenState:
    """A state of the generation of `catalog`: the last one at `moment`, or the newest if that is None.

    `note` says so when it is not the obvious one.
    """

    catalog: Catalog
    state: ReplicaState
    moment: datetime | None = None
    note: str = ""


def choose_state(
    destination: Destination, layout: ReplicaLayout, wanted: str | None, moment: datetime | None = None
) -> ChosenState:
    """Find the newest state of the generation that `choose_generation` finds, or its last one at `moment`.

    Raises `NotFoundError` if there is no such generation or state, `DamageError` for a damaged catalog.
    """
    choice = choose_generation(destination, layout, wanted)
    catalog = read_catalog(destination, layout, choice.id)
    lines = read_shipped(destination, layout, catalog)
    if moment is None:
        return ChosenState(catalog, newest_state(catalog, lines), None, choice.note)
    state = state_at(catalog, lines, moment)
    if state is None:
        raise _nothing_at(destination, layout, moment, catalog)
    return ChosenState(catalog, state, moment, choice.note)


def choose_state_at(destination: Destination, layout: ReplicaLayout, moment: datetime) -> ChosenState:
    """Find the last state at or before `moment` (with a time zone) that any generation has.

    Generations that cannot be read are left out, and noted. Raises `NotFoundError` if there is no such state.
    """
    ids = generation_ids(destination, layout.generations)
    if not ids:
        raise no_replica(destination, layout)
    problems: list[str] = []
    best: ChosenState | None = None
    # An older generation can have the better state: it goes on being shipped to while a newer one is uploaded.
    by_then = [generation for generation in reversed(ids) if generation.time <= moment]
    for catalog, lines in _readable(destination, layout, by_then, problems):
        state = state_at(catalog, lines, moment)
        if best is not None and (state is None or state.at <= best.state.at):
            break
        if state is not None:
            best = ChosenState(catalog, state, moment)
    if best is None:
        # Where the clock was set back, an id is a later time than that of the capture.
        best = _oldest(destination, layout, ids, moment)
    return replace(best, note="; ".join(problems))


def _oldest(
    destination: Destination, layout: ReplicaLayout, ids: Sequence[GenerationId], moment: datetime
) -> ChosenState:
    """Return what the oldest readable generation has; raises `NotFoundError` if that is later than `moment`."""
    for catalog, lines in _readable(destination, layout, ids, []):
        state = state_at(catalog, lines, moment)
        if state is None:
            raise _nothing_at(destination, layout, moment, catalog)
        return ChosenState(catalog, state, moment)
    raise NotFoundError(f"{destination.label}: {layout.folder} has no generation that can be read")


def _readable(
    destination: Destination, layout: ReplicaLayout, ids: Iterable[GenerationId], problems: list[str]
) -> Iterator[tuple[Catalog, tuple[ShippedLine, ...]]]:
    """Yield what can be read; add to `problems` what cannot, such as a generation that was retired meanwhile."""
    for generation in ids:
        try:
            catalog = read_catalog(destination, layout, generation)
            lines = read_shipped(destination, layout, catalog)
        except (DamageError, ProtocolError, NotFoundError) as error:
            problems.append(f"generation {generation} is left out: {error}")
        else:
            yield catalog, lines


def _nothing_at(
    destination: Destination, layout: ReplicaLayout, moment: datetime, catalog: Catalog
) -> NotFoundError:
    return NotFoundError(
        f"{destination.label}: {layout.folder} has no state as old as {format_moment(moment)}",
        hint=f"the oldest one in generation {catalog.generation} is of {format_moment(catalog.captured_at)}",
    )
