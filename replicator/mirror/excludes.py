"""What a mirror leaves alone: patterns with the grammar of a `.gitignore` file.

What is excluded is neither sent nor deleted, and nothing in an excluded folder is looked at on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.mirror.paths import folders_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pathspec import GitIgnoreSpec


class Excludes:
    """Patterns, the last that fits decides. Raises `ValueError` for one that is none."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._spec = _spec(patterns) if patterns else None

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return self._spec is not None

    def covers(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` itself is excluded; the folders that it lies in were asked for before."""
        if self._spec is None or not path:
            return False
        return self._spec.match_file(f"{path}/" if is_folder else path)

    def covers_any(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` or a folder that it lies in is excluded."""
        if self._spec is None:
            return False
        return self.covers(path, is_folder=is_folder) or any(
            self.covers(folder, is_folder=True) for folder in folders_above(path)
        )


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most mirrors exclude nothing

    return GitIgnoreSpec.from_lines(patterns)
