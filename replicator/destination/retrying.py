"""Try again what failed for a reason that may pass: a wrapper around any destination.

It connects when something is first asked for, and anew after each `TransientDestinationError`; other errors go
through. Bulk transfers go on with what is not done yet.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from replicator.destination.restartable import FolderProgress, RestartableListing, TransferProgress
from replicator.errors import (
    ConnectionLostError,
    DestinationError,
    InterruptedTransferError,
    TransientDestinationError,
)
from replicator.liveness import beat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path, PurePosixPath
    from types import TracebackType
    from typing import Self

    import tenacity

    from replicator.destination.interface import (
        Append,
        Capabilities,
        Destination,
        Download,
        Entry,
        FileAttributes,
        FolderObserver,
        FolderUpload,
        Link,
        SymbolicLink,
        TransferObserver,
        Upload,
    )

_LOOK_EVERY_SECONDS = 1.0

_Result = TypeVar("_Result")
_Item = TypeVar("_Item", bound="Upload | Download")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to try.

    Waits grow from `first_wait_seconds` by doubling to `longest_wait_seconds`, each with up to
    `first_wait_seconds` added at random, so that many clients of one server do not come back as one.
    """

    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


class RetryingDestination:
    """Implements `Destination` on the destinations that `connect` makes.

    A call fails with the last error after `policy.attempts` tries that got nothing done; each file that a bulk
    transfer finishes starts the count anew. `stop` ends waits early, with `InterruptedTransferError`.
    `on_retry` is told the error, the number of the try that failed, and the wait in seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Destination],
        *,
        label: str,
        policy: RetryPolicy = RetryPolicy(),
        stop: threading.Event | None = None,
        on_retry: Callable[[DestinationError, int, float], None] | None = None,
    ) -> None:
        self._connect = connect
        self._label = label
        self._policy = policy
        self._stop = stop or threading.Event()
        self._on_retry = on_retry
        self._lock = threading.Lock()
        self._inner: Destination | None = None
        self._sessions = 0
        self._closed = False
        self._is_broken_off = False

    @property
    def label(self) -> str:
        """How messages name it."""
        return self._label

    @property
    def session(self) -> int:
        """The number of connections that were made so far."""
        return self._sessions

    # --- one by one ----------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        """What it offers."""
        return self._retry(lambda inner: inner.capabilities())

    def list_folder(self, folder: PurePosixPath) -> list[Entry]:
        """All names in `folder`."""
        return self._retry(lambda inner: inner.list_folder(folder))

    def list_folders(self, folders: Iterable[str]) -> Iterator[tuple[str, list[Entry] | None]]:
        """List many folders; after a break those whose result was not given yet are listed again."""
        listing = RestartableListing(folders)
        found = self._retry(listing.advance)
        while found is not None:
            yield found
            found = self._go_on(listing)

    def _go_on(self, listing: RestartableListing) -> tuple[str, list[Entry] | None] | None:
        """Return the next result. Most are there already, and the loop costs more than the rest."""
        if (inner := self._inner) is None:
            return self._retry(listing.advance)
        try:
            return listing.advance(inner)
        except TransientDestinationError as error:
            failed = [error]

        def advance(destination: Destination) -> tuple[str, list[Entry] | None] | None:
            if failed:
                raise failed.pop()  # it was the first try
            return listing.advance(destination)

        return self._retry(advance)

    def look_up(self, paths: Sequence[PurePosixPath]) -> list[Entry | None]:
        """What each of the paths is."""
        return self._retry(lambda inner: inner.look_up(paths))

    def read_bytes(self, path: PurePosixPath, *, limit_bytes: int) -> bytes:
        """All of a small file."""
        return self._retry(lambda inner: inner.read_bytes(path, limit_bytes=limit_bytes))

    def read_link(self, path: PurePosixPath) -> str:
        """Where the symbolic link points."""
        return self._retry(lambda inner: inner.read_link(path))

    def read_links(self, links: Sequence[PurePosixPath]) -> list[str | None]:
        """Where many symbolic links point."""
        return self._retry(lambda inner: inner.read_links(links))

    def write_bytes(self, path: PurePosixPath, data: bytes) -> None:
        """Store a small file durably."""
        self._retry(lambda inner: inner.write_bytes(path, data))

    def make_folder(self, folder: PurePosixPath) -> None:
        """Create `folder` and its parents."""
        self._retry(lambda inner: inner.make_folder(folder))

    def make_folders(self, folders: Sequence[PurePosixPath]) -> None:
        """Create many folders."""
        self._retry(lambda inner: inner.make_folders(folders))

    def link(self, links: Sequence[Link]) -> None:
        """Make hard links."""
        self._retry(lambda inner: inner.link(links))

    def copy(self, links: Sequence[Link]) -> None:
        """Make real copies."""
        self._retry(lambda inner: inner.copy(links))

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file or folder another name."""
        self._retry(lambda inner: inner.rename(source, target))

    def point_link(self, link: PurePosixPath, target: str) -> None:
        """Make `link` a symbolic link with the text `target`."""
        self._retry(lambda inner: inner.point_link(link, target))

    def make_symlinks(self, links: Sequence[SymbolicLink]) -> None:
        """Make many symbolic links."""
        self._retry(lambda inner: inner.make_symlinks(links))

    def set_attributes(self, items: Sequence[tuple[PurePosixPath, FileAttributes]]) -> list[PurePosixPath]:
        """Set what many files and folders carry."""
        return self._retry(lambda inner: inner.set_attributes(items))

    def remove_files(self, paths: Sequence[PurePosixPath]) -> None:
        """Remove many files and links."""
        self._retry(lambda inner: inner.remove_files(paths))

    def remove_tree(self, path: PurePosixPath) -> None:
        """Remove a file, a link or a folder and all in it."""
        self._retry(lambda inner: inner.remove_tree(path))

    def free_bytes(self) -> int | None:
        """Space that this account may still use."""
        return self._retry(lambda inner: inner.free_bytes())

    def append(self, appends: Sequence[Append]) -> None:
        """Write to files in place."""
        self._retry(lambda inner: inner.append(appends))

    def copy_range(self, source: PurePosixPath, target: PurePosixPath, *, offset: int, end: int) -> None:
        """Copy a part of a file to the same place of another."""
        self._retry(lambda inner: inner.copy_range(source, target, offset=offset, end=end))

    # --- bulk ----------------------------------------------------------------------------------------

    def upload(self, uploads: Sequence[Upload], observer: TransferObserver) -> None:
        """Store local files."""
        self._transfer(
            uploads, observer, lambda item: item.target, lambda inner, rest, seen: inner.upload(rest, seen)
        )

    def download(self, downloads: Sequence[Download], observer: TransferObserver) -> None:
        """Fetch files."""
        self._transfer(
            downloads,
            observer,
            lambda item: item.target or item.source,
            lambda inner, rest, seen: inner.download(rest, seen),
        )

    def upload_folders(self, uploads: Sequence[FolderUpload], observer: FolderObserver) -> None:
        """Store many small files."""
        seen = FolderProgress(observer)

        def go_on(inner: Destination) -> None:
            inner.upload_folders([item for item in uploads if item.part not in seen.done], seen)

        self._go_on_while_it_does(go_on, seen)

    def _transfer(
        self,
        items: Sequence[_Item],
        observer: TransferObserver,
        name_of: Callable[[_Item], PurePosixPath | Path],
        act: Callable[[Destination, Sequence[_Item], TransferObserver], None],
    ) -> None:
        seen = TransferProgress(observer)

        def go_on(inner: Destination) -> None:
            act(inner, [item for item in items if name_of(item) not in seen.done], seen)

        self._go_on_while_it_does(go_on, seen)

    def _go_on_while_it_does(
        self, go_on: Callable[[Destination], None], seen: TransferProgress | FolderProgress
    ) -> None:
        while True:
            seen.got_on = False
            try:
                self._retry(go_on, may_retry=lambda: not seen.got_on)
            except TransientDestinationError as error:
                if not seen.got_on or not self._goes_on:
                    raise
                if self._on_retry is not None:
                    self._on_retry(error, 1, 0.0)
            else:
                return

    # --- the loop ------------------------------------------------------------------------------------

    def _retry(
        self, act: Callable[[Destination], _Result], may_retry: Callable[[], bool] = lambda: True
    ) -> _Result:
        self._is_broken_off = False
        if self._policy.attempts == 1:
            return self._attempt(act)
        # Loaded here because mirrors, which try again on their own, do without.
        import tenacity  # noqa: PLC0415

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._policy.attempts),
            wait=tenacity.wait_exponential(
                multiplier=self._policy.first_wait_seconds, max=self._policy.longest_wait_seconds
            )
            + tenacity.wait_random(0, self._policy.first_wait_seconds),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, TransientDestinationError) and self._goes_on and may_retry()
            ),
            sleep=self._sleep,
            before_sleep=self._tell,
            reraise=True,
        )
        result: _Result = retrying(self._attempt, act)
        return result

    def _attempt(self, act: Callable[[Destination], _Result]) -> _Result:
        try:
            return act(self._connected())
        except TransientDestinationError:
            self._drop()
            raise

    def _connected(self) -> Destination:
        with self._lock:
            if self._closed:
                raise ConnectionLostError(f"{self._label}: closed")
            inner = self._inner
        if inner is not None:
            return inner
        inner = self._connect()
        with self._lock:
            if not self._closed:
                self._inner = inner
                self._sessions += 1
                return inner
        inner.close()
        raise ConnectionLostError(f"{self._label}: closed")

    def _drop(self) -> None:
        with self._lock:
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if self._on_retry is not None and isinstance(error, DestinationError):
            self._on_retry(error, state.attempt_number, state.upcoming_sleep)

    def _sleep(self, seconds: float) -> None:
        while seconds > 0 and self._goes_on:
            beat(_LOOK_EVERY_SECONDS)
            if self._stop.wait(min(seconds, _LOOK_EVERY_SECONDS)):
                raise InterruptedTransferError(f"{self._label}: stopped while waiting to try again")
            seconds -= _LOOK_EVERY_SECONDS

    @property
    def _goes_on(self) -> bool:
        return not self._closed and not self._is_broken_off

    def break_off(self) -> None:
        """Have the call that is under way fail now; the next one connects anew. From any thread."""
        self._is_broken_off = True
        self._drop()

    def close(self) -> None:
        """Give up the connection, and trying."""
        with self._lock:
            self._closed = True
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
