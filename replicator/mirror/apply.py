"""Changing a mirror at a destination, many items at a time.

An item that fails for a reason of its own is told in the tally, and the others go on; what concerns the
destination as a whole (no connection, no space, no login) is raised.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from replicator.destination.interface import EntryKind, SymbolicLink, Upload
from replicator.errors import (
    AuthenticationError,
    DestinationError,
    HostKeyError,
    InterruptedTransferError,
    MissingCapabilityError,
    NoSpaceError,
    NotFoundError,
    PermanentDestinationError,
    SourceChangedError,
    WrongWriterError,
)
from replicator.mirror.paths import folders_above, join
from replicator.mirror.sending import Sending, Tally
from replicator.mirror.small_files import Parcel, Shipment, SmallFileSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from replicator.destination.interface import Destination, FileAttributes
    from replicator.errors import ReplicatorError
    from replicator.mirror.plan import LocalEntry
    from replicator.mirror.scan import LocalTree
    from replicator.mirror.sending import Pace
    from replicator.mirror.sent_files import SentFiles
    from replicator.mirror.staging import Staging

_Item = TypeVar("_Item")

_OF_THE_WHOLE: Final = (
    AuthenticationError,
    HostKeyError,
    MissingCapabilityError,
    NoSpaceError,
    WrongWriterError,
)
#: A folder that is worked in must at least allow that to its owner.
WORKABLE_MODE: Final = 0o700
#: Clocks of filesystems tick every few milliseconds.
_TICK_SECONDS: Final = 0.1
_NANOSECONDS: Final = 1_000_000_000
#: A file that is older than that is not tentative.
_TENTATIVE_SECONDS: Final = 1 + 2 * _TICK_SECONDS
_MODIFIED_NS: Final = attrgetter("modified_ns")


@dataclass(frozen=True, slots=True)
class Tentative:
    """A file that was sent before the second of its modification was over.

    It could be changed again without a difference in size or in whole seconds. So it lies there with the second
    before, which any comparison notices, until it is known that it was not.
    """

    entry: LocalEntry
    over_at_seconds: float


class Applier:
    """Acts on the mirror below `top` at a destination; `local` is open. `with_owner`: owners can be set there."""

    def __init__(  # noqa: PLR0913 - what there is to know
        self,
        destination: Destination,
        top: PurePosixPath,
        local: LocalTree,
        staging: Staging,
        *,
        with_owner: bool,
        pace: Pace,
        tentative: dict[str, Tentative],
        sent: SentFiles,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`tentative` and `sent` outlive this object."""
        self.destination = destination
        self.local = local
        self.with_owner = with_owner
        self.tally = Tally()
        self.tentative = tentative
        #: Paths that failed at the destination.
        self.rejected: set[str] = set()
        self._sent = sent
        self._top = top
        self._top_text = str(top)
        self._staging = staging
        self._pace = pace
        self._clock = clock
        self._small = SmallFileSender(
            destination,
            local,
            staging,
            there=self.text_there,
            with_owner=with_owner,
            pace=pace,
            tally=self.tally,
            sent=sent,
        )
        #: Folders that do not let their owner work in them: they get their attributes when all is done.
        self._opened: set[str] = set()

    def there(self, path: str) -> PurePosixPath:
        """Return the path at the destination."""
        return self._top / path if path else self._top

    def text_there(self, path: str) -> str:
        """Return the same as text."""
        return join(self._top_text, path) if path else self._top_text

    # --- contents ------------------------------------------------------------------------------------

    def send(self, items: Sequence[tuple[str, LocalEntry]], *, may_change: bool = False) -> None:
        """Send files; those that are gone are no failures.

        With `may_change`, of one that never holds still as much is sent as there was when it was begun.
        """
        paths: dict[PurePosixPath, str] = {}
        uploads = []
        if not may_change:
            items = self._send_small(items)
        for path, entry in items:
            source = self.local.source_of(path)
            if source is not None:
                upload = self._upload(path, entry, source, may_change=may_change)
                paths[upload.target] = path
                uploads.append(upload)
        seen = Sending(self.tally, paths, self._pace)
        try:
            self._send(uploads, seen)
        finally:
            self.tally.files += len(seen.done)
            for path in paths.values():
                if path not in seen.done:
                    self.tentative.pop(path, None)
        for path, entry in items:
            if path in seen.done and not may_change:
                self._sent.remember(path, entry)

    def new_folder(self, folder: str, entries: Mapping[str, LocalEntry], own: LocalEntry | None) -> Parcel | None:
        """Return the parcel of a folder that is missing or empty there; None if it cannot be sent as one piece.

        `own` is the folder itself, which then comes with its attributes.
        """
        # Most are older than that, which is seen with one look at each.
        latest_ns = max(map(_MODIFIED_NS, entries.values()), default=0)
        is_recent = latest_ns > (self._clock() - _TENTATIVE_SECONDS) * _NANOSECONDS
        if is_recent and any(map(self._is_tentative, entries.values())):
            return None
        attributes = None if own is None else own.attributes(with_owner=self.with_owner)
        return self._small.new_folder(folder, entries, attributes)

    def begin(self, parcels: Sequence[Parcel]) -> Shipment:
        """Begin to send parcels; nothing else is to be done at the destination before `Shipment.wait`."""
        return self._small.begin(parcels)

    def _send_small(self, items: Sequence[tuple[str, LocalEntry]]) -> list[tuple[str, LocalEntry]]:
        """Send what can be sent with little ado; return the rest."""
        small, rest = [], []
        for item in items:
            path, entry = item
            if self._small.takes(entry) and not self._is_tentative(entry):
                self.tentative.pop(path, None)
                small.append(item)
            else:
                rest.append(item)
        return [*rest, *self._small.send(small)]

    def _upload(self, path: str, entry: LocalEntry, source: Path, *, may_change: bool) -> Upload:
        attributes = entry.attributes(with_owner=self.with_owner)
        self.tentative.pop(path, None)
        if may_change or self._is_tentative(entry):
            attributes = _before(attributes)
            if not may_change:
                self.tentative[path] = Tentative(entry, entry.modified_seconds + 1 + _TICK_SECONDS)
        return Upload(
            source,
            self.there(path),
            entry.size_bytes,
            attributes=attributes,
            part=self._staging.part(),
            sync=False,
            optional=not may_change,
        )

    def _send(self, uploads: Sequence[Upload], seen: Sending) -> None:
        def upload(some: Sequence[Upload]) -> None:
            self.destination.upload([item for item in some if seen.is_waiting(item)], seen)

        while rest := [item for item in uploads if seen.is_waiting(item)]:
            try:
                self._each(rest, upload, seen.path_of)
            except InterruptedTransferError:
                self._pace.wait()
            else:
                return

    def make_links(self, paths: Iterable[str]) -> None:
        """Make symbolic links as they are here."""
        texts = ((path, self.local.read_link(path)) for path in paths)
        links = [
            (path, SymbolicLink(self.there(path), text, part=self._staging.part()))
            for path, text in texts
            if text is not None
        ]
        done = self._each(
            links,
            lambda some: self.destination.make_symlinks([link for _, link in some]),
            lambda item: item[0],
        )
        self.tally.files += len(done)

    def compare_links(self, paths: Sequence[str]) -> None:
        """Make those links anew that have another text there."""
        if paths:
            texts = self.destination.read_links([self.there(path) for path in paths])
            self.make_links(
                path
                for path, text in zip(paths, texts, strict=True)
                if (here := self.local.read_link(path)) is not None and here != text
            )

    # --- folders -------------------------------------------------------------------------------------

    def make_folders(self, paths: Sequence[str]) -> None:
        """Make folders, which stand in the order parents first."""
        self._each(
            list(paths),
            lambda some: self.destination.make_folders([self.there(path) for path in some]),
            lambda path: path,
        )

    def open_folders(self, paths: Iterable[str]) -> None:
        """Let the owner work in folders that do not allow it; `finish_folders` or `close_folders` undoes that."""
        changes = []
        for path in paths:
            for folder in reversed([path, *folders_above(path)]):
                entry = None if folder in self._opened else self.local.look(folder)
                if entry and entry.kind is EntryKind.FOLDER and entry.mode & WORKABLE_MODE != WORKABLE_MODE:
                    self._opened.add(folder)
                    changes.append((folder, entry))
        self.open_folders_as(changes)

    def open_folders_as(self, folders: Sequence[tuple[str, LocalEntry]]) -> None:
        """The same for folders that are known to need it."""
        self._opened.update(path for path, _ in folders)
        self._set([(path, _workable(entry.attributes(with_owner=self.with_owner))) for path, entry in folders])

    def finish_folders(self, paths: Iterable[str]) -> None:
        """Give folders in which nothing more is to be done their attributes."""
        ready = []
        for path in sorted(set(paths), reverse=True):  # what is below comes first
            if path in self._opened:
                continue
            entry = self.local.look(path)
            if entry is None or entry.kind is not EntryKind.FOLDER:
                continue
            if entry.mode & WORKABLE_MODE != WORKABLE_MODE:
                self._opened.add(path)
            else:
                ready.append((path, entry.attributes(with_owner=self.with_owner)))
        self._set(ready)

    def close_folders(self) -> None:
        """Give those folders their attributes that had to wait for all the others."""
        folders, self._opened = sorted(self._opened, reverse=True), set()
        ready = []
        for path in folders:
            entry = self.local.look(path)
            if entry is not None and entry.kind is EntryKind.FOLDER:
                ready.append((path, entry.attributes(with_owner=self.with_owner)))
        # One by one in effect: below a folder that is closed nothing can be set any more.
        deepest_first: dict[int, list[tuple[str, FileAttributes]]] = {}
        for path, attributes in ready:
            deepest_first.setdefault(path.count("/") + bool(path), []).append((path, attributes))
        for depth in sorted(deepest_first, reverse=True):
            self._set(deepest_first[depth])

    # --- attributes ----------------------------------------------------------------------------------

    def adjust(self, items: Iterable[tuple[str, LocalEntry]]) -> None:
        """Give files their attributes; the contents are there."""
        for path in self._set([(path, entry.attributes(with_owner=self.with_owner)) for path, entry in items]):
            self.fail(path, NotFoundError(f"{self.destination.label}: {self.there(path)} is gone"))

    def settle(self) -> list[str]:
        """Give files their own time whose second is over; return them.

        What was changed meanwhile keeps the wrong one, and is told as changed.
        """
        now = self._clock()
        over = {path: item for path, item in self.tentative.items() if item.over_at_seconds <= now}
        unchanged = []
        for path, item in over.items():
            if self.local.look(path) == item.entry:
                unchanged.append((path, item.entry.attributes(with_owner=self.with_owner)))
            else:
                self.tally.changed.add(path)
        self._set(unchanged)
        for path in over:  # not before it is done
            del self.tentative[path]
        return list(over)

    # --- removal -------------------------------------------------------------------------------------

    def remove_files(self, paths: Sequence[str]) -> None:
        """Remove files and links."""
        done = self._each(
            list(paths),
            lambda some: self.destination.remove_files([self.there(path) for path in some]),
            lambda path: path,
        )
        self.tally.deletes += len(done)

    def remove_folder(self, path: str, files: int) -> None:
        """Remove a folder with all in it, which are so many files."""
        if self._each([path], lambda _: self.destination.remove_tree(self.there(path)), lambda item: item):
            self.tally.deletes += max(files, 1)

    # --- parts ---------------------------------------------------------------------------------------

    def _set(self, items: Sequence[tuple[str, FileAttributes]]) -> list[str]:
        """Set attributes; return the paths that are not there."""
        missing: list[PurePosixPath] = []
        self._each(
            list(items),
            lambda some: missing.extend(
                self.destination.set_attributes([(self.there(path), value) for path, value in some])
            ),
            lambda item: item[0],
        )
        return [path for path, _ in items if self.there(path) in missing] if missing else []

    def _each(
        self, items: Sequence[_Item], act: Callable[[Sequence[_Item]], object], name: Callable[[_Item], str]
    ) -> list[_Item]:
        """Do it for all at once; if that fails, find out for which. Return those that worked."""
        done: list[_Item] = []
        waiting = deque([items] if items else [])
        while waiting:
            some = waiting.popleft()
            try:
                act(some)
            except PermanentDestinationError as error:
                if isinstance(error, _OF_THE_WHOLE):
                    raise
                if len(some) == 1:
                    self.fail(name(some[0]), error)
                else:
                    half = len(some) // 2
                    waiting.extendleft([some[half:], some[:half]])
            except SourceChangedError:
                if len(some) > 1:
                    waiting.extendleft([[item] for item in some])
            else:
                done.extend(some)
        return done

    def fail(self, path: str, error: ReplicatorError) -> None:
        """Note that something could not be done with this path."""
        self.tally.failures[path] = str(error)
        if isinstance(error, DestinationError):
            self.rejected.add(path)

    def _is_tentative(self, entry: LocalEntry) -> bool:
        return 0 <= self._clock() + _TICK_SECONDS - entry.modified_seconds < _TENTATIVE_SECONDS


def _before(attributes: FileAttributes) -> FileAttributes:
    return type(attributes)(attributes.mode, max(attributes.modified_seconds - 1, 0), attributes.owner)


def _workable(attributes: FileAttributes) -> FileAttributes:
    return type(attributes)(attributes.mode | WORKABLE_MODE, attributes.modified_seconds, attributes.owner)
