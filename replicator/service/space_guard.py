"""The primary's disk comes first: what is given up when too little of it is free, one thing after the other.

Links keep files that the primary has deleted. Below `min_free` these go, until enough is free: links of transfers
that rest, or are under way to checkpoints that are not the current one; `checkpoint_prev`, and links for the next
one; logs that the primary has deleted, which ends shipping until the next checkpoint. If that was not enough, no
checkpoint is made. From then on `checkpoint_current` holds more and more that the primary has deleted: below half
of `min_free` it goes too, with what is on its way of it. Checkpoints that something else makes are left alone.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import structlog

from replicator.checkpoint.pinned import give_up_outdated
from replicator.config import Producer
from replicator.errors import CheckpointError
from replicator.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicator.checkpoint.pinned import CheckpointPin
    from replicator.checkpoint.rotation import CheckpointRoot
    from replicator.config import DatabaseConfig
    from replicator.service.board import StatusBoard
    from replicator.service.database_loop import LogHold

TRANSFERS: Final = "transfer copies"
PREVIOUS: Final = "checkpoint_prev"
LOGS: Final = "pinned logs"
CHECKPOINTS: Final = "new checkpoints"
CURRENT: Final = "checkpoint_current"

_log = structlog.get_logger()


class SpaceGuard:
    """Watches the filesystem of one checkpoint root; only for the thread that makes the checkpoints there."""

    def __init__(  # noqa: PLR0913 - all that can be given up
        self,
        database: DatabaseConfig,
        root: CheckpointRoot,
        board: StatusBoard,
        *,
        give_up_staging: Callable[[], None],
        logs: LogHold | None,
        pins: Sequence[CheckpointPin] = (),
    ) -> None:
        """`pins` are what transfers hold of checkpoints."""
        #: May be replaced at any time.
        self.min_free = database.min_free
        self._name = database.name
        self._makes_checkpoints = database.producer is Producer.INTERNAL
        self._root = root
        self._board = board
        self._give_up_staging = give_up_staging
        self._logs = logs
        self._pins = pins
        self._given_up: tuple[str, ...] = ()

    def look(self) -> bool:
        """Give up what must be given up; whether enough is free now. Raises `CheckpointError` for a lost root."""
        free_bytes, floor_bytes = self._free_space()
        if free_bytes >= floor_bytes:
            self._note((), free_bytes, floor_bytes)
            return True
        given_up = []
        for what in self._steps():
            given_up.append(what)
            free_bytes, floor_bytes = self._free_space()
            if free_bytes >= floor_bytes:
                break
        else:
            given_up.extend(self._last_steps(free_bytes, floor_bytes))
        # What was given up before stays so until there is room without that.
        self._note(tuple(dict.fromkeys([*self._given_up, *given_up])), free_bytes, floor_bytes)
        return free_bytes >= floor_bytes

    def check(self) -> None:
        """Give up what must be given up. Raises `CheckpointError` if there is no room for a checkpoint even so."""
        if not self.look():
            free_bytes, floor_bytes = self._free_space()
            raise CheckpointError(
                f"only {format_size(free_bytes)} are free below {self._root.path}: no new checkpoint is made",
                hint=f"min_free asks for {format_size(floor_bytes)}; free some space, or lower it",
            )

    def _steps(self) -> Iterator[str]:
        self._give_up_transfers()
        yield TRANSFERS
        if not self._makes_checkpoints:
            return
        self._root.give_up_previous()
        self._give_up_staging()
        yield PREVIOUS
        if self._logs:
            # They go at the next reading, which is a moment away.
            self._logs.may_hold_deleted(allowed=False)
            yield LOGS

    def _last_steps(self, free_bytes: int, floor_bytes: int) -> Iterator[str]:
        if not self._makes_checkpoints:
            return
        yield CHECKPOINTS
        # Not at once: the logs take a moment to go.
        if CHECKPOINTS in self._given_up and free_bytes < floor_bytes // 2:
            self._root.give_up_current()
            self._give_up_transfers()
            yield CURRENT

    def _give_up_transfers(self) -> None:
        for pin in self._pins:
            pin.give_up()
        give_up_outdated(self._root)

    def _note(self, given_up: tuple[str, ...], free_bytes: int, floor_bytes: int) -> None:
        if given_up == self._given_up:
            return
        sizes = {"free": format_size(free_bytes), "min_free": format_size(floor_bytes)}
        if given_up:
            _log.warning(
                "space.given_up",
                database=self._name,
                given_up=[what for what in given_up if what not in self._given_up],
                **sizes,
                hint=f"free some space on the filesystem of {self._root.path}, or lower min_free",
            )
        else:
            _log.info("space.recovered", database=self._name, **sizes)
            if self._logs:
                self._logs.may_hold_deleted(allowed=True)
        self._given_up = given_up
        self._board.given_up(self._name, what=given_up)

    def _free_space(self) -> tuple[int, int]:
        """Return the bytes that are free, and those that `min_free` asks for."""
        try:
            usage = shutil.disk_usage(self._root.path)
        except OSError as error:
            raise CheckpointError(
                f"cannot use the checkpoint root {self._root.path}: {error.strerror}",
                hint="is its filesystem mounted? Restart the service once it is back",
            ) from error
        self._board.free(self._name, count_bytes=usage.free)
        return usage.free, self.min_free.bytes_of(usage.total)
