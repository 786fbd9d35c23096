"""Paths at a destination: they never leave its base folder. No I/O."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import PurePosixPath

PART_SUFFIX = ".part"


def below(base: PurePosixPath, path: PurePosixPath) -> PurePosixPath:
    """Return `base / path`.

    Names come from catalogs and listings, which are not trusted: `ProtocolError` for an absolute path, `..`
    or a NUL byte.
    """
    return base / checked_text(path)


def checked_text(path: PurePosixPath | str) -> str:
    """Return a path as text if it can be one below the base folder; raises as `below` does."""
    text = str(path)
    if text.startswith("/") or "\0" in text or (".." in text and ".." in text.split("/")):
        raise ProtocolError(f"{text!r} is not a path below the destination's base folder")
    return text


def part_of(target: PurePosixPath) -> PurePosixPath:
    """Return the name under which `target` is written until it is complete."""
    return target.with_name(target.name + PART_SUFFIX)


def private_part_of(target: PurePosixPath) -> PurePosixPath:
    """As `part_of`, where any name may be in use, and names may be as long as file systems have them."""
    digest = hashlib.sha256(str(target).encode("utf-8", "surrogateescape")).hexdigest()
    return target.with_name(f".{digest[:32]}{PART_SUFFIX}")
