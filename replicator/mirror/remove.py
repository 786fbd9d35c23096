"""Removing from a destination what is not here any more, with everything that can be said against it.

Nothing is removed while the source is empty, nor more than the budget allows, nor what has come back meanwhile,
nor what is excluded: a folder with something excluded in it stays, and only the rest of it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.mirror.compare import Asked
from replicator.mirror.paths import TOP, join, parent_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.mirror.apply import Applier
    from replicator.mirror.deletes import DeleteBudget
    from replicator.mirror.excludes import Excludes


@dataclass(frozen=True, slots=True)
class Refused:
    """Why so many files were not removed; `empty` if because the source is."""

    files: int
    most: int
    empty: bool = False


@dataclass(slots=True)
class _Doomed:
    """A folder that is to go: how many files it holds, and what of it has to be removed piece by piece."""

    files: int = 0
    pieces: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    #: Folders that hold something excluded, or are above such a folder.
    kept: set[str] = field(default_factory=set)


class Remover:
    """Removes what `surplus` names, or says why not."""

    def __init__(self, applier: Applier, excludes: Excludes, budget: DeleteBudget) -> None:
        self._applier = applier
        self._excludes = excludes
        self._budget = budget

    def run(
        self, surplus: Mapping[str, bool], *, blocked: Iterable[str] = (), files_there: int | None = None
    ) -> Refused | None:
        """Remove; the values say what is a folder there. `blocked` of it are another thing here, not missing.

        With `files_there` a new pass begins: so many files were found outside of folders in `surplus`.
        Returns None if all of it was removed, or had a reason to stay.
        """
        expected = set(blocked)
        wanted = {
            path: is_folder
            for path, is_folder in surplus.items()
            if self._is_wanted(path, expected, is_folder=is_folder)
        }
        folders = {path: self._count(path) for path, is_folder in wanted.items() if is_folder}
        files = [path for path, is_folder in wanted.items() if not is_folder]
        count = len(files) + sum(max(doomed.files, 1) for doomed in folders.values())
        if files_there is not None:
            self._budget.begin_pass(files_there + sum(doomed.files for doomed in folders.values()))
        if not count:
            return None
        if self._applier.local.is_empty():
            return Refused(count, 0, empty=True)
        if not self._budget.spend(count):
            return Refused(self._budget.refused, self._budget.most)
        self._applier.open_folders(parent_of(path) for path in wanted)
        self._applier.remove_files([path for path in files if self._is_wanted(path, expected, is_folder=False)])
        for path, doomed in folders.items():
            if self._is_wanted(path, expected, is_folder=True):
                self._remove_folder(path, doomed)
        self._applier.finish_folders({parent_of(path) for path in wanted})
        return None

    def _is_wanted(self, path: str, blocked: set[str], *, is_folder: bool) -> bool:
        """Say whether it still is not here, or in the way of what is here."""
        if self._excludes.covers_any(path, is_folder=is_folder):  # as what it is there, not as what is here
            return False
        here = self._applier.local.look(path)
        if here is None or here.kind is EntryKind.OTHER:
            return True
        is_folder_here = here.kind is EntryKind.FOLDER
        if self._excludes.covers_any(path, is_folder=is_folder_here):
            return True
        return path in blocked and is_folder_here != is_folder

    def _count(self, top: str) -> _Doomed:
        """Look into a folder that is to go."""
        doomed = _Doomed()
        waiting = [top]
        places: dict[str, str] = {}

        def next_folder() -> str | None:
            if not waiting:
                return None
            path = waiting.pop()
            there = self._applier.text_there(path)
            places[there] = path
            return there

        while waiting:
            for there, entries in self._applier.destination.list_folders(Asked(next_folder)):
                folder = places.pop(there)
                doomed.folders.append(folder)
                for entry in entries or ():
                    path = join(folder, entry.name)
                    is_folder = entry.kind is EntryKind.FOLDER
                    if self._excludes.covers(path, is_folder=is_folder):
                        self._keep(doomed, folder, top)
                    elif is_folder:
                        waiting.append(path)
                    else:
                        doomed.files += 1
                        if self._excludes:
                            doomed.pieces.append(path)
        return doomed

    def _keep(self, doomed: _Doomed, folder: str, top: str) -> None:
        while folder not in doomed.kept:
            doomed.kept.add(folder)
            if folder in {top, TOP}:
                return
            folder = parent_of(folder)

    def _remove_folder(self, top: str, doomed: _Doomed) -> None:
        if not doomed.kept:
            self._applier.remove_folder(top, doomed.files)
            return
        self._applier.remove_files(doomed.pieces)
        for folder in doomed.folders:
            # The highest that may go take the others with them.
            if folder not in doomed.kept and parent_of(folder) in doomed.kept:
                self._applier.remove_folder(folder, 0)
