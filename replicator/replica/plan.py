"""Decide for every file of a checkpoint whether the destination has it already or what must be sent.

Pure: an inventory and what is known of the destination in, actions out; `publish` carries them out.

A table or blob file is had already when its name, its size and its identity are all equal. A write-ahead log has
no identity: it is compared by SHA-256, at each length of which the destination's digest is known, for it may have
grown by what was shipped. One that may still grow is never shared by hard link: what is shipped to one generation
must not change another. CURRENT, MANIFEST, OPTIONS and IDENTITY are small and always sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.destination.interface import Prefix
from replicator.errors import MissingCapabilityError
from replicator.replica.growing_logs import growing_logs
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import PurePosixPath

    from replicator.destination.interface import Capabilities
    from replicator.replica.catalog import CatalogFile
    from replicator.rocksdb.inventory import DatabaseFile, Inventory


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A finished file at the destination, as its catalog or draft describes it, and what was shipped to it.

    Its folder's listing has shown that it has the size. `sha256` is None where only a draft tells of the file, and
    where a write-ahead log may be torn. `prefixes` is what is known of the first bytes of a log: digest by length.
    """

    path: PurePosixPath
    size_bytes: int
    identity: str
    sha256: str | None
    prefixes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the destination has, by name.

    `generation` is the newest complete generation; `upload` is the folder in which the new one is put
    together, with what an earlier try left in it. `seed` is what a retired generation left in it: tables and blob
    files, as they were published.
    """

    generation: Mapping[str, StoredFile] = field(default_factory=dict)
    upload: Mapping[str, StoredFile] = field(default_factory=dict)
    seed: Mapping[str, CatalogFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Keep:
    """The file lies in the upload folder already; without `sha256` it is to be taken from our own file."""

    file: DatabaseFile
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Reuse:
    """The file is had from `source`, by hard link or by the destination's own copy.

    Of a log that is copied, `source` may have more bytes than the file.
    """

    file: DatabaseFile
    source: PurePosixPath
    sha256: str


@dataclass(frozen=True, slots=True)
class Send:
    """The file is sent; with a `prefix` only what follows it."""

    file: DatabaseFile
    prefix: Prefix | None = None

    @property
    def size_bytes(self) -> int:
        """How much crosses the wire."""
        return self.file.size_bytes - (self.prefix.size_bytes if self.prefix else 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """One action for each file of the inventory, unless it is in the seed, and stays there: `seeded`."""

    keep: tuple[Keep, ...]
    link: tuple[Reuse, ...]
    copy: tuple[Reuse, ...]
    send: tuple[Send, ...]
    seeded: tuple[CatalogFile, ...] = ()

    @property
    def send_bytes(self) -> int:
        """How much crosses the wire."""
        return sum(action.size_bytes for action in self.send)


@dataclass(frozen=True, slots=True)
class LogDigests:
    """SHA-256 of our write-ahead logs' first bytes: by name, by number of bytes."""

    by_name: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def common_bytes(self, stored: StoredFile, name: str) -> int:
        """Return the most first bytes that our log is known to have in common with the one that is stored."""
        ours = self.by_name[name]
        return max((length for length, sha256 in stored.prefixes.items() if ours.get(length) == sha256), default=0)


def log_lengths(inventory: Inventory, stored: Stored) -> dict[str, tuple[int, ...]]:
    """Say of how many first bytes of each write-ahead log the plan needs the digest, ascending.

    The last one is always the whole log: its draft tells the next try what was sent.
    """
    lengths = {}
    for file in inventory.files:
        if file.kind is FileKind.WAL:
            theirs = (place.get(file.name) for place in (stored.generation, stored.upload))
            known = {length for other in theirs if other for length in other.prefixes}
            wanted = {length for length in known if length <= file.size_bytes}
            lengths[file.name] = tuple(sorted(wanted | {file.size_bytes}))
    return lengths


