"""Names at a destination: where a replica's folders and links lie, and which names may be believed.

Pure: values in, values out. Names come back from a destination that nobody vouches for, so everything here
that reads a name is strict; acting on it is left to `publish`, `restore` and `verify`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from replicator.rocksdb.filenames import FileKind, FileName, parse_file_name

CATALOG_NAME = "replica.json"
CHECKSUMS_NAME = "SHA256SUMS"
#: In an upload that began as a retired generation: what is added to what that one's catalog tells of.
DRAFT_NAME = "draft.json"

_CURRENT_LINK = "checkpoint_current"
_PREVIOUS_LINK = "checkpoint_prev"
_GENERATIONS = "generations"
_INCOMING = "incoming"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LAST_MILLISECONDS = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_ID_PATTERN = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z", re.ASCII)
_NAME_MAX_BYTES = 255


@dataclass(frozen=True, slots=True, order=True)
class GenerationId:
    """The name of a generation: the UTC time of its capture, as in `20261122T153000.123Z`.

    Ids order as their texts do, which is by age.
    """

    unix_milliseconds: int

    def __post_init__(self) -> None:
        if not 0 <= self.unix_milliseconds <= _LAST_MILLISECONDS:
            raise ValueError(
                f"{self.unix_milliseconds} ms since the epoch is outside the years that an id can name"
            )

    @classmethod
    def at(cls, moment: datetime) -> GenerationId:
        """Name the instant `moment` (with a time zone), cut to milliseconds."""
        return cls((moment - _EPOCH) // _MILLISECOND)

    @classmethod
    def parse(cls, text: str) -> GenerationId:
        """Read an id back; raises `ValueError` for anything that `str` would not have written."""
        match = _ID_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a generation id such as 20261122T153000.123Z")
        second = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return cls.at(second + int(match[2]) * _MILLISECOND)

    def __str__(self) -> str:
        time = self.time
        return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"

    @property
    def time(self) -> datetime:
        """The instant that it names, in UTC."""
        return _EPOCH + self.unix_milliseconds * _MILLISECOND

    def after(self, previous: GenerationId | None) -> GenerationId:
        """Return this id, or the next one above `previous` where the clock has been set back.

        Raises `ValueError` when there is none above `previous`.
        """
        if previous is None or self > previous:
            return self
        return GenerationId(previous.unix_milliseconds + 1)


@dataclass(frozen=True, slots=True)
class ReplicaLayout:
    """The paths of one database's replica, relative to the base of its destination."""

    database: str

    def __post_init__(self) -> None:
        if self.database in {"", ".", ".."} or "/" in self.database or "\0" in self.database:
            raise ValueError(f"{self.database!r} cannot be the name of a folder")

    @property
    def folder(self) -> PurePosixPath:
        """The folder of the database."""
        return PurePosixPath(self.database)

    @property
    def generations(self) -> PurePosixPath:
        """The folder of all complete generations."""
        return self.folder / _GENERATIONS

    @property
    def incoming(self) -> PurePosixPath:
        """The folder of uploads under way, broken off, or retired and not yet removed."""
        return self.folder / _INCOMING

    @property
    def current_link(self) -> PurePosixPath:
        """The link to the newest generation."""
        return self.folder / _CURRENT_LINK

    @property
    def previous_link(self) -> PurePosixPath:
        """The link to the generation before it."""
        return self.folder / _PREVIOUS_LINK

    def generation(self, generation: GenerationId) -> PurePosixPath:
        """Return the folder of a complete generation."""
        return self.generations / str(generation)

    def upload(self, generation: GenerationId) -> PurePosixPath:
        """Return the folder in which a generation is put together."""
        return self.incoming / str(generation)


def link_text(generation: GenerationId) -> str:
    """Return what a link to a generation says; it is relative, so the whole replica can be moved."""
    return f"{_GENERATIONS}/{generation}"


def parse_link_text(text: str) -> GenerationId | None:
    """Read a link back; None unless it names a generation of the same replica."""
    folder, _, name = text.partition("/")
    return parse_id(name) if folder == _GENERATIONS else None


def parse_id(name: str) -> GenerationId | None:
    """Read the name of a folder; None unless it is a generation id."""
    try:
        return GenerationId.parse(name)
    except ValueError:
        return None


def parse_database_file(name: str) -> FileName | None:
    """Read the name of a file of a generation; None unless it is safe and part of a database."""
    # RocksDB's own names are far shorter; the bound keeps a hostile number from being converted.
    return parse_file_name(name) if len(name) <= _NAME_MAX_BYTES else None


def wal_number(name: str) -> int | None:
    """Return the number of a write-ahead log; None for the name of anything else."""
    parsed = parse_database_file(name)
    return parsed.number if parsed and parsed.kind is FileKind.WAL else None
