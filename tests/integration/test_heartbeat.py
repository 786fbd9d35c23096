"""The heartbeat of a service whose threads really hang, wait, or work slowly."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from replicator.bootstrap.destinations import connect
from replicator.destination.interface import Upload
from replicator.destination.rate_limit import RateLimiter
from replicator.liveness import Vitals, beat
from replicator.locator import parse_url
from replicator.service.board import StatusBoard
from replicator.service.destination_worker import StopObserver
from replicator.service.heartbeat import Heartbeat
from replicator.service.service import Service
from replicator.service.status import Watched
from replicator.service.systemd import ServiceManager
from tests.support.service_manager import NotifySocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 0.3
PERIOD_SECONDS = 0.15


class Work:
    """A part of a service that does what a test says."""

    def __init__(self, work: Callable[[], None], *, is_watched: bool = True) -> None:
        self.thread_name = "work"
        self.is_watched = is_watched
        self.run = work

    def wake(self) -> None:
        """See `Part`: the tests end it by other means."""


@contextmanager
def running(part: Work, heard: NotifySocket) -> Iterator[None]:
    stop = threading.Event()
    vitals = Vitals(patience_seconds=PATIENCE_SECONDS)
    manager = ServiceManager.from_environment(heard.environment(watchdog_seconds=PERIOD_SECONDS))
    board = StatusBoard([Watched("app", ("standby",), shipping=True)])
    service = Service(
        [],
        [],
        [],
        stop=stop,
        steady=[part],
        companions=[Heartbeat(vitals, board, manager)],
        vitals=vitals,
        manager=manager,
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_thread_that_hangs_ends_it_until_it_goes_on(tmp_path: Path) -> None:
    release = threading.Event()
    done = threading.Event()

    def hang() -> None:
        release.wait()
        beat(3600)
        done.wait()

    with NotifySocket(tmp_path) as heard, capture_logs() as logs, running(Work(hang), heard):
        heard.wait_for("READY")
        heard.wait_for("WATCHDOG")
        heard.wait_for("STATUS", containing="STUCK: work for ")
        beats = len(heard.messages("WATCHDOG"))
        # The status is said anew as the time grows: at many looks on end there was no beat.
        heard.wait_for("STATUS", times=5, containing="STUCK: work for ")
        assert len(heard.messages("WATCHDOG")) == beats
        release.set()
        heard.wait_for("WATCHDOG", times=beats + 2)
        done.set()
    (stuck,) = [line for line in logs if line["event"] == "service.stuck"]
    assert (stuck["thread"], stuck["log_level"]) == ("work", "error")
    assert [line["event"] for line in logs].count("service.unstuck") == 1


def test_a_wait_that_was_announced_does_not_end_it(tmp_path: Path) -> None:
    done = threading.Event()

    def wait() -> None:
        beat(3600)
        done.wait()

    with NotifySocket(tmp_path) as heard, running(Work(wait), heard):
        heard.wait_for("WATCHDOG", times=12)  # for some times the patience
        done.set()
        assert heard.wait_for("STATUS") == {"STATUS": "app: standby has nothing yet"}
        assert not [message for message in heard.messages("STATUS") if "STUCK" in message["STATUS"]]


def test_a_thread_that_is_not_watched_may_hang(tmp_path: Path) -> None:
    done = threading.Event()
    part = Work(lambda: (done.wait(), None)[1], is_watched=False)
    with NotifySocket(tmp_path) as heard, running(part, heard):
        heard.wait_for("WATCHDOG", times=12)
        done.set()


def test_a_slow_upload_does_not_end_it(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    source = tmp_path / "file"
    source.write_bytes(bytes(200_000))
    stop = threading.Event()
    done = threading.Event()

    def upload() -> None:
        limiter = RateLimiter(100_000)
        with connect(parse_url(f"file://{tmp_path}/base"), limiter=limiter) as destination:
            item = Upload(source, PurePosixPath("file"), 200_000)
            destination.upload([item], StopObserver(stop))
        done.set()

    with NotifySocket(tmp_path) as heard, running(Work(upload), heard):
        assert done.wait(60)
        # It took some times the patience.
        assert len(heard.messages("WATCHDOG")) > 2 * PATIENCE_SECONDS / PERIOD_SECONDS
        assert not [message for message in heard.messages("STATUS") if "STUCK" in message["STATUS"]]
