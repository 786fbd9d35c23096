"""Small files of one folder that are put together aside at an SFTP server, and how they get to their place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.destination import sftp_protocol as protocol
from replicator.destination.sftp_replies import StatusCode

if TYPE_CHECKING:
    from replicator.destination.interface import FileAttributes, Owner
    from replicator.destination.sftp_packets import PacketRun, PlainAnswer
    from replicator.destination.sftp_protocol import Request

_OK: Final = int(StatusCode.OK)

#: The fields of a `SmallFile`.
PlainFile = tuple[str, int, int, int, int]


class FolderJob(NamedTuple):
    """A `FolderUpload` in the server's paths; `place` is its place among all."""

    place: int
    source: str
    target: bytes
    part: bytes
    #: Those of the upload, and their size in all. Plain tuples pass from one process to another in half the time.
    files: tuple[PlainFile, ...]
    size_bytes: int
    owner: Owner | None
    is_new: bool
    #: What a new folder carries.
    attributes: FileAttributes | None


class Answers:
    """Answers, taken in their order."""

    def __init__(self, answers: list[PlainAnswer]) -> None:
        self._answers = answers
        self._at = 0

    def next(self, count: int) -> list[PlainAnswer]:
        """Take so many."""
        start, self._at = self._at, self._at + count
        return self._answers[start : self._at]

    def next_is_ok(self) -> bool:
        """Take one, and say whether it is that all is well."""
        self._at += 1
        return self._answers[self._at - 1] == _OK


class Folder:
    """A job on its way. What ends it adds requests to a run, and takes as many answers."""

    def __init__(self, job: FolderJob) -> None:
        self.job = job
        self.names = [os.fsencode(file[0]) for file in job.files]
        #: Which files are complete, or in the end in their place.
        self.is_done: list[bool] = []

    @property
    def parts(self) -> list[bytes]:
        """Where each file is until it is complete."""
        part = self.job.part
        if self.job.is_new:
            return [b"%b/%b" % (part, name) for name in self.names]
        return [b"%b-%d" % (part, index) for index in range(len(self.names))]

    def left(self) -> list[str]:
        """Return the names of the files that are not in place."""
        if all(self.is_done):
            return []
        return [file[0] for file, done in zip(self.job.files, self.is_done, strict=True) if not done]

    def put_in_place(self, run: PacketRun) -> None:
        """Add the requests that rename what is complete, and remove what is not."""
        for request in self._ending():
            run.add(request)

    def _ending(self) -> list[Request]:
        if self.job.is_new:
            if all(self.is_done):
                return [protocol.posix_rename(self.job.part, self.job.target)]
            return self._removals()
        return [
            protocol.posix_rename(part, b"%b/%b" % (self.job.target, name)) if done else protocol.remove(part)
            for part, name, done in zip(self.parts, self.names, self.is_done, strict=True)
        ]

    def take_put_in_place(self, answers: Answers) -> list[Request]:
        """Take the answers to them; return what is still to be removed."""
        if self.job.is_new:
            if not all(self.is_done):
                answers.next(len(self._removals()))
            elif not answers.next_is_ok():
                self.is_done = [False] * len(self.is_done)
                return self._removals()
            return []
        refused = [answer != _OK for answer in answers.next(len(self.parts))]
        left_over = [
            protocol.remove(part)
            for part, done, refusal in zip(self.parts, self.is_done, refused, strict=True)
            if done and refusal
        ]
        self.is_done = [done and not refusal for done, refusal in zip(self.is_done, refused, strict=True)]
        return left_over

    def _removals(self) -> list[Request]:
        """Return what removes a new folder, whatever there is of it."""
        removals = [protocol.remove(part) for part in self.parts]
        return [*removals, protocol.remove_folder(self.job.part)]
