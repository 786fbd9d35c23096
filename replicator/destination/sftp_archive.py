"""Jobs of small files as one tar archive, which is to be unpacked where their files are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.destination import tar_archive
from replicator.destination.local_files import SmallFileReader
from replicator.destination.sftp_folder_job import Folder
from replicator.destination.tar_archive import TarMembers
from replicator.destination.values import storable_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.destination.sftp_folder_job import FolderJob

#: The length of an archive is a multiple of that.
BLOCK_BYTES: Final = 64 << 10

# What is unpacked has names of its own: a tar that went on after all must not get at what is sent in another way.
_SUFFIX: Final = b"-tar"
_PIECE_BYTES: Final = 256 << 10
_NANOSECONDS: Final = 1_000_000_000


class Place(NamedTuple):
    """A folder at the server in which files are put together, and whether they get owners there."""

    folder: bytes
    with_owner: bool

    @classmethod
    def of(cls, job: FolderJob) -> Place:
        """Return that of a job."""
        folder, _, _ = job.part.rpartition(b"/")
        return cls(folder, job.owner is not None)


class Archive:
    """One archive: first it is filled, then it is closed."""

    def __init__(self, place: Place) -> None:
        #: Those it has, and for each of their files whether it could be read.
        self.folders: list[Folder] = []
        #: How many bytes all files in it have.
        self.file_bytes = 0
        #: The archive; whoever sends it takes it away.
        self.pieces: list[bytes] = []
        self.size_bytes = 0
        self._place = place
        self._members: list[bytes] = []
        self._members_bytes = 0

    def fill(self, jobs: Iterator[FolderJob], enough_bytes: int) -> list[FolderJob]:
        """Take jobs until there is enough; return those that do not fit."""
        unfit = []
        for job in jobs:
            folder = Folder(job._replace(part=job.part + _SUFFIX))
            name = folder.job.part[len(self._place.folder) + 1 :]
            if Place.of(job) == self._place and tar_archive.fits(name, folder.names, job.owner):
                self._add(folder, name)
            else:
                unfit.append(job)
            if self.size_bytes + self._members_bytes >= enough_bytes:
                break
        return unfit

    def jobs(self) -> list[FolderJob]:
        """Return the jobs in it, as they were before."""
        return [folder.job._replace(part=folder.job.part.removesuffix(_SUFFIX)) for folder in self.folders]

    def close(self) -> int:
        """Add what comes at the end; return how many blocks it has."""
        self._members.append(tar_archive.END)
        self._gather()
        rest = bytes(-self.size_bytes % BLOCK_BYTES)
        self.pieces.append(rest)
        self.size_bytes += len(rest)
        return self.size_bytes // BLOCK_BYTES

    def _add(self, folder: Folder, name: bytes) -> None:
        job, members = folder.job, self._members
        if job.is_new:
            files, targets = TarMembers(name, job.owner), folder.names
        else:
            files, start = TarMembers(b"", job.owner), len(self._place.folder) + 1
            targets = [part[start:] for part in folder.parts]
        with SmallFileReader(job.source) as reader:
            for target, (source, size_bytes, mode, modified_ns, inode) in zip(targets, job.files, strict=True):
                data = reader.read(source, size_bytes, modified_ns, inode)
                folder.is_done.append(data is not None)
                if data is not None:
                    header = files.header(target, size_bytes, mode, storable_seconds(modified_ns // _NANOSECONDS))
                    members += (header, data, tar_archive.padding(size_bytes))
                    self._members_bytes += len(header) + size_bytes
        if (own := job.attributes) is not None:
            # Last, for BusyBox leaves the time as a file has changed it. Every tar makes folders that are missing.
            members.append(tar_archive.folder_header(name, own.mode, own.stored_seconds, own.owner))
        self.folders.append(folder)
        self.file_bytes += job.size_bytes
        if self._members_bytes >= _PIECE_BYTES:
            self._gather()

    def _gather(self) -> None:
        self.pieces.append(b"".join(self._members))
        self.size_bytes += len(self.pieces[-1])
        self._members.clear()
        self._members_bytes = 0
