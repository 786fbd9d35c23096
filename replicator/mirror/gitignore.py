"""The grammar of a `.gitignore` file, as `gitignore(5)` and git's `wildmatch.c` have it. Pure.

A pattern is asked for a path itself, never for the folders above it: whoever walks a tree does not enter a folder
that is excluded, and of one that was taken back (`!`) only what fits a pattern by itself is excluded.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_CLASSES: Final = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
#: Fits nothing: what git makes of a bracket that is not closed.
_NOTHING: Final = "(?!)"


class Rule(NamedTuple):
    """One pattern. `by_name`: only the last name of a path is asked for."""

    excludes: bool
    folders_only: bool
    by_name: bool
    regex: re.Pattern[str]


def parse_rule(line: str) -> Rule | None:
    """Return the rule of a line; None if it is empty or a comment. Raises `ValueError` if it is no pattern."""
    if line.startswith("#"):
        return None
    text = _without_trailing_spaces(line)
    if not text:
        return None
    excludes = not text.startswith("!")
    pattern = text.removeprefix("!")
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    by_name = "/" not in pattern
    pattern = pattern.removeprefix("/")
    if not pattern or _ends_in_half_an_escape(pattern):
        raise ValueError(f"{line!r} is no pattern of a .gitignore file")
    return Rule(excludes, folders_only, by_name, re.compile(_regex_of(pattern), re.DOTALL))


def _without_trailing_spaces(line: str) -> str:
    text = line.rstrip(" ")
    return f"{text} " if len(text) < len(line) and _ends_in_half_an_escape(text) else text


def _ends_in_half_an_escape(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _regex_of(pattern: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            end = at + len(pattern[at:]) - len(pattern[at:].lstrip("*"))
            part, at = _stars(pattern, at, end)
        elif character == "?":
            part, at = "[^/]", at + 1
        elif character == "[":
            part, at = _bracket(pattern, at + 1)
        else:
            at += character == "\\"
            part, at = re.escape(pattern[at]), at + 1
        parts.append(part)
    return "".join(parts)


def _stars(pattern: str, start: int, end: int) -> tuple[str, int]:
    """Return what fits the stars from `start` to `end`, and where to go on."""
    is_whole_name = pattern[start - 1 : start] in {"", "/"} and pattern[end : end + 1] in {"", "/"}
    if end - start == 1 or not is_whole_name:
        return "[^/]*", end
    if end == len(pattern):
        return ".*", end
    return "(?:.*/)?", end + 1


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Return what fits the set whose bracket is open before `start`, and where to go on."""
    at = start
    is_negated = pattern[at : at + 1] in {"!", "^"}
    at += is_negated
    first = at
    inside = ""
    while at < len(pattern) and (pattern[at] != "]" or at == first):
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at)) > 0:
            if (name := pattern[at + 2 : end]) not in _CLASSES:
                return _NOTHING, len(pattern)
            inside += _CLASSES[name]
            at = end + 2
            continue
        low, at = _character(pattern, at)
        if pattern.startswith("-", at) and pattern[at + 1 : at + 2] not in {"", "]"}:
            high, at = _character(pattern, at + 1)
            inside += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        else:
            inside += re.escape(low)
    if at >= len(pattern):
        return _NOTHING, at
    if not inside:
        return ("[^/]" if is_negated else _NOTHING), at + 1
    return (f"[^/{inside}]" if is_negated else f"(?!/)[{inside}]"), at + 1


def _character(pattern: str, at: int) -> tuple[str, int]:
    at += pattern[at] == "\\" and at + 1 < len(pattern)
    return pattern[at], at + 1
