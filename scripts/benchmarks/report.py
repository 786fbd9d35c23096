"""Figures of benchmarks: the table for a person, the JSON for a program."""

from __future__ import annotations

import json
import platform
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. Samples are seconds (MiB for memory); `ratio` says how many times better ours is.

    `at_least` is the ratio that is promised, if one is.
    """

    case: str
    against: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    unit: str = "s"
    at_least: float | None = None

    @property
    def ratio(self) -> float:
        """Median of theirs over median of ours: above 1 is in our favour."""
        return statistics.median(self.theirs) / statistics.median(self.ours)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that there is nothing to compare with, such as a share of a core or a delay."""

    case: str
    ours: tuple[float, ...]
    unit: str


def print_rows(rows: Sequence[Row | Figure]) -> None:
    """Print a table with medians."""
    lines = [("CASE", "AGAINST", "OURS", "THEIRS", "RATIO", "AT LEAST"), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_json(rows: Sequence[Row | Figure], path: Path) -> None:
    """Write all samples."""
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows if isinstance(row, Row)],
        "figures": [asdict(row) for row in rows if isinstance(row, Figure)],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _cells(row: Row | Figure) -> tuple[str, str, str, str, str, str]:
    ours = f"{statistics.median(row.ours):.3f} {row.unit}"
    if isinstance(row, Figure):
        return row.case, "", ours, "", "", ""
    theirs = f"{statistics.median(row.theirs):.3f} {row.unit}"
    at_least = "" if row.at_least is None else f"{row.at_least:.1f}x"
    return row.case, row.against, ours, theirs, f"{row.ratio:.2f}x", at_least
