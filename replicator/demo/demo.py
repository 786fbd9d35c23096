"""`replicator demo`: a live database, its replica over SFTP, a SIGKILL, and the way back, on this machine.

The order of events and what they prove. The processes are `stage`'s, the looks `showing`'s, the figures
`outcome`'s.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from replicator.demo.outcome import Loss, Outcome, Pace, Watched
from replicator.demo.part import PATIENCE_SECONDS
from replicator.demo.showing import Screen, Status
from replicator.demo.stage import (
    AS_OF_THE_KILL,
    CONFIG_NAME,
    DATABASE,
    DESTINATION,
    RESTORED,
    SETTINGS,
    Stage,
)
from replicator.interruption import Interruption
from replicator.moments import format_moment
from replicator.replica.layout import GenerationId
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.demo.layout import Verdict
    from replicator.demo.part import Part
    from replicator.demo.served import Held
    from replicator.demo.stage import Judging

#: Shipping as it is by default; checkpoints far more often than that, so that there are several to see.
_PACE: Final = Pace(interval_seconds=5.0, ship_seconds=1.0)
_WATCH_SECONDS: Final = 14.0
#: On a slow machine it goes on for longer, until there is something to see.
_LEAST_GENERATIONS: Final = 3
_LEAST_JUDGED: Final = 3
#: From the beginning of one judgement to the next: reading all of the replica takes its share of the processor.
_JUDGING_SECONDS: Final = 2.0
_TICK_SECONDS: Final = 0.1
_ALARM: Final = "bold red"


@dataclass(frozen=True, slots=True)
class _Kill:
    """When the primary was dead, and what was at the server before that."""

    at: datetime
    held: Held


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
            outcome = _Play(stage, screen, pause=interruption.pause).perform()
        screen.table("All of it is removed again. What it came to:", outcome.rows())
        screen.say("")
        screen.say(outcome.conclusion())
    return outcome.exact


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
        self._judging_due = 0.0
        self._judged: list[Verdict] = []
        self._largest_lag_seconds = 0.0

    def perform(self) -> Outcome:
        """Do it all. Raises `ReplicatorError` if a part fails."""
        self._start()
        watched_until = time.monotonic() + _WATCH_SECONDS
        self._watch(
            lambda: (
                time.monotonic() >= watched_until
                and len(self._published) >= _LEAST_GENERATIONS
                and len(self._judged) >= _LEAST_JUDGED
            ),
            patience_seconds=_WATCH_SECONDS + PATIENCE_SECONDS,
        )
        kill = self._kill()
        # Its files are still there, and what is in them is shipped: no new checkpoint is needed for that.
        self._watch(lambda: self._judging is None and self._stage.has_shipped_all_since(kill.at))
        self._screen.event("service", "all that the dead primary had written is shipped")
        self._stop_service()
        as_of_kill = self._restore(AS_OF_THE_KILL, at=self._stage.replica.last_complete(kill.held))
        restore = self._restore(RESTORED)
        self._screen.event("judge", "opens what was restored, and what the primary left")
        judging_killed = self._stage.judge_killed()
        judging_as_of_kill, judging_restored = map(self._stage.judge_restored, (AS_OF_THE_KILL, RESTORED))
        return Outcome(
            pace=_PACE,
            watched=Watched(
                published=self._published,
                judged=self._judged,
                largest_lag_seconds=self._largest_lag_seconds,
                shipped_bytes=self._stage.replica.shipped_bytes(),
            ),
            acknowledged=self._stage.acknowledged,
            written=self._tell_faults("the primary's own files", judging_killed.verdict()),
            restored=self._tell_faults("the restored database", judging_restored.verdict()),
            restore=restore,
            loss=Loss(
                lag_seconds=(kill.at - datetime.fromisoformat(as_of_kill["state_at"])).total_seconds(),
                replica=self._tell_faults("the state as of the kill", judging_as_of_kill.verdict()),
            ),
        )

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
        self._service = self._stage.start_service(endpoint, _PACE)
        interval, ship = format_duration(_PACE.interval_seconds), format_duration(_PACE.ship_seconds)
        self._screen.event(
            "service",
            f"replicator run -c {CONFIG_NAME}: a checkpoint every {interval}, its log shipped every {ship}",
        )

    def _kill(self) -> _Kill:
        # What could be restored if the whole host had died too? Never more than what lies at the server before the
        # signal is sent; and its age counts up to the instant at which the primary is surely dead. What is shipped
        # of the primary's files after that has no part in it, though it may be on its way already.
        held = self._stage.replica.held()
        if held is None:
            raise self._service.failure("published generations, but there is none at the server")
        self._primary.kill()
        killed_at = datetime.now(UTC)
        self._primary_alive = False
        self._screen.event("SIGKILL", f"the primary died after batch {self._stage.acknowledged:,}", style=_ALARM)
        return _Kill(killed_at, held)

    def _stop_service(self) -> None:
        self._screen.end_status()
        self._service.stop()
        self._tell_news()
        self._screen.event("service", "stopped")

    def _restore(self, target: str, *, at: datetime | None = None) -> dict[str, Any]:
        moment = f" --at {format_moment(at)}" if at else ""
        self._screen.event(
            "restore", f"replicator restore -c {CONFIG_NAME} {DESTINATION}:{DATABASE} {target}{moment}"
        )
        document = self._stage.restore(target, at=at)
        size, took = format_size(document["size_bytes"]), format_duration(document["duration_seconds"])
        self._screen.event("restore", f"{document['files']} files, {size}; took {took}")
        return document

    def _watch(self, until: Callable[[], bool], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Show what happens until `until` is true. Raises `ReplicatorError` if that never comes."""
        deadline = time.monotonic() + patience_seconds
        while True:
            self._tell_news()
            self._judge_replica()
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

    def _judge_replica(self) -> None:
        """Have the newest generation judged again and again, as it grows, one look at a time."""
        if self._judging is not None:
            generation, judging = self._judging
            if judging.under_way:
                return
            verdict = self._tell_faults(f"generation {generation}", judging.verdict())
            self._judging = None
            self._judged.append(verdict)
            behind = f"; the primary is at {self._stage.acknowledged:,}"
            if verdict.exact:
                self._screen.event("replica", f"judged: exact, at batch {verdict.position:,}{behind}")
        if self._newest is not None and self._primary_alive and time.monotonic() >= self._judging_due:
            self._judging_due = time.monotonic() + _JUDGING_SECONDS
            self._judging = self._newest, self._stage.judge_generation(self._newest)

    def _tell_faults(self, subject: str, verdict: Verdict) -> Verdict:
        for detail in verdict.details:
            self._screen.event("NOT EXACT", f"{subject}: {detail}", style=_ALARM)
        return verdict

    def _show_status(self) -> None:
        held = self._stage.replica.held()
        lag_seconds = (datetime.now(UTC) - held.state_at).total_seconds() if held else None
        if self._primary_alive:
            self._largest_lag_seconds = max(self._largest_lag_seconds, lag_seconds or 0.0)
        exact = [verdict.position for verdict in self._judged if verdict.exact]
        self._screen.status(
            Status(
                primary_alive=self._primary_alive,
                primary_position=self._stage.acknowledged,
                lag_seconds=lag_seconds,
                judged_position=max(exact, default=None),
            )
        )
