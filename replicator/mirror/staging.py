"""A mirror's own folder at a destination, beside the mirrored tree: who writes it, and files on their way.

    BASE/NAME/                          the mirrored tree, and nothing else
    BASE/.replicator-mirror-NAME/
        owner.json                      host and path of the source
        parts-<random>/                 files that are being sent; what broke off is removed at the next start

A name in the tree may be as long as names can be, so a file on its way cannot have that name with something added,
and nothing that is half there must be seen in the tree.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import EntryKind, FileAttributes, Owner
from replicator.errors import NotFoundError, ProtocolError, WrongWriterError

if TYPE_CHECKING:
    from replicator.destination.interface import Destination

_OWNER_NAME: Final = "owner.json"
_PARTS_PREFIX: Final = "parts-"
_OWNER_LIMIT_BYTES: Final = 64 * 1024
_PROBE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class MirrorSource:
    """Who writes a mirror: a host, and the folder there."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"


def folder_of(name: str) -> PurePosixPath:
    """Return the folder beside the tree of the mirror of that name."""
    return PurePosixPath(f".replicator-mirror-{name}")


def owner_of(destination: Destination, name: str) -> MirrorSource | None:
    """Return who writes the mirror; None if nobody does yet. Raises `ProtocolError` if that cannot be told."""
    path = folder_of(name) / _OWNER_NAME
    try:
        document = json.loads(destination.read_bytes(path, limit_bytes=_OWNER_LIMIT_BYTES))
        return MirrorSource(host=str(document["host"]), path=str(document["path"]))
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(
            f"{destination.label}: {path} is damaged, so that nobody can tell who writes the mirror {name}",
            hint="remove that file if this host is the one that is to write it",
        ) from error


class Staging:
    """Where files of one mirror are put together, over one connection."""

    def __init__(self, destination: Destination, name: str) -> None:
        self._destination = destination
        self._name = name
        self._folder = folder_of(name)
        self._parts = self._folder / f"{_PARTS_PREFIX}{secrets.token_hex(8)}"
        self._parts_text = str(self._parts)
        self._count = 0

    def prepare(self, source: MirrorSource, *, take_over: bool, take_over_command: str) -> None:
        """Make `source` the owner, remove what broke off, and get ready.

        Raises `WrongWriterError` if the mirror belongs to another source, unless `take_over`.
        """
        owner = owner_of(self._destination, self._name)
        if owner not in {None, source} and not take_over:
            raise WrongWriterError(
                f"{self._destination.label}: {self._name} is a mirror of {owner}; this is {source}",
                hint=f"if this host is the one to write it from now on: {take_over_command}",
            )
        self._destination.make_folder(self._folder)
        if owner != source:
            document = json.dumps({"host": source.host, "path": source.path})
            self._destination.write_bytes(self._folder / _OWNER_NAME, document.encode())
        for entry in self._destination.list_folder(self._folder):
            if entry.name.startswith(_PARTS_PREFIX):
                self._destination.remove_tree(self._folder / entry.name)
        self._destination.make_folder(self._parts)

    def part(self) -> PurePosixPath:
        """Return a name that was not given out before."""
        return PurePosixPath(self.part_text())

    def part_text(self) -> str:
        """Return one as text."""
        self._count += 1
        return f"{self._parts_text}/{self._count}"

    def may_set_owner(self) -> bool:
        """Try whether the account may give files to other owners."""
        probe = self.part()
        self._destination.write_bytes(probe, b"")
        stranger = Owner(user_id=1, group_id=1)
        self._destination.set_attributes([(probe, FileAttributes(_PROBE_MODE, 0, stranger))])
        (found,) = self._destination.look_up([probe])
        self._destination.remove_files([probe])
        return found is not None and found.kind is EntryKind.FILE and found.owner == stranger
