"""Whether a write-ahead log was missed between two that were seen. Pure.

Every write takes the next sequence numbers, whichever log it goes to. A gap between the last number of one log and
the first of the next is therefore the trace of writes in between: in a log that came and went unseen, or in none
(`disableWAL`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SequenceChain:
    """The newest log that was followed so far, and the number of the last write in it."""

    log_number: int = 0
    last_sequence: int | None = None

    def follow(self, log_number: int, first_sequence: int, last_sequence: int, *, deletable_below: int) -> bool:
        """Go on to a log, the same as the last time or a newer one; False if one may be missing before it.

        The primary may have deleted logs below `deletable_below`. One that was missed is among those: it was
        there after the log before it, and is not any more.
        """
        is_whole = (
            self.last_sequence is None
            or log_number <= self.log_number
            or first_sequence <= self.last_sequence + 1
            or deletable_below <= self.log_number + 1
        )
        self.log_number, self.last_sequence = log_number, last_sequence
        return is_whole

    def reaches(self, last_sequence: int, *, deletable_below: int) -> bool:
        """Whether the write of that number was followed, which is in a table; False if its log may be missing.

        `deletable_below` as in `follow`; both are to be older than the logs' last look.
        """
        return (
            self.last_sequence is None
            or last_sequence <= self.last_sequence
            or deletable_below <= self.log_number + 1
        )
