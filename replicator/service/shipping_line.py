"""The way of one database's write-ahead logs to one destination, into the generation that is current there.

A generation is followed from the moment at which a publish makes it current: it is brought up to date first, so
that the replica never goes back in time. From then on each reading of the logs is appended to it, until the epoch
that it was captured in ends. Readings come from the `LogFollower`; when to look for them is decided in `shipper`.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import structlog

from replicator.checkpoint.readings import NEVER, Reading
from replicator.errors import (
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
    SourceChangedError,
    SourceError,
    SupersededError,
)
from replicator.liveness import beat
from replicator.replica.growing import GrowingGeneration, LogPrefix
from replicator.replica.layout import ReplicaLayout, parse_link_text
from replicator.service.checkpoint_wish import CheckpointWish
from replicator.service.followed_generation import FollowedGeneration, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicator.checkpoint.inspection import Checkpoint
    from replicator.checkpoint.log_follower import Continuation, LogFollower
    from replicator.checkpoint.readings import Grown
    from replicator.destination.interface import Destination
    from replicator.replica.catalog import Catalog
    from replicator.replica.layout import GenerationId
    from replicator.service.board import StatusBoard

_log = structlog.get_logger()

#: Of less than this a copy on the destination's side saves nothing.
_WORTH_COPYING_BYTES: Final = 256 << 10
_LOOK_SECONDS: Final = 30.0
_LOCK_SECONDS: Final = 5.0
#: Times of files are not those of the clock to the last digit.
_ROUNDING_SECONDS: Final = 0.001


class ShippingLine:
    """Ships one database to one destination: a `LogUser`. `ship` is for one thread, `taking_over` for another."""

    def __init__(  # noqa: PLR0913 - each is a part of its own that the caller owns
        self,
        database: str,
        destination: str,
        follower: LogFollower,
        board: StatusBoard,
        *,
        stop: threading.Event,
        ask_for_checkpoint: Callable[[str], None],
    ) -> None:
        """`ask_for_checkpoint` is told why only a new checkpoint brings the destination up to date."""
        self.database = database
        self._names = {"database": database, "destination": destination}
        self._layout = ReplicaLayout(database)
        self._follower = follower
        self._board = board
        self._stop = stop
        self._wish = CheckpointWish(ask_for_checkpoint)
        self._lock = threading.Lock()
        self._target: FollowedGeneration | None = None
        #: The logs that checkpoints may lack which have yet to be published, by the time of their capture.
        self._expected: dict[float, int] = {}
        self._expecting = threading.Lock()
        #: A checkpoint of that time (since 1970), or a later one, has all that the current generation has.
        self._covered_from_seconds = 0.0
        self._coming_serial = NEVER
        self._looked_at = 0.0
        follower.add_user(self)

    # --- LogUser -------------------------------------------------------------------------------------

    @property
    def next_serial(self) -> int:
        """See `LogUser`."""
        return min(self._coming_serial, self._target.next_serial if self._target else NEVER)

    @property
    def pending_log(self) -> int:
        """See `LogUser`."""
        return min(list(self._expected.values()), default=NEVER)

    # --- publishing ----------------------------------------------------------------------------------

    def expect(self, captured_at_seconds: float, held_log: int) -> None:
        """Say that a checkpoint was made that has all logs before `held_log`; the one before may be in work."""
        with self._expecting:
            newest = dict(sorted(self._expected.items())[-1:])
            self._expected = {**newest, captured_at_seconds: held_log}

    @contextmanager
    def taking_over(self, checkpoint: Checkpoint, catalog: Catalog, destination: Destination) -> Iterator[None]:
        """Bring a complete generation up to date; inside of the context its link is to be flipped.

        Afterwards it is shipped to, if it can be. Until then the one before is. Raises `DestinationError`, and
        `SupersededError` if the one before has more: a replica does not go back in time.
        """
        # From the first look at the logs on, no reading may be let go of that comes after it.
        self._coming_serial = 0
        try:
            yield from self._take_over(checkpoint, catalog, destination)
        finally:
            self._coming_serial = NEVER

    def _take_over(self, checkpoint: Checkpoint, catalog: Catalog, destination: Destination) -> Iterator[None]:
        target = self._begin(checkpoint, catalog, destination)
        with self._lock:
            if target is not None:
                target = self._caught_up(target, destination)
            if target is None:
                self._refuse_to_go_back(checkpoint.captured_at_seconds)
            yield
            self._target = target
            self._covered_from_seconds = target.newer_than_seconds if target else 0.0
            published_at = checkpoint.captured_at_seconds + _ROUNDING_SECONDS
            with self._expecting:
                self._expected = {at: log for at, log in self._expected.items() if at > published_at}
        if target is None:
            self._wish.make(f"generation {catalog.generation} could not be brought up to date")
        else:
            self._wish.come_true()
            _log.debug("shipping.continued", **self._names, generation=str(catalog.generation))

    def _refuse_to_go_back(self, captured_at_seconds: float) -> None:
        if captured_at_seconds < self._covered_from_seconds:
            reason = "what is current there is newer than a checkpoint that cannot be brought up to date"
            self._wish.make(reason)
            raise SupersededError(reason)

    def has_it(self, checkpoint: Checkpoint, generation: GenerationId) -> bool:
        """Whether `generation` is followed, which was published as what the checkpoint is: its journal goes on.

        What was held for the checkpoint is let go of then.
        """
        with self._lock:
            target = self._target
            if target is None or target.growing.generation != generation:
                return False
            published_at = checkpoint.captured_at_seconds + _ROUNDING_SECONDS
            with self._expecting:
                self._expected = {at: log for at, log in self._expected.items() if at > published_at}
            return True

    def report(self) -> None:
        """Tell the board, which has just been told of a new generation, how far that one is by now."""
        target = self._target
        if target is not None:
            self._tell(target)
            self._board.caught_up(**self._names, state_at_seconds=target.restorable_at_seconds)

    def _begin(
        self, checkpoint: Checkpoint, catalog: Catalog, destination: Destination
    ) -> FollowedGeneration | None:
        """Bring the generation almost up to date, while the one before is still shipped to; None if impossible."""
        with self._made_do():
            continuation = self._follower.continuation(checkpoint)
            target = self._new_target(catalog, continuation) if continuation else None
            if continuation is None or target is None:
                return None
            self._coming_serial = target.next_serial
            if destination.capabilities().server_copy:
                self._copy_from_current(target, destination, continuation.logs)
            self._send(target, destination, [_as_reading(continuation)])
            return self._caught_up(target, destination)
        return None

    def _caught_up(self, target: FollowedGeneration, destination: Destination) -> FollowedGeneration | None:
        """Send what was read meanwhile; None if the epoch is over, or logs are gone."""
        with self._made_do():
            while True:
                readings, ended = self._follower.readings_since(target.next_serial, target.epoch)
                if not readings:
                    return None if ended else target
                self._send(target, destination, readings)
        return None

    @contextmanager
    def _made_do(self) -> Iterator[None]:
        """Make do without shipping: the generation is complete all the same, and newer than the one before."""
        try:
            yield
        except SourceError as error:
            _log.debug("shipping.not_continued", **self._names, error=error)
        except PermanentDestinationError as error:
            _log.warning("shipping.not_continued", **self._names, error=error)

    def _new_target(self, catalog: Catalog, continuation: Continuation) -> FollowedGeneration | None:
        """Compare our logs with what was published; None if they do not begin with it."""
        published = {file.name: file for file in catalog.files}
        prefixes = {}
        for item in continuation.logs:
            file = published.get(item.log.name)
            if file is None:
                continue
            prefix = LogPrefix()
            for data in pieces(item.log, 0, file.size_bytes):
                prefix.add(data)
            if prefix.sha256 != file.sha256:
                return None
            prefixes[file.name] = prefix
        return FollowedGeneration(
            growing=GrowingGeneration(self._layout, catalog.generation, prefixes),
            epoch=continuation.reading.epoch,
            from_log=continuation.logs[0].log.number if continuation.logs else 0,
            logs={item.log.name: item.log for item in continuation.logs},
            next_serial=continuation.reading.serial + 1,
            restorable_at_seconds=catalog.captured_at.timestamp(),
            newest_name=continuation.logs[0].log.name if continuation.logs else "",
        )

    def _copy_from_current(
        self, target: FollowedGeneration, destination: Destination, logs: Sequence[Grown]
    ) -> None:
        """What was shipped to the current generation since the capture need not cross the wire again."""
        current = self._target
        if current is None or current.epoch != target.epoch:
            return
        for item in logs:
            name = item.log.name
            if current.logs.get(name) is not item.log:
                continue
            here, there = target.growing.size_bytes(name), current.growing.size_bytes(name)
            if there - here >= _WORTH_COPYING_BYTES:
                target.growing.take_over(destination, current.growing, name, pieces(item.log, here, there))

    # --- shipping ------------------------------------------------------------------------------------

    def tell_backlog(self) -> None:
        """Tell the board how much there is to send."""
        target = self._target
        if target is not None:
            with suppress(SourceChangedError):  # the next try finds out
                backlog_bytes = self._follower.backlog_bytes(target.next_serial, target.epoch)
                self._board.backlog(**self._names, count_bytes=backlog_bytes)

    def ship(self, destination: Destination) -> None:
        """Send what was read since the last time.

        Raises `DestinationError`; what was not confirmed is sent again the next time.
        """
        with self._for_shipping():
            self._wish.pass_on()
            target = self._target
            if target is None:
                return
            try:
                readings, ended = self._follower.readings_since(target.next_serial, target.epoch)
                self._send(target, destination, readings)
                self._look(target, destination)
            except (SourceError, NotFoundError, ProtocolError) as error:
                if isinstance(error, NotFoundError):
                    # Unless all of it is away, as a disk that is not mounted: then this raises the same.
                    destination.list_folder(PurePosixPath())
                self._give_up(str(error))
                self._wish.make(str(error))
                return
            if ended:
                self._give_up(ended)

    @contextmanager
    def _for_shipping(self) -> Iterator[None]:
        """Hold the lock. Who publishes may hold it for as long as he waits for the destination."""
        while not self._lock.acquire(timeout=_LOCK_SECONDS):
            beat(_LOCK_SECONDS)
        try:
            yield
        finally:
            self._lock.release()

    def _give_up(self, reason: str) -> None:
        """Leave the generation as it is: complete, and as new as its journal says."""
        if self._target is not None:
            _log.info(
                "shipping.sealed",
                **self._names,
                generation=str(self._target.growing.generation),
                reason=reason,
            )
            self._target = None

    def _send(self, target: FollowedGeneration, destination: Destination, readings: Sequence[Reading]) -> None:
        try:
            target.send(destination, readings, self._stop)
        finally:
            # Also of what was not confirmed it may have something.
            if target is self._target:
                self._covered_from_seconds = target.newer_than_seconds
        self._tell(target)
        if readings and target is self._target:
            self._board.caught_up(**self._names, state_at_seconds=target.restorable_at_seconds)

    def _tell(self, target: FollowedGeneration) -> None:
        """Tell the board what was shipped: of the generation that is current, which alone counts for a restore."""
        if target is self._target and target.unreported_bytes:
            self._board.shipped(
                **self._names,
                count_bytes=target.unreported_bytes,
                state_at_seconds=target.restorable_at_seconds,
            )
            target.unreported_bytes = 0

    def _look(self, target: FollowedGeneration, destination: Destination) -> None:
        """Find out whether the generation is still the one that counts there."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        linked = parse_link_text(destination.read_link(self._layout.current_link))
        if linked != target.growing.generation:
            raise ProtocolError(
                f"{destination.label}: {self._layout.current_link} names another generation than ours: {linked}"
            )


def _as_reading(continuation: Continuation) -> Reading:
    """Return all that a checkpoint lacks as if it had come in one reading."""
    reading = continuation.reading
    return replace(reading, grown=continuation.logs)
