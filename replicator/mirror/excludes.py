"""What a mirror leaves alone: patterns with the grammar of a `.gitignore` file.

What is excluded is neither sent nor deleted, and nothing in an excluded folder is looked at on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.mirror.paths import folders_above

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

#: What pathspec calls the slash at which a path, or a folder that it lies in, ends to fit a pattern.
_SLASH = "ps_d"


class Excludes:
    """Patterns, the last that fits decides. Raises `ValueError` for one that is none.

    A path is asked for itself: `GitIgnoreSpec.match_file` is for whole paths of files, and says of a folder that a
    pattern takes back that it is excluded, so that nothing in it would be found.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._last_first = _rules(patterns) if patterns else []

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return bool(self._last_first)

    def covers(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` itself is excluded; the folders that it lies in were asked for before."""
        if not path:
            return False
        text = f"{path}/" if is_folder else path
        for excludes, regex in self._last_first:
            if _fits(regex, text):
                return excludes
        return False

    def covers_any(self, path: str, *, is_folder: bool) -> bool:
        """Say whether `path` or a folder that it lies in is excluded."""
        if not self._last_first:
            return False
        return self.covers(path, is_folder=is_folder) or any(
            self.covers(folder, is_folder=True) for folder in folders_above(path)
        )


def _rules(patterns: Sequence[str]) -> list[tuple[bool, re.Pattern[str]]]:
    """Return whether each pattern excludes, and what fits it; the last pattern first."""
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most mirrors exclude nothing

    found = GitIgnoreSpec.from_lines(patterns).patterns
    return [
        (pattern.include, pattern.regex)
        for pattern in reversed(found)
        if pattern.include is not None and pattern.regex is not None
    ]


def _fits(regex: re.Pattern[str], text: str) -> bool:
    """Say whether a pattern fits a path by itself, not only a folder that it lies in."""
    for match in regex.finditer(text):
        if _SLASH in regex.groupindex:
            if match.end(_SLASH) in {-1, len(text)}:
                return True
        elif match.end() < len(text) or not text.endswith("/"):  # `folder/**` is what lies in it
            return True
    return False
