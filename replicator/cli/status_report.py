"""What `replicator status` prints. Values in, text or a document out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from replicator.reports import align
from replicator.service.state_document import NO_PROCESS, databases_document, mirrors_document, state_document
from replicator.service.status import RunState, lag_seconds
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from replicator.service.mirror_status import MirrorStatus
    from replicator.service.status import DatabaseStatus, Drill, Failure, PairStatus, ServiceState

#: A service that runs writes its state file every few seconds.
STALE_AFTER_SECONDS: Final = 15.0

_HEADING = (
    "DATABASE",
    "DESTINATION",
    "CHECKPOINT",
    "PUBLISHED",
    "GENERATION",
    "LAG",
    "BACKLOG",
    "PINNED",
    "",
)
_MIRROR_HEADING = ("MIRROR", "DESTINATION", "COMPARED", "BACKLOG", "DELAY", "FILES", "SENT", "DELETED", "")
_UNKNOWN = "-"
_NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the service runs, and that in words."""

    running: bool
    text: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What was found: `state` is what a service told last, the rest what it told of the configuration's."""

    verdict: Verdict
    state: ServiceState | None
    databases: tuple[DatabaseStatus, ...]
    now_seconds: float
    mirrors: tuple[MirrorStatus, ...] = ()


def judge(state: ServiceState | None, state_dir: Path, *, now_seconds: float, process_exists: bool) -> Verdict:
    """Say whether the service that left `state` runs; `process_exists` is about its process id."""
    if state is None:
        return Verdict(running=False, text=f"the service has never run with {state_dir} as its state_dir")
    if state.state is RunState.STOPPED:
        at = datetime.fromtimestamp(state.written_at_seconds, UTC)
        ago = _ago(now_seconds, state.written_at_seconds)
        text = f"the service is not running: it stopped at {at:%Y-%m-%d %H:%M:%S UTC}, {ago}"
        return Verdict(running=False, text=text)
    if process_exists and now_seconds - state.written_at_seconds <= STALE_AFTER_SECONDS:
        age = _age(now_seconds, state.started_at_seconds)
        text = f"running for {age}: process {state.pid}, version {state.program_version}"
        return Verdict(running=True, text=text)
    sign = f"its last sign of life was {_ago(now_seconds, state.written_at_seconds)}"
    doubt = f" (or process {state.pid} hangs, or cannot write to {state_dir})" if process_exists else ""
    return Verdict(running=False, text=f"the service is not running: {sign}{doubt}")


def status_document(report: StatusReport) -> dict[str, Any]:
    """Return the state file's document for the databases of the configuration, with the lag of each pair."""
    databases = databases_document(report.databases)
    for database in report.databases:
        for pair in database.destinations:
            found = databases[database.name]["destinations"][pair.destination]
            found["lag_seconds"] = lag_seconds(pair, report.now_seconds)
    process = state_document(report.state) if report.state else NO_PROCESS
    verdict = {"running": report.verdict.running, "verdict": report.verdict.text}
    return {**process, **verdict, "databases": databases, "mirrors": mirrors_document(report.mirrors)}


def status_text(report: StatusReport) -> str:
    """Return the verdict, a line for each database or mirror and destination, and lines for what went wrong."""
    rows = [_row(report, database, pair) for database in report.databases for pair in database.destinations]
    remarks = [line for database in report.databases for line in _remarks(report, database)]
    mirror_rows = [_mirror_row(report, mirror) for mirror in report.mirrors]
    remarks += [line for mirror in report.mirrors for line in _mirror_remarks(report, mirror)]
    tables = [[heading, *lines] for heading, lines in ((_HEADING, rows), (_MIRROR_HEADING, mirror_rows)) if lines]
    blocks = [report.verdict.text, *(align(table) for table in tables), *(["\n".join(remarks)] if remarks else [])]
    return "\n\n".join(blocks)


