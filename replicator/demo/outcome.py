"""What the demo came to: the figures, the table of them, and the words at the end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.demo.layout import Verdict


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the service makes a checkpoint, and ships what is written in between."""

    interval_seconds: float
    ship_seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen while the primary wrote.

    `published` are the service's events, `judged` the verdicts on the replica as it lay at the server.
    """

    published: Sequence[dict[str, Any]]
    judged: Sequence[Verdict]
    largest_lag_seconds: float
    shipped_bytes: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What would be lost with the whole host: what was at the server at the kill is so old, and is restored."""

    lag_seconds: float
    replica: Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """`written` is what the killed primary left, `restored` what came back, `restore` the document about that.

    `acknowledged` is the last batch that the primary knew to be written.
    """

    pace: Pace
    watched: Watched
    acknowledged: int
    written: Verdict
    restored: Verdict
    restore: dict[str, Any]
    loss: Loss

    @property
    def exact(self) -> bool:
        """Whether every batch came back, whole, and no other, and every look showed one point in history."""
        verdicts = (self.written, self.restored, self.loss.replica, *self.watched.judged)
        return (
            all(verdict.exact for verdict in verdicts)
            and self.acknowledged <= self.written.position == self.restored.position
        )

    @property
    def lost(self) -> int:
        """The batches that would be gone with the whole host."""
        return self.written.position - self.loss.replica.position

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table: name, figure, remark."""
        watched, restore, restored = self.watched, self.restore, self.restored
        sent_bytes = self._sum("bytes_sent")
        published_bytes = sent_bytes + self._sum("bytes_reused")
        families = len(self.written.column_families)
        all_exact = "all" if all(verdict.exact for verdict in watched.judged) else "NOT ALL"
        return [
            ("batches written", f"{self.written.position:,}", f"each to {families} column families at once"),
            ("batches restored", f"{restored.position:,}", self._remark()),
            ("torn", f"{restored.torn:,}", "column families at another batch than the others"),
            ("holes", f"{restored.holes:,}", "entries missing or wrong"),
            (
                "checkpoints published",
                f"{len(watched.published):,}",
                f"every {format_duration(self.pace.interval_seconds)}",
            ),
            ("files sent", f"{self._sum('files_sent'):,}", "with the checkpoints"),
            ("files reused", f"{self._sum('files_reused'):,}", "the server had them: hard links there"),
            ("bytes sent", format_size(sent_bytes), f"for {format_size(published_bytes)} published"),
            (
                "WAL shipped",
                format_size(watched.shipped_bytes),
                f"between checkpoints, every {format_duration(self.pace.ship_seconds)}",
            ),
            (
                "replica judged",
                f"{len(watched.judged):,}",
                f"times as it lay at the server, being shipped to: {all_exact} exact",
            ),
            (
                "restore time",
                format_duration(restore["duration_seconds"]),
                f"{restore['files']} files, {format_size(restore['size_bytes'])}, every SHA-256 checked",
            ),
            (
                "lag at the kill",
                format_duration(self.loss.lag_seconds),
                f"never more than {format_duration(watched.largest_lag_seconds)} before it",
            ),
            ("at risk at the kill", f"{self.lost:,}", "batches that were not at the server yet"),
        ]

    def conclusion(self) -> str:
        """Say what it means."""
        if not self.exact:
            return "NOT EXACT: see the lines above."
        lag, interval, ship = map(
            format_duration, (self.loss.lag_seconds, self.pace.interval_seconds, self.pace.ship_seconds)
        )
        return (
            "Every batch is back: the dead primary's files were still there, and the last of them was shipped.\n"
            f"Had the whole host died, the replica would have brought back the state of {lag} before the kill,\n"
            f"whole as well: between checkpoints (every {interval} here) the log is shipped every {ship}."
        )

    def _remark(self) -> str:
        if not self.restored.opened:
            return "the restored database does NOT open"
        return "" if self.restored.position == self.written.position else "NOT what was written"

    def _sum(self, field: str) -> int:
        return sum(int(event[field]) for event in self.watched.published)
