"""SHA-256 of local files of a checkpoint, of their first bytes too."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replicator.errors import SourceChangedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_CHUNK_BYTES = 1 << 20


def sha256_of_prefixes(path: Path, lengths_bytes: Collection[int]) -> dict[int, str]:
    """Return the digest (lower-case hex) of the first bytes of a file, for each length; it is read once.

    Raises `SourceChangedError` if the file is gone or shorter than that, `SourceError` if it cannot be read.
    """
    digests = {}
    running = hashlib.sha256()
    position = 0
    try:
        with path.open("rb", buffering=0) as file:
            for length in sorted(lengths_bytes):
                while position < length:
                    data = file.read(min(_CHUNK_BYTES, length - position))
                    if not data:
                        raise SourceChangedError(f"{path} ends at {position} bytes, expected {length}")
                    running.update(data)
                    position += len(data)
                digests[length] = running.hexdigest()
    except FileNotFoundError as error:
        raise SourceChangedError(f"{path} is gone") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    return digests
