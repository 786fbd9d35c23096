"""Sending small files many at a time, and small new folders as a whole.

What is not done here, for whatever reason, is left to be sent file by file, which tells the reason.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from replicator.destination.interface import SMALL_FILE_BYTES, EntryKind, FolderUpload, Owner, SmallFile
from replicator.errors import InterruptedTransferError
from replicator.liveness import own_pulse
from replicator.mirror.paths import join, name_of, parent_of
from replicator.mirror.sending import FILE_COST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from replicator.destination.interface import Destination, FileAttributes
    from replicator.mirror.plan import LocalEntry
    from replicator.mirror.scan import LocalTree
    from replicator.mirror.sending import Pace, Tally
    from replicator.mirror.sent_files import SentFiles
    from replicator.mirror.staging import Staging

_Item = tuple[str, "LocalEntry"]

#: More than that is split, for others who take a part in it.
_MOST_FILES: Final = 64
_MOST_BYTES: Final = 512 << 10
_OWNER_BITS: Final = 0o6000


class Parcel(NamedTuple):
    """Files of one folder, by name, and what the destination is to do with them."""

    folder: str
    files: Mapping[str, LocalEntry]
    upload: FolderUpload
    size_bytes: int


class SmallFileSender:
    """Sends files below one tree to one destination."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self,
        destination: Destination,
        local: LocalTree,
        staging: Staging,
        *,
        there: Callable[[str], str],
        with_owner: bool,
        pace: Pace,
        tally: Tally,
        sent: SentFiles,
    ) -> None:
        self._destination = destination
        self._local = local
        self._staging = staging
        self._there = there
        self._with_owner = with_owner
        self._pace = pace
        self._tally = tally
        self._sent = sent

    def takes(self, entry: LocalEntry) -> bool:
        """Say whether it is a file that can be sent in this way."""
        if entry.kind is not EntryKind.FILE or entry.size_bytes > SMALL_FILE_BYTES:
            return False
        return not (self._with_owner and entry.mode & _OWNER_BITS)

    def send(self, items: Iterable[tuple[str, LocalEntry]]) -> list[_Item]:
        """Send files, each of which it `takes`; return those that were left."""
        groups: dict[tuple[str, Owner | None], list[_Item]] = {}
        for path, entry in items:
            groups.setdefault((parent_of(path), self._owner(entry)), []).append((name_of(path), entry))
        parcels = []
        left: list[_Item] = []
        for (folder, owner), found in groups.items():
            source = self._local.source_folder(folder)
            for files in _portions(found):
                if source is None:
                    left += _items(folder, files)
                    continue
                small = tuple(_small_file(name, entry) for name, entry in files.items())
                upload = FolderUpload(source, self._there(folder), small, self._staging.part_text(), owner)
                parcels.append(Parcel(folder, files, upload, sum(file.size_bytes for file in small)))
        return [*left, *self._ship(parcels, lambda: None).wait()]

    def new_folder(
        self, folder: str, entries: Mapping[str, LocalEntry], attributes: FileAttributes | None
    ) -> Parcel | None:
        """Return the parcel of a folder that is missing or empty there; None if it cannot be sent as a whole."""
        if not 0 < len(entries) <= _MOST_FILES:
            return None
        small = []
        total_bytes = 0
        owner: Owner | None = None
        # As `takes` and `_small_file` do it, without their ceremony: this is done for every file of a new tree.
        new, file, with_owner = tuple.__new__, EntryKind.FILE, self._with_owner
        owner_bits = _OWNER_BITS if with_owner else 0
        for name, entry in entries.items():
            kind, size_bytes, modified_ns, _, mode, user_id, group_id, inode, links = entry
            # One of several names of a file is to be noted as such.
            if links > 1 or kind is not file or size_bytes > SMALL_FILE_BYTES or mode & owner_bits:
                return None
            if owner is None:
                owner = Owner(user_id, group_id)
            elif with_owner and owner != (user_id, group_id):
                return None
            total_bytes += size_bytes
            small.append(new(SmallFile, (name, size_bytes, mode, modified_ns, inode)))
        source = self._local.source_folder(folder)
        if source is None or total_bytes > _MOST_BYTES:
            return None
        upload = FolderUpload(
            source,
            self._there(folder),
            tuple(small),
            self._staging.part_text(),
            owner if with_owner else None,
            is_new=True,
            attributes=attributes,
        )
        return Parcel(folder, entries, upload, total_bytes)

    def begin(self, parcels: Sequence[Parcel]) -> Shipment:
        """Begin to send parcels, all that were made since the last time; nobody else uses the destination then."""
        return self._ship(parcels, self._local.hand_over())

    def _ship(self, parcels: Sequence[Parcel], close_folders: Callable[[], None]) -> Shipment:
        return Shipment(
            parcels, self._destination, close_folders, pace=self._pace, tally=self._tally, sent=self._sent
        )

    def _owner(self, entry: LocalEntry) -> Owner | None:
        return Owner(entry.user_id, entry.group_id) if self._with_owner else None


