"""All that ships one database, put together: who reads its logs, who holds them, the lines to its destinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.checkpoint.log_follower import LogFollower
from replicator.service.log_loop import LogLoop
from replicator.service.shipping_line import ShippingLine

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from replicator.config.model import DatabaseConfig
    from replicator.service.board import StatusBoard
    from replicator.service.shipper import Shipper


class DatabaseShipping:
    """One database; for its `DatabaseLoop` a `LogHold`."""

    def __init__(
        self,
        database: DatabaseConfig,
        tick_seconds: float,
        destinations: Iterable[str],
        board: StatusBoard,
        *,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._tick_seconds = tick_seconds
        self._board = board
        self._stop = stop
        self._follower = LogFollower(database.path, budget_bytes=database.pin_budget_bytes)
        self._log_loop: LogLoop | None = None
        self._ask_for_checkpoint: Callable[[str], None] = lambda _reason: None
        self.lines = {
            name: ShippingLine(database.name, name, self._follower, board, stop=stop, ask_for_checkpoint=self._ask)
            for name in destinations
        }

    def log_loop(self, ask_for_checkpoint: Callable[[str], None], shippers: Sequence[Shipper]) -> LogLoop:
        """Return who reads the logs; `shippers` are told of each reading."""
        self._ask_for_checkpoint = ask_for_checkpoint

        def tell_shippers() -> None:
            for shipper in shippers:
                shipper.wake()

        self._log_loop = LogLoop(
            self._database,
            self._follower,
            self._board,
            tick_seconds=self._tick_seconds,
            stop=self._stop,
            on_reading=tell_shippers,
            on_seal=self._ask,
        )
        return self._log_loop

    def hold(self) -> int:
        """See `LogHold`."""
        return self._follower.hold()

    def expect(self, captured_at_seconds: float, held_log: int) -> None:
        """See `LogHold`."""
        for line in self.lines.values():
            line.expect(captured_at_seconds, held_log)

    def end_hold(self) -> None:
        """See `LogHold`."""
        self._follower.end_hold()

    def may_hold_deleted(self, *, allowed: bool) -> None:
        """See `LogHold`."""
        if self._log_loop:
            self._log_loop.may_hold_deleted(allowed=allowed)

    def _ask(self, reason: str) -> None:
        self._ask_for_checkpoint(reason)
