"""Short words for what tests of destinations do all the time."""

from __future__ import annotations

import hashlib
import random
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.destination.interface import Destination, Entry

_LIMIT_BYTES = 1 << 20


def at(path: str) -> PurePosixPath:
    return PurePosixPath(path)


def random_bytes(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(place: Destination, folder: str = ".") -> set[str]:
    return {entry.name for entry in place.list_folder(at(folder))}


def entry(place: Destination, path: str) -> Entry:
    (found,) = [entry for entry in place.list_folder(at(path).parent) if entry.name == at(path).name]
    return found


def read(place: Destination, path: str) -> bytes:
    return place.read_bytes(at(path), limit_bytes=16 * _LIMIT_BYTES)


def works(place: Destination) -> bool:
    """Whether the destination is still good for something."""
    place.write_bytes(at("still-works"), b"yes")
    return read(place, "still-works") == b"yes"


def source(local: Path, data: bytes, name: str = "source") -> Path:
    path = local / name
    path.write_bytes(data)
    return path
