"""What the demo shows: a line for each event, and on a terminal a status below them that is kept up to date.

Elsewhere plain lines alone, nothing drawn.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from replicator.reports import align
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_SUBJECT_WIDTH = 11


@dataclass(frozen=True, slots=True)
class Status:
    """Where things are at this instant.

    `lag_seconds` is the age of the newest state at the server, and `judged_position` the newest batch that the
    replica was found to hold, exactly; both None before there is one.
    """

    primary_alive: bool
    primary_position: int
    lag_seconds: float | None
    judged_position: int | None


class Screen:
    """Standard output while the demo runs."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        # Not Console.is_terminal alone: FORCE_COLOR makes that true for a pipe.
        self._console = Console(highlight=False)
        self._drawn = sys.stdout.isatty() and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._drawn:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_status()

    def say(self, text: str) -> None:
        """Show a line by itself."""
        self._print(Text(text))

    def event(self, subject: str, text: str, *, style: str = "green") -> None:
        """Show what has happened to `subject`, with the time since the beginning."""
        seconds = f"{time.monotonic() - self._started:5.1f} s  "
        self._print(Text.assemble((seconds, "dim"), (f"{subject:<{_SUBJECT_WIDTH}}", style), "  ", text))

    def status(self, status: Status) -> None:
        """Keep the status up to date; does nothing where nothing is drawn."""
        if self._drawn:
            self._live.update(_panel(status), refresh=True)

    def end_status(self) -> None:
        """Remove the status; it is not to be shown again."""
        self._live.stop()

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show rows of a name, a figure and a remark."""
        width = max(len(figure) for _, figure, _ in rows)
        self.say("")
        if not self._drawn:
            self.say(title)
            self.say(align([(f"  {name}", figure.rjust(width), remark) for name, figure, remark in rows]))
            return
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
        table.add_column()
        table.add_column(justify="right", style="bold")
        table.add_column(style="dim")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def _print(self, text: Text) -> None:
        if self._drawn:
            self._console.print(text)
        else:
            print(text.plain, flush=True)  # noqa: T201 - lines as long as they are, as soon as they come


def _panel(status: Status) -> Panel:
    grid = Table.grid(padding=(0, 2))
    state = Text("writing", "green") if status.primary_alive else Text("killed", "bold red")
    grid.add_row("primary", state, f"at batch {status.primary_position:,}")
    if status.lag_seconds is not None:
        grid.add_row("replica", f"{format_duration(status.lag_seconds)} behind", "")
    if status.judged_position is not None:
        grid.add_row("judged", "exact", f"at batch {status.judged_position:,}")
    return Panel(grid, expand=False, border_style="dim")
