"""What `sftp_upload` is asked to do for one file: as in `Upload`, with paths as the server knows them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be made: a server-side copy of `prefix_bytes` of `prefix`, then the rest of `source`.

    Without a `source` it is a copy of all of `prefix`. Paths of bytes are those that the server knows.
    """

    name: PurePosixPath
    target: bytes
    part: bytes
    folder: bytes
    source: Path | None = None
    size_bytes: int = 0
    prefix: bytes | None = None
    prefix_bytes: int = 0

    @property
    def sent_bytes(self) -> int:
        """How much is to be sent."""
        return max(0, self.size_bytes - self.prefix_bytes)
