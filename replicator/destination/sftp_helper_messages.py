"""What a process that helps with transfers and the one that started it say to each other. No I/O.

The helper asks, and waits for the answer: `Take` for `Work`, `NeedBytes` for `Grant`. `Stop` may come at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

    from replicator.destination.sftp_download import Fetch
    from replicator.destination.sftp_folder_job import FolderJob
    from replicator.destination.sftp_job import Job
    from replicator.destination.sftp_route import SftpSettings
    from replicator.destination.shared_batch import Direction
    from replicator.errors import ReplicatorError, SourceError


# --- to the helper -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Log in. With `grant_bytes` ask before bytes are moved, for no more than so many at a time."""

    settings: SftpSettings
    grant_bytes: int | None


@dataclass(frozen=True, slots=True)
class Begin:
    """A batch has begun."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Work:
    """Move these; none means that the batch has no more."""

    items: tuple[Job, ...] | tuple[Fetch, ...] | tuple[FolderJob, ...]


class Grant:
    """The bytes that were asked for may be moved."""


class Stop:
    """Begin no further file of this batch."""


# --- from the helper ---------------------------------------------------------------------------------


class Ready:
    """Logged in."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Could not log in; the process ends."""

    error: ReplicatorError


class Take:
    """Ask for work."""


@dataclass(frozen=True, slots=True)
class NeedBytes:
    """Ask for leave to move so many bytes."""

    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What to tell the observer, since the last time.

    Bytes moved; files that are done, and that were skipped; folders that are done, by their places, with what was
    left.
    """

    moved_bytes: int
    done: tuple[tuple[PurePosixPath | Path, str], ...]
    skipped: tuple[tuple[PurePosixPath, SourceError], ...]
    folders: tuple[tuple[int, Sequence[str]], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The batch is over for this helper; `error` is what it ended with."""

    error: ReplicatorError | None


FromHelper = Ready | Refused | Take | NeedBytes | Progress | Ended
ToHelper = Start | Begin | Work | Grant | Stop
