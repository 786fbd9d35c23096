"""Files at an SFTP account that grow: all of a call in flight at once, and files kept open between calls.

With files that are open a call waits for one round trip, however many they are:

    write ..., sync, look at the name - the same for the next file - ... - all answers

What follows a file that must be opened first waits for everything ahead of it, and for the opening.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from replicator.destination import sftp_protocol as protocol
from replicator.destination.sftp_errors import succeeded
from replicator.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import PurePosixPath

    from replicator.destination.interface import Append
    from replicator.destination.rate_limit import RateLimiter
    from replicator.destination.sftp_account import SftpAccount
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_in_place import InPlaceFiles, OpenFile
    from replicator.destination.sftp_replies import Reply

_MOST_OPEN = 64


class Appender:
    """Writes to files in place. It has up to 64 files open, those that were used last.

    A file is known by its path here: `forget` must be called before a name is given to something else.
    """

    def __init__(
        self,
        connection: SftpConnection,
        account: SftpAccount,
        files: InPlaceFiles,
        limiter: RateLimiter | None,
    ) -> None:
        self._connection = connection
        self._account = account
        self._files = files
        self._limiter = limiter
        self._chunk_bytes = connection.limits.write_bytes
        if limiter is not None:
            self._chunk_bytes = min(self._chunk_bytes, limiter.chunk_bytes)
        self._can_sync = protocol.FSYNC in connection.extensions
        self._open: OrderedDict[PurePosixPath, OpenFile] = OrderedDict()
        # What makes the error of the first request that failed; asked when waiting is possible.
        self._problem: Callable[[], DestinationError] | None = None

    def append(self, appends: Sequence[Append]) -> None:
        """Carry out all items, in order. After an error nothing more is sent, and no file stays open."""
        self._problem = None
        try:
            for item in appends:
                self._append(item)
            self._settle()
        except BaseException:
            if self._connection.in_flight:
                # Broken off in the middle: answers that are still to come must not reach the next call.
                self._connection.close()
                self._open.clear()
            else:
                self.forget()
                self._connection.receive_all()
            raise

    def forget(self) -> None:
        """Post what closes all files."""
        for target in list(self._open):
            self._close(target)

    def _append(self, item: Append) -> None:
        file = self._opened(item)
        self._await_room()
        data = memoryview(item.data)
        for start in range(0, len(data), self._chunk_bytes):
            chunk = data[start : start + self._chunk_bytes]
            if self._limiter is not None:
                self._connection.flush()
                self._limiter.acquire(len(chunk))
            self._await_room()

            def fill(view: memoryview, chunk: memoryview = chunk) -> None:
                view[:] = chunk

            self._connection.post_write(
                file.handle, item.offset + start, len(chunk), fill, self._checked(item, "append to")
            )
        if self._can_sync:
            self._connection.post(protocol.sync(file.handle), self._checked(item, "sync"))
        # By its name, not its handle: that tells too when somebody else removed or replaced the file.
        request = protocol.path_status(self._account.path(item.target), follow=False)
        self._connection.post(request, self._measured(item))
        # Right, or forgotten with all others.
        file.size_bytes = max(file.size_bytes, item.end)
        if len(data) > self._chunk_bytes:
            # If one of several writes fails, those behind it leave a gap that the file's size does not show: what
            # the next item says of these bytes must not be there then.
            self._settle()

    def _opened(self, item: Append) -> OpenFile:
        file = self._open.get(item.target)
        if file is None or file.size_bytes < item.offset:
            # A later file must not come to be before all that comes first is there.
            self._settle()
            if file is not None:  # it has grown by other ways since, or it is too short
                self._close(item.target)
            file = self._files.open(item.target, offset=item.offset, create=item.offset == 0)
            self._open[item.target] = file
            if len(self._open) > _MOST_OPEN:
                self._close(next(iter(self._open)))
        self._open.move_to_end(item.target)
        return file

    def _close(self, target: PurePosixPath) -> None:
        # What matters was synced; the server closes it after the writes that it got before.
        self._connection.post(protocol.close(self._open.pop(target).handle), lambda _: None)

    # --- answers -------------------------------------------------------------------------------------

    def _checked(self, item: Append, action: str) -> Callable[[Reply], None]:
        def check(reply: Reply) -> None:
            if not succeeded(reply):
                self._problem = self._problem or (lambda: self._account.refusal(reply, f"{action} {item.target}"))

        return check

    def _measured(self, item: Append) -> Callable[[Reply], None]:
        def measure(reply: Reply) -> None:
            try:
                self._files.size_of(item.target, reply, least_bytes=item.end)
            except DestinationError as error:
                known = error
                self._problem = self._problem or (lambda: known)

        return measure

    def _await_room(self) -> None:
        """Wait until more may be posted; raise the error if something is known to have failed."""
        self._connection.receive_what_is_there()
        while not self._connection.has_room:
            self._connection.receive()
        if self._problem is not None:
            self._settle()

    def _settle(self) -> None:
        """Wait for all answers; raise the error of the first request that failed."""
        self._connection.receive_all()
        if self._problem is not None:
            raise self._problem()
