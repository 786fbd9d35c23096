"""What is to be done for one file that is sent or copied. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.destination.sftp_account import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import FileAttributes

_UNFINISHED_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be made: a server-side copy of `prefix_bytes` of `prefix`, then the rest of `source`.

    Without a `source` it is a copy of all of `prefix`. Paths of bytes are those that the server knows. The last
    three are those of `Upload`.
    """

    name: PurePosixPath
    target: bytes
    part: bytes
    folder: bytes
    source: Path | None = None
    size_bytes: int = 0
    prefix: bytes | None = None
    prefix_bytes: int = 0
    attributes: FileAttributes | None = None
    sync: bool = True
    optional: bool = False

    @property
    def first_mode(self) -> int:
        """The mode to create it with: what gets its own in the end is the account's alone until then."""
        return FILE_MODE if self.attributes is None else _UNFINISHED_MODE

    @property
    def sent_bytes(self) -> int:
        """How much is to be sent."""
        return max(0, self.size_bytes - self.prefix_bytes)
