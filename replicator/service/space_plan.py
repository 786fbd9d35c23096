"""What is given up next when too little is free on the primary's disk, and when to look again: decided, not done.

Links keep files that the primary has deleted. Below `min_free` one step follows the other, in the order of
`Step`, until enough is free. The last one is taken only below half of `min_free`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

#: Nothing is expected to fill a disk faster.
_FASTEST_BYTES_PER_SECOND: Final = 1 << 30
_SHORTEST_WAIT_SECONDS: Final = 0.02
_LONGEST_WAIT_SECONDS: Final = 1.0
#: A look that takes long (there are many links) is not to keep a processor busy.
_WAIT_PER_LOOK: Final = 4
#: `checkpoint_current` is worth keeping while it holds less than this part of what is free.
_LEAST_GAIN: Final = 0.1


class Step(StrEnum):
    """What is given up, in this order; the values are the words for it in log and status."""

    #: Links of transfers that rest, or are under way to checkpoints that are not the current one.
    TRANSFERS = "transfer copies"
    #: `checkpoint_prev`, and the links and open logs that the next checkpoint would begin with.
    PREVIOUS = "checkpoint_prev"
    #: Logs that the primary has deleted: shipping ends until the next checkpoint.
    LOGS = "pinned logs"
    #: No new ones are made.
    CHECKPOINTS = "new checkpoints"
    #: With what is on its way of it. Until then it holds more and more that the primary has deleted.
    CURRENT = "checkpoint_current"


#: Of checkpoints that something else makes, nothing else is ours.
OF_OTHERS: Final = (Step.TRANSFERS, Step.LOGS)


@dataclass(frozen=True, slots=True)
class Space:
    """What is free for the primary's user, and what `min_free` asks for."""

    free_bytes: int
    floor_bytes: int

    @property
    def is_enough(self) -> bool:
        """Whether nothing need be given up."""
        return self.free_bytes >= self.floor_bytes

    @property
    def is_critical(self) -> bool:
        """Whether `checkpoint_current` is at stake."""
        return self.free_bytes < self.floor_bytes // 2


def next_step(space: Space, offered: Collection[Step], taken: Collection[Step]) -> Step | None:
    """Return what goes next of what is offered, after those taken at this look; None if it is to stay at that."""
    if space.is_enough:
        return None
    for step in Step:
        if step in offered and step not in taken and (step is not Step.CURRENT or space.is_critical):
            return step
    return None


def is_worth_it(space: Space, gain_bytes: int) -> bool:
    """Whether `checkpoint_current` should go for the sake of so many bytes: the less is free, the fewer do."""
    return gain_bytes > space.free_bytes * _LEAST_GAIN


def next_look_seconds(space: Space, look_seconds: float) -> float:
    """Return how long to wait after a look that took `look_seconds`.

    Not so long that a fast disk could be filled meanwhile down to where the next thing is given up.
    """
    limit_bytes = space.floor_bytes if space.is_enough else space.floor_bytes // 2
    soonest_seconds = (space.free_bytes - limit_bytes) / _FASTEST_BYTES_PER_SECOND
    wait_seconds = max(_SHORTEST_WAIT_SECONDS, soonest_seconds, _WAIT_PER_LOOK * look_seconds)
    return min(wait_seconds, _LONGEST_WAIT_SECONDS)