class Shipment:
    """Parcels on their way: sent on a thread of its own, until `wait`, which must follow."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self,
        parcels: Sequence[Parcel],
        destination: Destination,
        close_folders: Callable[[], None],
        *,
        pace: Pace,
        tally: Tally,
        sent: SentFiles,
    ) -> None:
        self._uploads = [parcel.upload for parcel in parcels]
        self._destination = destination
        self._close_folders = close_folders
        self._pace = pace
        self._tally = tally
        self._sent = sent
        self._seen = _Seen(parcels, tally, pace)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        if parcels:
            # It gives the signs of life of this thread, which waits for it.
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._run,), name="mirror-shipment")
            self._thread.start()

    def _run(self) -> None:
        try:
            self._upload()
        except BaseException as error:  # noqa: BLE001 - raised by `wait`
            self._error = error

    def _upload(self) -> None:
        rest = [upload for upload in self._uploads if upload.part in self._seen.waiting]
        self._destination.upload_folders(rest, self._seen)

    def wait(self) -> list[_Item]:
        """Wait until all are sent; return what was left: of a new folder that is all, and it is not there."""
        try:
            if self._thread is not None:
                self._thread.join()
            while self._seen.waiting:
                error, self._error = self._error, None
                if error is not None and not isinstance(error, InterruptedTransferError):
                    raise error
                self._pace.wait()
                self._run()
        finally:
            self._close_folders()
            for parcel in self._seen.done:
                self._tally.files += len(parcel.files)
                self._sent.remember_all(parcel.folder, parcel.files)
        return self._seen.left


class _Seen:
    """A `FolderObserver`."""

    def __init__(self, parcels: Sequence[Parcel], tally: Tally, pace: Pace) -> None:
        self._tally = tally
        self._pace = pace
        self._pulse = own_pulse()
        self.waiting = {parcel.upload.part: parcel for parcel in parcels}
        self.done: list[Parcel] = []
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
        parcel = self.waiting.pop(upload.part)
        if not left:
            self.done.append(parcel)
            return
        missing = {name: parcel.files[name] for name in left}
        self.left += _items(parcel.folder, missing)
        arrived = {name: entry for name, entry in parcel.files.items() if name not in missing}
        self.done.append(parcel._replace(files=arrived))


def _portions(files: Sequence[_Item]) -> Iterator[dict[str, LocalEntry]]:
    """Yield the files, so many at a time as make a parcel."""
    portion: dict[str, LocalEntry] = {}
    size_bytes = 0
    for name, entry in files:
        portion[name] = entry
        size_bytes += entry.size_bytes
        if len(portion) >= _MOST_FILES or size_bytes >= _MOST_BYTES:
            yield portion
            portion, size_bytes = {}, 0
    if portion:
        yield portion


def _items(folder: str, files: Mapping[str, LocalEntry]) -> list[_Item]:
    return [(join(folder, name), entry) for name, entry in files.items()]


def _small_file(name: str, entry: LocalEntry) -> SmallFile:
    return SmallFile(name, entry.size_bytes, entry.mode, entry.modified_ns, entry.inode)
