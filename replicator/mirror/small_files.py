"""Sending small files many at a time, and small new folders as a whole.

What is not done here, for whatever reason, is left to be sent file by file, which tells the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.destination.interface import SMALL_FILE_BYTES, EntryKind, FolderUpload, Owner, SmallFile
from replicator.errors import InterruptedTransferError
from replicator.liveness import own_pulse
from replicator.mirror.paths import join, name_of, parent_of
from replicator.mirror.sending import FILE_COST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import Destination
    from replicator.mirror.plan import LocalEntry
    from replicator.mirror.scan import LocalTree
    from replicator.mirror.sending import Pace, Tally
    from replicator.mirror.staging import Staging

_Item = tuple[str, "LocalEntry"]

#: More than that is split, for others who take a part in it.
_MOST_FILES: Final = 200
_MOST_BYTES: Final = 1 << 20
_OWNER_BITS: Final = 0o6000


class SmallFileSender:
    """Sends files below one tree to one destination."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self,
        destination: Destination,
        local: LocalTree,
        staging: Staging,
        *,
        there: Callable[[str], PurePosixPath],
        with_owner: bool,
        pace: Pace,
        tally: Tally,
        on_sent: Callable[[str, LocalEntry], None],
    ) -> None:
        self._destination = destination
        self._local = local
        self._staging = staging
        self._there = there
        self._with_owner = with_owner
        self._pace = pace
        self._tally = tally
        self._on_sent = on_sent

    def takes(self, entry: LocalEntry) -> bool:
        """Say whether it is a file that can be sent in this way."""
        if entry.kind is not EntryKind.FILE or entry.size_bytes > SMALL_FILE_BYTES:
            return False
        return not (self._with_owner and entry.mode & _OWNER_BITS)

    def takes_folder(self, entries: Mapping[str, LocalEntry]) -> bool:
        """Say whether a folder with just this in it can be sent as a whole."""
        if not 0 < len(entries) <= _MOST_FILES:
            return False
        first = next(iter(entries.values()))
        return sum(entry.size_bytes for entry in entries.values()) <= _MOST_BYTES and all(
            self.takes(entry) and self._owner(entry) == self._owner(first) for entry in entries.values()
        )

    def send(self, items: Iterable[tuple[str, LocalEntry]]) -> list[_Item]:
        """Send files, each of which it `takes`; return those that were left."""
        groups: dict[tuple[str, Owner | None], list[_Item]] = {}
        for path, entry in items:
            groups.setdefault((parent_of(path), self._owner(entry)), []).append((path, entry))
        return self._send(
            [
                _Parcel(folder, owner, found[start : start + _MOST_FILES])
                for (folder, owner), found in groups.items()
                for start in range(0, len(found), _MOST_FILES)
            ],
            are_new=False,
        )

    def send_folders(self, folders: Mapping[str, Mapping[str, LocalEntry]]) -> list[_Item]:
        """Send folders that are missing or empty there, each of which it `takes_folder`.

        Returns the files that were left: they are all of their folder, which is not there then.
        """
        return self._send(
            [
                _Parcel(
                    folder,
                    self._owner(next(iter(entries.values()))),
                    [(join(folder, name), entry) for name, entry in entries.items()],
                )
                for folder, entries in folders.items()
            ],
            are_new=True,
        )

    def _owner(self, entry: LocalEntry) -> Owner | None:
        return Owner(entry.user_id, entry.group_id) if self._with_owner else None

    def _send(self, parcels: Sequence[_Parcel], *, are_new: bool) -> list[_Item]:
        uploads: list[FolderUpload] = []
        seen = _Sending(self._tally, self._pace)
        for parcel in parcels:
            source = self._local.source_folder(parcel.folder)
            if source is None:
                seen.left += parcel.items
                continue
            files = tuple(
                SmallFile(name_of(path), entry.size_bytes, entry.mode, entry.modified_ns, entry.inode)
                for path, entry in parcel.items
            )
            part = self._staging.part()
            seen.waiting[part] = parcel.items
            there = self._there(parcel.folder)
            uploads.append(FolderUpload(source, there, files, part, parcel.owner, is_new=are_new))
        try:
            while rest := [upload for upload in uploads if upload.part in seen.waiting]:
                try:
                    self._destination.upload_folders(rest, seen)
                except InterruptedTransferError:
                    self._pace.wait()
        finally:
            self._tally.files += len(seen.done)
            for path, entry in seen.done:
                self._on_sent(path, entry)
        return seen.left


class _Parcel(NamedTuple):
    """Files of one folder and one owner."""

    folder: str
    owner: Owner | None
    items: list[_Item]


class _Sending:
    """A `FolderObserver`."""

    def __init__(self, tally: Tally, pace: Pace) -> None:
        self._tally = tally
        self._pace = pace
        self._pulse = own_pulse()
        #: By their parts.
        self.waiting: dict[PurePosixPath, list[_Item]] = {}
        self.done: list[_Item] = []
        self.left: list[_Item] = []

    def bytes_moved(self, count: int) -> None:
        """See `BulkObserver`."""
        self._tally.sent_bytes += count
        self._pace.note_sent(count)
        if self._pulse:  # not always on this thread
            self._pulse.beat()

    def stop_requested(self) -> bool:
        """See `BulkObserver`."""
        return not self._pace.may_begin()

    def folder_done(self, upload: FolderUpload, left: Sequence[str]) -> None:
        """See `FolderObserver`."""
        self._pace.note_sent(FILE_COST_BYTES * len(upload.files))
        items = self.waiting.pop(upload.part)
        if not left:
            self.done += items
            return
        names = set(left)
        for item in items:
            (self.left if name_of(item[0]) in names else self.done).append(item)