def _row(report: StatusReport, database: DatabaseStatus, pair: PairStatus) -> tuple[str, ...]:
    now_seconds = report.now_seconds
    lag = lag_seconds(pair, now_seconds)
    return (
        database.name,
        pair.destination,
        _ago(now_seconds, database.last_checkpoint_at_seconds),
        _ago(now_seconds, pair.last_publish_at_seconds),
        pair.generation or _UNKNOWN,
        _UNKNOWN if lag is None else format_duration(lag),
        _size(pair.backlog_bytes) if database.shipping else "off",
        _size(database.pinned_bytes),
        "FAILING" if _stands(database.last_error) or _stands(pair.last_error) else "",
    )


def _mirror_row(report: StatusReport, mirror: MirrorStatus) -> tuple[str, ...]:
    delay_seconds = mirror.last_delay_seconds
    return (
        mirror.mirror,
        mirror.destination,
        _ago(report.now_seconds, mirror.last_comparison_at_seconds),
        _UNKNOWN if mirror.backlog_files is None else str(mirror.backlog_files),
        _UNKNOWN if delay_seconds is None else format_duration(delay_seconds),
        str(mirror.files),
        format_size(mirror.sent_bytes),
        str(mirror.deletes),
        "FAILING" if _stands(mirror.last_error) else "",
    )


def _mirror_remarks(report: StatusReport, mirror: MirrorStatus) -> Iterable[str]:
    name = f"{mirror.mirror} -> {mirror.destination}"
    if mirror.last_error:
        yield from _error_lines(f"{name}:", mirror.last_error, report.now_seconds)
        yield from _next_try(report, mirror.next_try_at_seconds)
    if mirror.failed_files and mirror.refused_deletes:  # the error tells of the latter
        yield f"{name}: {mirror.failed_files} files are not as they are here"
    if mirror.unwatched_folders and report.verdict.running:
        reason = "the system allows no more watches (fs.inotify.max_user_watches)"
        yield f"{name}: {mirror.unwatched_folders} folders are not watched, {reason}"


def _next_try(report: StatusReport, at_seconds: float | None) -> Iterable[str]:
    if at_seconds is not None and report.verdict.running:
        wait_seconds = at_seconds - report.now_seconds
        yield f"  next try: {f'in {format_duration(wait_seconds)}' if wait_seconds > 0 else 'now'}"


def _remarks(report: StatusReport, database: DatabaseStatus) -> Iterable[str]:
    now_seconds = report.now_seconds
    if database.last_error:
        yield from _error_lines(f"{database.name}: checkpoint", database.last_error, now_seconds)
    if database.given_up:
        yield f"{database.name}: less than min_free is free; given up: {', '.join(database.given_up)}"
    for pair in database.destinations:
        name = f"{database.name} -> {pair.destination}"
        if pair.last_error:
            yield from _error_lines(f"{name}:", pair.last_error, now_seconds)
        yield from _next_try(report, pair.next_try_at_seconds)
        if pair.last_drill:
            yield _drill_line(name, pair.last_drill, now_seconds)


def _error_lines(name: str, error: Failure, now_seconds: float) -> Iterable[str]:
    recovered_at_seconds = error.recovered_at_seconds
    recovered = "" if recovered_at_seconds is None else f", recovered {_ago(now_seconds, recovered_at_seconds)}"
    yield f"{name} failed {_ago(now_seconds, error.at_seconds)}{recovered}: {error.message}"
    if error.hint and error.stands:
        yield f"  hint: {error.hint}"


def _drill_line(name: str, drill: Drill, now_seconds: float) -> str:
    when = f"{name}: restore drill {_ago(now_seconds, drill.at_seconds)}"
    if drill.error is not None:
        return f"{when} FAILED: {drill.error}"
    lost = "" if drill.loss_seconds is None else f" lacked the last {format_duration(drill.loss_seconds)},"
    return f"{when}:{lost} took {format_duration(drill.took_seconds)}"


def _stands(error: Failure | None) -> bool:
    return error is not None and error.stands


def _size(count_bytes: int | None) -> str:
    return _UNKNOWN if count_bytes is None else format_size(count_bytes)


def _ago(now_seconds: float, then_seconds: float | None) -> str:
    return _NOT_YET if then_seconds is None else f"{_age(now_seconds, then_seconds)} ago"


def _age(now_seconds: float, then_seconds: float) -> str:
    return format_duration(max(0.0, now_seconds - then_seconds))
