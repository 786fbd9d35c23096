"""Paths within a mirror: text relative to its top, with `/` between names and `""` for the top itself. Pure.

They are plain text because there may be a hundred thousand of them at a time. Bytes of a name that are no UTF-8
are surrogates, as everywhere in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = ""


def join(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`."""
    return f"{folder}/{name}" if folder else name


def parent_of(path: str) -> str:
    """Return the folder that `path` is in; that of the top is the top."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return the last name in `path`."""
    return path.rpartition("/")[2]


def folders_above(path: str) -> Iterator[str]:
    """Yield the folders that `path` lies in, the nearest first, the top last; nothing for the top."""
    while path:
        path = parent_of(path)
        yield path


def parents_first(path: str) -> list[str]:
    """Return the folders that `path` lies in, without the top, the highest first."""
    return [folder for folder in folders_above(path) if folder][::-1]


def lies_in(path: str, folder: str) -> bool:
    """Say whether `path` is `folder` or lies below it."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def moved(path: str, source: str, target: str) -> str:
    """Return where `path`, which lies in `source`, is once `source` has become `target`."""
    return target + path[len(source) :]