def make_plan(
    inventory: Inventory,
    stored: Stored,
    capabilities: Capabilities,
    log_digests: LogDigests,
    *,
    reupload: bool,
) -> Plan:
    """Choose the cheapest safe action for every file.

    `reupload` allows a destination that can neither link nor copy, where every generation is sent in full;
    without it such a destination raises `MissingCapabilityError`, at the first publish already.
    """
    if not (capabilities.hard_link or capabilities.server_copy or reupload):
        raise MissingCapabilityError(
            "the server offers neither hardlink@openssh.com nor copy-data: every checkpoint would be sent in full",
            hint="use a server with one of them, such as OpenSSH, or set `reupload = true` on the destination",
        )
    growing = growing_logs({file.name: file.size_bytes for file in inventory.files if file.kind is FileKind.WAL})
    planner = _Planner(stored, capabilities, log_digests, growing)
    seeded, others = _split(inventory.files, stored.seed)
    actions = [planner.action(file) for file in others]
    reuse = tuple(action for action in actions if isinstance(action, Reuse))
    return Plan(
        keep=tuple(action for action in actions if isinstance(action, Keep)),
        link=tuple(action for action in reuse if planner.may_link(action.file)),
        copy=tuple(action for action in reuse if not planner.may_link(action.file)),
        send=tuple(action for action in actions if isinstance(action, Send)),
        seeded=tuple(seeded),
    )


def _split(
    files: Iterable[DatabaseFile], seed: Mapping[str, CatalogFile]
) -> tuple[list[CatalogFile], list[DatabaseFile]]:
    """Return what the seed has of the files, and the others: usually few of many."""
    seeded, others = [], []
    for file in files:
        there = seed.get(file.name)
        if there and there.identity == file.identity and there.size_bytes == file.size_bytes and file.identity:
            seeded.append(there)
        else:
            others.append(file)
    return seeded, others


@dataclass(frozen=True, slots=True)
class _Planner:
    stored: Stored
    capabilities: Capabilities
    log_digests: LogDigests
    growing_logs: frozenset[str]

    def action(self, file: DatabaseFile) -> Keep | Reuse | Send:
        if file.kind in {FileKind.TABLE, FileKind.BLOB}:
            return self._data_file(file)
        if file.kind is FileKind.WAL:
            return self._log(file)
        return Send(file)

    def may_link(self, file: DatabaseFile) -> bool:
        there = self.stored.generation.get(file.name)
        return (
            self.capabilities.hard_link
            and file.name not in self.growing_logs
            and there is not None
            and there.size_bytes == file.size_bytes
        )

    def _may_reuse(self, file: DatabaseFile) -> bool:
        return self.may_link(file) or self.capabilities.server_copy

    def _data_file(self, file: DatabaseFile) -> Keep | Reuse | Send:
        if (there := self.stored.upload.get(file.name)) and _same(file, there):
            return Keep(file, there.sha256)
        there = self.stored.generation.get(file.name)
        if there and there.sha256 and _same(file, there) and self._may_reuse(file):
            return Reuse(file, there.path, there.sha256)
        return Send(file)

    def _log(self, file: DatabaseFile) -> Keep | Reuse | Send:
        whole = self.log_digests.by_name[file.name][file.size_bytes]
        there = self.stored.upload.get(file.name)
        if there and there.size_bytes == file.size_bytes == self.log_digests.common_bytes(there, file.name):
            return Keep(file, whole)
        there = self.stored.generation.get(file.name)
        if there is None:
            return Send(file)
        common_bytes = self.log_digests.common_bytes(there, file.name)
        if common_bytes == file.size_bytes and self._may_reuse(file):
            return Reuse(file, there.path, whole)
        if common_bytes and self.capabilities.server_copy:
            return Send(file, Prefix(there.path, common_bytes))
        return Send(file)


def _same(file: DatabaseFile, stored: StoredFile) -> bool:
    return bool(file.identity) and (file.size_bytes, file.identity) == (stored.size_bytes, stored.identity)
