"""`replicator demo`: a live database, its replica over SFTP, a SIGKILL, and the way back, on this machine.

The order of events and what they prove. The processes are `stage`'s, the looks `showing`'s.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from replicator.demo.part import PATIENCE_SECONDS
from replicator.demo.showing import Screen, Status
from replicator.demo.stage import CONFIG_NAME, DATABASE, DESTINATION, SETTINGS, Stage
from replicator.interruption import Interruption
from replicator.replica.layout import GenerationId
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.demo.layout import Verdict
    from replicator.demo.part import Part
    from replicator.demo.stage import Judging

_INTERVAL_SECONDS = 1.5
_WATCH_SECONDS = 12.0
#: On a slow machine it goes on for longer, until there is something to see.
_LEAST_GENERATIONS = 3
_TICK_SECONDS = 0.1
_ALARM = "bold red"


@dataclass(frozen=True, slots=True)
class _Loss:
    """What would be lost if the primary's disk were: the replica had this age and position at the kill."""

    replica_age_seconds: float
    replica: Verdict


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`written` is what the killed primary left, `restored` what came back, `restore` the document about that."""

    acknowledged: int
    written: Verdict
    restored: Verdict
    restore: dict[str, Any]
    loss: _Loss

    @property
    def exact(self) -> bool:
        """Whether every batch came back, whole, and no other."""
        verdicts = (self.written, self.restored, self.loss.replica)
        return (
            all(verdict.exact for verdict in verdicts)
            and self.acknowledged <= self.written.position == self.restored.position
        )


def run_demo() -> bool:
    """Show it; True if all was exact. Everything is removed afterwards, whatever happens.

    Raises `ReplicatorError` if a part of it fails, and `KeyboardInterrupt` for SIGINT, SIGTERM and SIGHUP.
    """
    with Interruption() as interruption, Screen() as screen:
        with (
            TemporaryDirectory(prefix="replicator-demo-") as folder,
            Stage(Path(folder), pause=interruption.pause) as stage,
        ):
            screen.say(f"In {folder}, which is removed afterwards:")
            play = _Play(stage, screen, pause=interruption.pause)
            outcome = play.perform()
        screen.table("All of it is removed again. What it came to:", play.rows(outcome))
        exact = outcome.exact and play.all_judged_exact
        screen.say("")
        screen.say(_conclusion(outcome) if exact else "NOT EXACT: see the lines above.")
    return exact


class _Play:
    """The demo from beginning to end, with the count of what was seen."""

    def __init__(self, stage: Stage, screen: Screen, *, pause: Callable[[float], None]) -> None:
        self._stage = stage
        self._screen = screen
        self._pause = pause
        self._primary: Part
        self._service: Part
        self._primary_alive = False
        self._published: list[dict[str, Any]] = []
        self._newest: GenerationId | None = None
        self._judging: tuple[GenerationId, Judging] | None = None
        self._judged: dict[GenerationId, Verdict] = {}

    @property
    def all_judged_exact(self) -> bool:
        """Whether every generation that was judged at the server was exact."""
        return all(verdict.exact for verdict in self._judged.values())

    def perform(self) -> _Outcome:
        """Do it all. Raises `ReplicatorError` if a part fails."""
        self._start()
        watched_until = time.monotonic() + _WATCH_SECONDS
        self._watch(
            lambda: time.monotonic() >= watched_until and len(self._published) >= _LEAST_GENERATIONS,
            patience_seconds=_WATCH_SECONDS + PATIENCE_SECONDS,
        )
        replica_then = self._stage.current_generation()
        if replica_then is None:
            raise self._service.failure("published generations, but checkpoint_current names none")
        killed_at = self._kill()
        # One that was captured after the kill holds all that the dead primary had written.
        self._watch(lambda: any(generation.time > killed_at for generation in self._judged))
        self._stop_service()
        restore = self._restore()
        self._screen.event("judge", "opens what was restored, and what the primary left")
        return _Outcome(
            acknowledged=self._stage.acknowledged,
            written=self._tell_faults("the primary's own files", self._stage.judge_killed().verdict()),
            restored=self._tell_faults("the restored database", self._stage.judge_restored().verdict()),
            restore=restore,
            loss=_Loss(
                replica_age_seconds=(killed_at - replica_then.time).total_seconds(),
                replica=self._judged.get(replica_then) or self._stage.judge_generation(replica_then).verdict(),
            ),
        )

    def rows(self, outcome: _Outcome) -> list[tuple[str, str, str]]:
        """Return the table at the end."""
        families, interval = SETTINGS.layout.column_families, format_duration(_INTERVAL_SECONDS)
        sent_bytes = self._sum("bytes_sent")
        published_bytes = sent_bytes + self._sum("bytes_reused")
        restore, restored = outcome.restore, outcome.restored
        judged = f"{len(self._judged)} judged at the server, {'all' if self.all_judged_exact else 'NOT ALL'} exact"
        lost = outcome.written.position - outcome.loss.replica.position
        age = format_duration(outcome.loss.replica_age_seconds)
        return [
            ("batches written", f"{outcome.written.position:,}", f"each to {families} column families at once"),
            ("batches restored", f"{restored.position:,}", _remark(outcome)),
            ("torn", f"{restored.torn:,}", "column families at another batch than the others"),
            ("holes", f"{restored.holes:,}", "entries missing or wrong"),
            ("checkpoints published", f"{len(self._published):,}", f"every {interval}; {judged}"),
            ("files sent", f"{self._sum('files_sent'):,}", ""),
            ("files reused", f"{self._sum('files_reused'):,}", "the server had them: hard links there"),
            ("bytes sent", format_size(sent_bytes), f"for {format_size(published_bytes)} published"),
            (
                "restore time",
                format_duration(restore["duration_seconds"]),
                f"{restore['files']} files, {format_size(restore['size_bytes'])}, every SHA-256 checked",
            ),
            ("at risk at the kill", f"{lost:,}", f"batches not yet replicated: the replica was {age} old"),
        ]

    def _start(self) -> None:
        endpoint = self._stage.start_server()
        self._screen.event("SFTP server", f"on {endpoint.host}:{endpoint.port}, host key {endpoint.fingerprint}")
        self._primary = self._stage.start_primary()
        self._primary_alive = True
        self._screen.event(
            "primary",
            f"process {self._primary.pid} writes {SETTINGS.batches_per_second:,} batches a second,"
            f" each to {SETTINGS.layout.column_families} column families at once",
        )
        self._service = self._stage.start_service(endpoint, interval_seconds=_INTERVAL_SECONDS)
        every = format_duration(_INTERVAL_SECONDS)
        self._screen.event("service", f"replicator run -c {CONFIG_NAME}: a checkpoint every {every}")

    def _kill(self) -> datetime:
        self._primary.kill()
        killed_at = datetime.now(UTC)
        self._primary_alive = False
        self._screen.event("SIGKILL", f"the primary died after batch {self._stage.acknowledged:,}", style=_ALARM)
        return killed_at

    def _stop_service(self) -> None:
        self._screen.end_status()
        self._service.stop()
        self._tell_news()
        self._screen.event("service", "stopped")

    def _restore(self) -> dict[str, Any]:
        self._screen.event("restore", f"replicator restore -c {CONFIG_NAME} {DESTINATION}:{DATABASE} restored")
        document = self._stage.restore()
        size, took = format_size(document["size_bytes"]), format_duration(document["duration_seconds"])
        self._screen.event("restore", f"{document['files']} files, {size}; took {took}")
        return document

    def _watch(self, until: Callable[[], bool], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Show what happens until `until` is true. Raises `ReplicatorError` if that never comes."""
        deadline = time.monotonic() + patience_seconds
        while True:
            self._tell_news()
            self._judge_newest()
            self._show_status()
            if until():
                return
            self._service.refuse_to_be_gone()
            if self._primary_alive:
                self._primary.refuse_to_be_gone()
            if time.monotonic() > deadline:
                raise self._service.failure(f"did not get on within {format_duration(patience_seconds)}")
            self._pause(_TICK_SECONDS)

    def _tell_news(self) -> None:
        """Show what the service has logged since the last call."""
        for line in self._service.new_errors():
            if line.startswith("{"):  # else a traceback: if it means the end, it is shown as the reason for that
                self._tell(json.loads(line))

    def _tell(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "checkpoint.made":
                logs = format_size(event["wal_bytes"])
                self._screen.event(
                    "checkpoint",
                    f"{event['live_files']} tables linked, {logs} of its logs copied; took {event['took']}",
                )
            case "publish.done":
                self._newest = GenerationId.parse(event["generation"])
                self._published.append(event)
                sent = f"{event['files_sent']} files sent ({format_size(event['bytes_sent'])})"
                reused = f"{event['files_reused']} reused ({format_size(event['bytes_reused'])})"
                self._screen.event("published", f"{sent}, {reused}; took {event['took']}")
            case name if event["level"] in {"warning", "error"}:
                reason = event.get("error") or event.get("exception", "").rpartition("\n")[2]
                self._screen.event(name, f"{reason} {event.get('hint', '')}".rstrip(), style=_ALARM)

    def _judge_newest(self) -> None:
        """Have the newest generation judged, one at a time: most of them, if the machine keeps up."""
        if self._judging is not None:
            generation, judging = self._judging
            if judging.under_way:
                return
            verdict = self._tell_faults(f"generation {generation}", judging.verdict())
            self._judging = None
            self._judged[generation] = verdict
            behind = f"; the primary is at {self._stage.acknowledged:,}"
            if verdict.exact:
                self._screen.event("replica", f"judged: exact, at batch {verdict.position:,}{behind}")
        if self._newest is not None and self._newest not in self._judged:
            self._judging = self._newest, self._stage.judge_generation(self._newest)

    def _tell_faults(self, subject: str, verdict: Verdict) -> Verdict:
        for detail in verdict.details:
            self._screen.event("NOT EXACT", f"{subject}: {detail}", style=_ALARM)
        return verdict

    def _show_status(self) -> None:
        exact = [verdict.position for verdict in self._judged.values() if verdict.exact]
        age = datetime.now(UTC) - self._newest.time if self._newest is not None else None
        self._screen.status(
            Status(
                primary_alive=self._primary_alive,
                primary_position=self._stage.acknowledged,
                replica_age_seconds=age.total_seconds() if age is not None else None,
                judged_position=max(exact, default=None),
            )
        )

    def _sum(self, field: str) -> int:
        return sum(int(event[field]) for event in self._published)


def _remark(outcome: _Outcome) -> str:
    if not outcome.restored.opened:
        return "the restored database does NOT open"
    return "" if outcome.restored.position == outcome.written.position else "NOT what was written"


def _conclusion(outcome: _Outcome) -> str:
    age, interval = format_duration(outcome.loss.replica_age_seconds), format_duration(_INTERVAL_SECONDS)
    return (
        "Every batch is back, for the dead primary's files were still there to make a last checkpoint of.\n"
        f"Had its disk died too, the replica would have brought back the state of {age} before: a replica is as\n"
        f"old as the interval ({interval} here), plus the transfer."
    )
