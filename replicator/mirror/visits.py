"""Folders that are to be compared: all of a tree, or single names in some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.mirror.apply import WORKABLE_MODE
from replicator.mirror.paths import TOP, name_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Visit(NamedTuple):
    """A folder to be compared; `is_new` if it was made just now, `differs` if its attributes are other ones there.

    With `names`, only those in it, each with all that is below.
    """

    path: str
    is_new: bool = False
    differs: bool = True
    mode_there: int = WORKABLE_MODE
    names: frozenset[str] | None = None


def whole_tree() -> Visit:
    """Return the visit that begins at the top."""
    return Visit(TOP)


def visits_of(paths: Iterable[str]) -> list[Visit]:
    """Return the visits that look at these paths only."""
    names: dict[str, set[str]] = {}
    for path in paths:
        names.setdefault(parent_of(path), set()).add(name_of(path))
    return [Visit(folder, names=frozenset(found)) for folder, found in names.items()]
