"""How the work of one thread at one destination goes, told to the board: what fails, and that it works again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from replicator.errors import DestinationError
from replicator.service.status import Activity

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.errors import ReplicatorError
    from replicator.service.board import StatusBoard

#: The kind of errors that are not the destination's.
_SOURCE: Final = "source"


class Reporter:
    """For a thread that works on one database at a time; only that thread may use it.

    It is apart from the thread's other parts because the destination that they share reports too: what it tries
    again by itself (`RetryingDestination`) may go on for minutes before anybody else hears of it.
    """

    def __init__(
        self,
        board: StatusBoard,
        destination: str,
        activity: Activity = Activity.PUBLISH,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._destination = destination
        self._activity = activity
        self._clock = clock
        self._database: str | None = None

    def begin(self, database: str) -> None:
        """Say which database the next reports are about."""
        self._database = database

    def failed(self, error: ReplicatorError, *, next_try_in_seconds: float, will_heal: bool = False) -> None:
        """Report an error that stands until `worked`; `will_heal` if it is tried again by itself."""
        if self._database is not None:
            self._board.failed(
                self._database,
                self._destination,
                error=error,
                kind=error.kind if isinstance(error, DestinationError) else _SOURCE,
                next_try_at_seconds=self._clock() + next_try_in_seconds,
                activity=self._activity,
                will_heal=will_heal,
            )

    def worked(self) -> None:
        """Report that nothing failed, or not any more."""
        if self._database is not None:
            self._board.recovered(self._database, self._destination, activity=self._activity)
