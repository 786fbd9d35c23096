"""What is told of mirrors: the board, its metrics, and what `status` prints of it."""

from __future__ import annotations

from replicator.cli.status_report import StatusReport, Verdict, status_document, status_text
from replicator.errors import ConnectionLostError
from replicator.mirror.counting import Counts
from replicator.service.board import StatusBoard
from replicator.service.events import Event, EventKind
from replicator.service.metrics import Metrics
from replicator.service.mirror_board import MirrorBoard
from replicator.service.mirror_status import MirrorStatus, WatchedMirror, mirrors_as_configured

NOW = 1_000_000_000.0
MEDIA = WatchedMirror("media", ("standby", "here"))


def board() -> MirrorBoard:
    return MirrorBoard([MEDIA], clock=lambda: NOW)


def test_what_was_done_is_shown() -> None:
    shown = board()
    shown.counted("media", "here", counts=Counts(files=6, sent_bytes=20, deletes=2))
    shown.incomplete("media", "here", failed_files=2, refused_deletes=4)
    standby, here = shown.snapshot()
    assert standby == MirrorStatus("media", "standby")
    assert here == MirrorStatus(
        "media", "here", files=6, sent_bytes=20, deletes=2, failed_files=2, refused_deletes=4
    )


class Heard:
    """A listener."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def hear(self, event: Event) -> None:
        self.events.append(event)


def test_a_failure_is_told_once_until_it_works_again() -> None:
    heard = Heard()
    shown = MirrorBoard([MEDIA], listener=heard, clock=lambda: NOW)

    def fail(*, will_heal: bool) -> None:
        lost = ConnectionLostError("gone", hint="look")
        shown.failed("media", "here", error=lost, kind="connection", next_try_at_seconds=None, will_heal=will_heal)

    fail(will_heal=True)
    assert heard.events == []
    for _ in range(2):
        fail(will_heal=False)
    told = Event(EventKind.MIRROR_FAILED, mirror="media", destination="here", error="gone", hint="look")
    assert heard.events == [told]
    shown.recovered("media", "here")
    fail(will_heal=False)
    assert heard.events == [told, told]


def test_an_error_stands_until_it_works() -> None:
    shown = board()
    shown.failed(
        "media", "here", error=ConnectionLostError("gone"), kind="connection", next_try_at_seconds=NOW + 9
    )
    error = shown.snapshot()[1].last_error
    assert error is not None
    assert error.stands
    shown.recovered("media", "here")
    healed = shown.snapshot()[1]
    assert healed.last_error is not None
    assert not healed.last_error.stands
    assert healed.next_try_at_seconds is None


def test_watches_are_those_of_the_mirror() -> None:
    shown = board()
    shown.watching("media", unwatched_folders=7)
    shown.delayed("media", "here", delay_seconds=1)
    assert [status.unwatched_folders for status in shown.snapshot()] == [7, 7]


def test_metrics_of_mirrors() -> None:
    shown = board()
    shown.follow_backlog("media", "here", lambda: 5)
    shown.delayed("media", "here", delay_seconds=1.5)
    shown.failed("media", "here", error=ConnectionLostError("gone"), kind="connection", next_try_at_seconds=None)
    text = Metrics(StatusBoard([]), mirrors=shown).render().decode()
    labels = '{destination="here",mirror="media"}'
    assert f"replicator_mirror_backlog_files{labels} 5.0" in text
    assert f"replicator_mirror_delay_seconds{labels} 1.5" in text
    assert 'replicator_mirror_errors_total{destination="here",kind="connection",mirror="media"} 1.0' in text
    assert 'replicator_mirror_files_total{destination="standby",mirror="media"} 0.0' in text


def test_status_has_a_line_for_each_destination_of_a_mirror() -> None:
    shown = board()
    shown.compared("media", "here")
    shown.watching("media", unwatched_folders=7)
    error = ConnectionLostError("gone", hint="look")
    shown.failed("media", "here", error=error, kind="connection", next_try_at_seconds=NOW + 9)
    report = StatusReport(Verdict(running=True, text="running"), None, (), NOW + 4, shown.snapshot())
    text = status_text(report)
    (line,) = [line for line in text.splitlines() if line.startswith("media  ") and "here" in line]
    assert line.split()[:4] == ["media", "here", "4.0", "s"]
    assert line.endswith("FAILING")
    assert "media -> here: failed 4.0 s ago: gone\n  hint: look\n  next try: in 5.0 s" in text
    assert "7 folders are not watched" in text
    assert "DATABASE" not in text
    assert status_document(report)["mirrors"]["media"]["destinations"]["here"]["unwatched_folders"] == 7


def test_status_names_failed_files_that_refused_deletes_would_hide() -> None:
    shown = board()
    shown.incomplete("media", "here", failed_files=12, refused_deletes=4)
    shown.watching("media", unwatched_folders=7)
    refused = ConnectionLostError("4 deletes refused")
    shown.failed("media", "here", error=refused, kind="file", next_try_at_seconds=None)
    report = StatusReport(Verdict(running=True, text="running"), None, (), NOW + 4, shown.snapshot())
    lines = status_text(report).splitlines()
    assert "media -> here: 12 files are not as they are here" in lines
    watches = "7 folders are not watched, the system allows no more watches (fs.inotify.max_user_watches)"
    assert f"media -> here: {watches}" in lines


def test_only_what_is_configured_is_shown() -> None:
    known = [MirrorStatus("media", "here", files=3), MirrorStatus("gone", "here")]
    assert mirrors_as_configured(known, [MEDIA]) == (MirrorStatus("media", "standby"), known[0])
