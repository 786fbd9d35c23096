"""How far the upload of one file has got, for `sftp_upload`. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from replicator.destination.sftp_replies import Attributes

if TYPE_CHECKING:
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_replies import Reply
    from replicator.errors import SourceError


class Phase(Enum):
    """What is being done with it."""

    OPENING = auto()
    SENDING = auto()
    SENT = auto()
    RENAMING = auto()
    REMOVING = auto()


@dataclass(slots=True)
class UploadFile:
    """How far a job has got. `unanswered` counts the requests that belong to it."""

    job: Job
    phase: Phase = Phase.OPENING
    unanswered: int = 0
    handle: bytes | None = None
    prefix_handle: bytes | None = None
    prefix_bytes: int = 0
    size_bytes: int = 0
    stored_bytes: int | None = None
    sha256: str = ""
    failed: bool = False
    skipped: SourceError | None = None

    def measure(self, reply: Reply) -> None:
        """Note what the server says of the file; anything but a size is none."""
        if isinstance(reply, Attributes):
            self.stored_bytes = reply.size_bytes

    @property
    def has_wrong_size(self) -> bool:
        """Whether the server's own copy gave another size than it had to; all else was acknowledged."""
        return self.prefix_handle is not None and self.stored_bytes != self.size_bytes
