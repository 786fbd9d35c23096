"""What commands print: one JSON document, or text for a person. Values in, text out."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

from replicator.moments import format_moment
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from replicator.checkpoint.capture import Captured
    from replicator.replica.generations import Generation
    from replicator.replica.restore import Restored, RestorePlan
    from replicator.replica.verify import Verified
    from replicator.service.check import CheckResult


def to_json(document: object) -> str:
    """Write one document, indented, with a stable order of keys."""
    return json.dumps(document, indent=2, sort_keys=True)


def align(rows: Iterable[Sequence[str]]) -> str:
    """Put cells below each other; the last column is left as it is."""
    table = [tuple(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)] if table else []
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def captured_text(captured: Captured, current: str) -> str:
    """Say what a checkpoint consists of."""
    copied = f", {format_size(captured.copied_bytes)} copied" if captured.copied_bytes else ""
    return (
        f"{current}: {captured.live_files} files ({captured.new_files} new{copied}),"
        f" {format_size(captured.wal_bytes)} of write-ahead log, up to sequence number {captured.last_sequence};"
        f" took {format_duration(captured.duration_seconds)}"
    )


def generations_document(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """One object for each generation, oldest first."""
    return [
        {
            "id": str(generation.id),
            "links": list(generation.links),
            "complete": generation.complete,
            "problem": generation.problem,
            "captured_at": generation.captured_at.isoformat() if generation.captured_at else None,
            "shipped_until": generation.shipped_until.isoformat() if generation.shipped_until else None,
            "files": generation.file_count,
            "size_bytes": generation.size_bytes,
            "writer": str(generation.writer) if generation.writer else None,
        }
        for generation in generations
    ]


def generations_text(generations: Sequence[Generation]) -> str:
    """One line for each generation, oldest first."""
    rows = [("GENERATION", "CAPTURED", "SHIPPED UNTIL", "FILES", "SIZE", "")]
    for generation in generations:
        captured = to_the_second(generation.captured_at) if generation.captured_at else "?"
        shipped = to_the_second(generation.shipped_until) if generation.shipped_until else "-"
        files = "?" if generation.file_count is None else str(generation.file_count)
        size = "?" if generation.size_bytes is None else format_size(generation.size_bytes)
        remark = generation.problem or " ".join(generation.links)
        rows.append((str(generation.id), captured, shipped, files, size, remark))
    return align(rows)


def verified_document(results: Sequence[Verified]) -> dict[str, Any]:
    """What was read of each generation, and what is wrong with it."""
    return {
        "sound": not any(result.findings for result in results),
        "generations": [
            {
                "id": str(result.generation),
                "files": result.files,
                "size_bytes": result.size_bytes,
                "findings": [{"name": found.name, "problem": found.problem} for found in result.findings],
            }
            for result in results
        ],
    }


def verified_text(results: Sequence[Verified]) -> str:
    """One line for each generation, and one below it for each finding."""
    lines = []
    for result in results:
        verdict = f"{len(result.findings)} DAMAGED" if result.findings else "OK"
        lines.append(
            f"{result.generation}  {verdict}  {result.files} files, {format_size(result.size_bytes)} read"
        )
        lines.extend(f"  {found}" for found in result.findings)
    return "\n".join(lines)


def restore_plan_document(plan: RestorePlan) -> dict[str, Any]:
    """What a restore would do."""
    return {
        "generation": str(plan.generation),
        "captured_at": plan.catalog.captured_at.isoformat(),
        "state_at": plan.state_at.isoformat(),
        "target": str(plan.target),
        "files": len(plan.state.files),
        "size_bytes": plan.state.size_bytes,
        "fetch_files": len(plan.fetch),
        "fetch_bytes": plan.fetch_bytes,
        "remove": list(plan.remove),
        "note": plan.note,
    }


def restore_plan_text(plan: RestorePlan) -> str:
    """Say what a restore would do."""
    size = format_size(plan.state.size_bytes)
    lines = [
        f"would restore generation {plan.generation} as of {format_moment(plan.state_at)} to {plan.target}",
        f"  {len(plan.state.files)} files, {size}; {len(plan.fetch)} to fetch, {format_size(plan.fetch_bytes)}",
    ]
    if plan.remove:
        lines.append(f"  {len(plan.remove)} files in the target would be removed")
    return "\n".join(lines)


def restored_document(restored: Restored) -> dict[str, Any]:
    """What a restore did."""
    return {
        "generation": str(restored.generation),
        "state_at": restored.state_at.isoformat(),
        "target": str(restored.target),
        "files": restored.files,
        "size_bytes": restored.size_bytes,
        "fetched_bytes": restored.bytes_fetched,
        "duration_seconds": round(restored.duration_seconds, 3),
    }


def restored_text(restored: Restored) -> str:
    """Say what a restore did."""
    size, took = format_size(restored.size_bytes), format_duration(restored.duration_seconds)
    return (
        f"restored generation {restored.generation} as of {format_moment(restored.state_at)} to {restored.target}:"
        f" {restored.files} files, {size}, every SHA-256 checked; took {took}"
    )


def check_document(results: Sequence[CheckResult]) -> list[dict[str, str]]:
    """One object for each precondition."""
    return [
        {
            "status": result.status.value,
            "subject": result.subject,
            "what": result.what,
            "detail": result.detail,
            "hint": result.hint,
        }
        for result in results
    ]


def check_line(result: CheckResult) -> str:
    """One precondition: its state, what it is about, and what to do."""
    line = f"{result.status.value:<6}  {result.subject}: {result.what}: {result.detail}"
    return f"{line}\n        {result.hint}" if result.hint else line


def to_the_second(moment: datetime) -> str:
    """Write an instant (with a time zone) in UTC, for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
