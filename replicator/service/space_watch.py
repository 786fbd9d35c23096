"""Has the free space of one checkpoint root looked at all the time, on a thread that nothing else holds up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from replicator.errors import CheckpointError
from replicator.liveness import beat
from replicator.service.space_plan import next_look_seconds

if TYPE_CHECKING:
    from replicator.service.space_guard import SpaceGuard

#: A root that is lost; the next checkpoint says so.
_LOST_SECONDS: Final = 1.0


class SpaceWatch:
    """Looks until `wake` is called: also while a checkpoint is made, or the service comes to its end."""

    def __init__(self, guard: SpaceGuard) -> None:
        self.thread_name = f"space {guard.name}"
        self.is_watched = True
        self._guard = guard
        self._ended = threading.Event()

    def run(self) -> None:
        """Look, again and again; the less is free, the sooner."""
        wait_seconds = 0.0
        while not self._ended.wait(wait_seconds):
            beat()
            begun = time.monotonic()
            try:
                space = self._guard.look()
            except CheckpointError:
                wait_seconds = _LOST_SECONDS
            else:
                wait_seconds = next_look_seconds(space, time.monotonic() - begun)
            beat(wait_seconds)

    def wake(self) -> None:
        """End `run`; from any thread."""
        self._ended.set()
