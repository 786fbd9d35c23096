"""The primary's disk comes first: gives up, one after the other, what `space_plan` says must go.

Who looks, and how often, is the job of `space_watch`.
"""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from replicator.checkpoint.held_space import solely_held_bytes
from replicator.checkpoint.pinned import pinned_folders
from replicator.config.choices import Producer
from replicator.errors import CheckpointError
from replicator.service.space_plan import OF_OTHERS, Space, Step, is_worth_it, next_step
from replicator.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.checkpoint.pinned import CheckpointPin
    from replicator.checkpoint.rotation import CheckpointRoot
    from replicator.config.model import DatabaseConfig
    from replicator.service.board import StatusBoard
    from replicator.service.database_loop import LogHold

_log = structlog.get_logger()

#: Enough must be free for so long before it counts: compactions fill a disk and clear it several times a second.
_CALM_SECONDS: Final = 1.0


class SpaceGuard:
    """Guards the filesystem of one checkpoint root. For any thread."""

    def __init__(  # noqa: PLR0913 - all that can be given up
        self,
        database: DatabaseConfig,
        root: CheckpointRoot,
        board: StatusBoard,
        *,
        give_up_staging: Callable[[], None],
        logs: LogHold | None,
        pins: Sequence[CheckpointPin] = (),
        on_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pins` are what transfers hold of checkpoints.

        `on_room` is called when there is room again for a checkpoint that was refused, or given up.
        """
        #: May be replaced at any time.
        self.min_free = database.min_free
        self.name = database.name
        self._offered = OF_OTHERS if database.producer is Producer.EXTERNAL else tuple(Step)
        self._root = root
        self._board = board
        self._give_up_staging = give_up_staging
        self._logs = logs
        self._pins = pins
        self._on_room = on_room
        self._clock = clock
        self._enough_since: float | None = None
        self._looking = threading.Lock()
        self._given_up: tuple[Step, ...] = ()
        self._was_refused = False

    def look(self) -> Space:
        """Give up what must be given up; return what is free then. Raises `CheckpointError` for a lost root."""
        with self._looking:
            space = self._space()
            taken: list[Step] = []
            given_up: list[Step] = []
            while step := next_step(space, self._offered, taken):
                taken.append(step)
                if self._take(step, space):
                    given_up.append(step)
                    space = self._space()
            if given_up or not space.is_enough:
                self._enough_since = None
                # What was given up before stays so until there is room without that.
                self._note(tuple(step for step in Step if step in {*self._given_up, *given_up}), space)
            elif self._has_been_enough():
                self._note((), space)
            return space

    def check(self) -> None:
        """Give up what must be given up. Raises `CheckpointError` if there is no room for a checkpoint even so."""
        self.look()
        self.need_room(0)

    def need_room(self, count_bytes: int) -> None:
        """See `NeedRoom`."""
        space = self._space()
        if space.free_bytes - count_bytes >= space.floor_bytes:
            return
        self._was_refused = True
        due = f", and {format_size(count_bytes)} would be copied" if count_bytes else ""
        raise CheckpointError(
            f"only {format_size(space.free_bytes)} are free below {self._root.path}{due}:"
            " no new checkpoint is made",
            hint=f"min_free asks for {format_size(space.floor_bytes)}; free some space, or lower it",
        )

    def _has_been_enough(self) -> bool:
        now = self._clock()
        if self._enough_since is None:
            self._enough_since = now
        return now - self._enough_since >= _CALM_SECONDS

    def _take(self, step: Step, space: Space) -> bool:
        """Take a step; False if it was not worth it."""
        match step:
            case Step.TRANSFERS:
                self._give_up_transfers()
            case Step.PREVIOUS:
                self._root.give_up_previous()
                self._give_up_staging()
            case Step.LOGS:
                if self._logs is None:
                    return False
                self._logs.may_hold_deleted(allowed=False)
            case Step.CHECKPOINTS:
                pass  # each asks for room itself
            case Step.CURRENT:
                gain_bytes = solely_held_bytes([self._root.current, *pinned_folders(self._root)])
                if not is_worth_it(space, gain_bytes):
                    return False
                self._root.give_up_current()
                self._give_up_transfers()
        return True

    def _give_up_transfers(self) -> None:
        try:
            for pin in self._pins:
                pin.give_up()
                pin.give_up_outdated()
        except OSError as error:
            raise CheckpointError(f"cannot remove links below {self._root.path}: {error.strerror}") from error

    def _note(self, given_up: tuple[Step, ...], space: Space) -> None:
        if given_up == self._given_up:
            return
        new = [step for step in given_up if step not in self._given_up]
        self._given_up = given_up
        self._board.given_up(self.name, what=given_up)
        sizes = {"free": format_size(space.free_bytes), "min_free": format_size(space.floor_bytes)}
        if given_up:
            _log.warning(
                "space.given_up",
                database=self.name,
                given_up=new,
                **sizes,
                hint=f"free some space on the filesystem of {self._root.path}, or lower min_free",
            )
            return
        _log.info("space.recovered", database=self.name, **sizes)
        if self._logs:
            self._logs.may_hold_deleted(allowed=True)
        if Step.CHECKPOINTS in self._offered and (self._was_refused or not self._root.current.exists()):
            self._was_refused = False
            self._on_room()

    def _space(self) -> Space:
        try:
            usage = shutil.disk_usage(self._root.path)
        except OSError as error:
            raise CheckpointError(
                f"cannot use the checkpoint root {self._root.path}: {error.strerror}",
                hint="is its filesystem mounted? Restart the service once it is back",
            ) from error
        self._board.free(self.name, count_bytes=usage.free)
        return Space(usage.free, self.min_free.bytes_of(usage.total))
