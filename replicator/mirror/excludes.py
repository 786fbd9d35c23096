"""What a mirror leaves alone: patterns with the grammar of a `.gitignore` file.

What is excluded is neither sent nor deleted, and nothing in an excluded folder is looked at on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.mirror.gitignore import parse_rule
from replicator.mirror.paths import folders_above, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Excludes:
    """Patterns, the last that fits decides. Raises `ValueError` for one that is none."""

    def __init__(self, patterns: Sequence[str]) -> None:
        rules = (parse_rule(pattern) for pattern in patterns)
        self._last_first = [rule for rule in rules if rule is not None][::-1]

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return bool(self._last_first)

    def covers(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` itself is excluded; the folders that it lies in were asked for before."""
        if not path:
            return False
        name = name_of(path)
        for excludes, folders_only, by_name, regex in self._last_first:
            if (is_folder or not folders_only) and regex.fullmatch(name if by_name else path):
                return excludes
        return False

    def covers_any(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` or a folder that it lies in is excluded."""
        if not self._last_first:
            return False
        return self.covers(path, is_folder=is_folder) or any(
            self.covers(folder, is_folder=True) for folder in folders_above(path)
        )
