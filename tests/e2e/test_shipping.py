"""`replicator run` with shipping: a tick behind, through everything that no log carries.

The interval never ends here, unless a test says otherwise: each generation after the first has a cause in what
happens.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from tests.support.captures import paused
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.primaries import MEBIBYTE, Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import (
    assert_sound,
    growing_position_of,
    position_of,
    restored_position,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.databases import TwoStates

#: A service that gets no processor for long misses logs, and is right to want a checkpoint then.
pytestmark = pytest.mark.alone

NEVER = "1h"
TICK = "100ms"
#: Leaves a small machine time for everybody; logs are switched every second or two.
PACED = PrimarySettings(batches_per_second=300, write_buffer_bytes=64 * 1024)
#: Logs live for so long that even a service which gets no processor for seconds sees each of them.
LONG_LOGS = PrimarySettings(batches_per_second=300, write_buffer_bytes=256 * 1024)


class Running:
    """A primary, and the service that ships it to `replica`."""

    def __init__(self, primary: Primary, config: ConfigFile, replica: Path, stack: ExitStack) -> None:
        self.primary = primary
        self.replica = replica
        self._config = config
        self._stack = stack
        self.start_service()

    def start_service(self) -> None:
        """Run the service; one that ran before must have ended."""
        self.service = self._stack.enter_context(RunningProgram("run", "-c", self._config.path))

    @property
    def generation(self) -> str:
        """The id of the current one."""
        return (self.replica / "checkpoint_current").resolve(strict=True).name

    def catch_up(self) -> int:
        """Wait until the replica, exact at every look, has all that is written by now; return where it is."""
        return catch_up(self.primary, self.replica)

    def restored(self, *, generation: str | None = None, at: datetime | None = None) -> int:
        """Restore and judge; return the position."""
        return restored_position(self.replica, self._config.folder / "restored", generation=generation, at=at)

    def restorable_at(self) -> datetime:
        """Return what the service says of the newest instant that can be restored; one long ago for none yet."""
        document = run_program("status", "-c", self._config.path, "--json").document
        told: str | None = document["databases"]["app"]["destinations"]["standby"]["restorable_at"]
        return datetime.min.replace(tzinfo=UTC) if told is None else datetime.fromisoformat(told)

    def generations_made(self) -> list[str]:
        """Return the ids of all that were published, oldest first."""
        return [done["generation"] for done in self.service.events("publish.done")]


def catch_up(primary: Primary, replica: Path) -> int:
    """As `Running.catch_up`."""
    floor = primary.position
    position = 0

    def is_there() -> bool:
        nonlocal position
        found = growing_position_of(replica / "checkpoint_current")
        assert found >= position
        position = found
        return position >= floor

    wait_until(is_there, f"a replica with batch {floor}")
    return position


@contextmanager
def shipped(
    config: ConfigFile,
    server: OpenSshServer,
    account: str,
    settings: PrimarySettings = PACED,
    **more: object,
) -> Iterator[Running]:
    """Run a primary and a service, up to the first generation; at the end both end in order, and all is sound."""
    database = config.folder / "db"
    config.database("app", database, ship_wal=TICK, **{"interval": NEVER, **more})
    config.sftp("standby", server, account, keep={"last": 50}, timeout="3s").write()
    replica = server.local_base / account / "app"
    with Primary(database, settings) as primary, ExitStack() as stack:
        primary.wait_for(100)
        running = Running(primary, config, replica, stack)
        running.service.wait_for("publish.done", destination="standby")
        yield running
        running.catch_up()
        position = primary.stop()
        wait_until(lambda: growing_position_of(replica / "checkpoint_current") == position, "the last batch")
        assert not running.service.stop().events("checkpoint.failed")
        assert position_of(replica / "checkpoint_current") == position
        assert running.restored() == position


def assert_sealed(running: Running, sealed: str, reason: str) -> None:
    """Wait for what an event must lead to: another generation, for that reason, which catches up."""
    wait_until(
        lambda: any(reason in wanted["reason"] for wanted in running.service.events("checkpoint.wanted")),
        f"a checkpoint that is wanted because: {reason}",
    )
    wait_until(lambda: running.generation > sealed, "another generation")
    running.service.wait_for("publish.done", generation=running.generation)
    running.catch_up()


# --- what no log carries -------------------------------------------------------------------------------


def stop_and_start(primary: Primary) -> int:
    position = primary.stop()
    primary.start()
    return position


def kill_and_start(primary: Primary) -> int:
    position = primary.kill()
    primary.start()
    return position + 1  # it may have died before it could say that this was written


def tear_and_start(primary: Primary) -> int:
    """Leave the trace of a write that a crash cut off, in a log that the primary then keeps."""
    position = primary.kill()
    newest = max(primary.path.glob("*.log"), key=lambda path: int(path.stem))
    whole = newest.read_bytes()
    assert whole
    with newest.open("ab") as log:
        log.write(whole[: min(40, len(whole) - 1)])
    primary.start(replace(primary.settings, database_options={"avoid_flush_during_recovery": "true"}))
    return position + 1


@pytest.mark.parametrize("restart", [stop_and_start, kill_and_start, tear_and_start])
def test_a_restart_of_the_primary(
    config: ConfigFile, server: OpenSshServer, account: str, restart: Callable[[Primary], int]
) -> None:
    with shipped(config, server, account) as running:
        before, sealed = running.catch_up(), running.generation
        last = restart(running.primary)
        assert_sealed(running, sealed, "new MANIFEST")
        assert before <= running.restored(generation=sealed) <= last


def test_a_new_manifest(config: ConfigFile, server: OpenSshServer, account: str) -> None:
    settings = replace(PACED, database_options={"max_manifest_file_size": "1024"})
    with shipped(config, server, account, settings) as running:
        sealed = running.generation
        assert_sealed(running, sealed, "new MANIFEST")
        assert running.restored(generation=sealed) <= running.restored()


EVERY = 500


@pytest.mark.parametrize(
    ("layout", "last"),
    [
        pytest.param(Layout(churn_every=EVERY), EVERY - 1, id="column families are created and dropped"),
        pytest.param(Layout(ingest_every=EVERY), EVERY, id="files are ingested"),
    ],
)
def test_what_a_manifest_alone_tells(
    config: ConfigFile, server: OpenSshServer, account: str, layout: Layout, last: int
) -> None:
    """Batch 500 is written after a column family was created, and a file is ingested after it."""
    with shipped(config, server, account, replace(PACED, layout=layout)) as running:
        sealed = running.generation
        assert_sealed(running, sealed, "column family")
        assert running.restored(generation=sealed) <= last
        running.primary.wait_for(2 * EVERY)
        running.service.wait_for_more("publish.done")


def test_a_log_that_was_missed(config: ConfigFile, server: OpenSshServer, account: str) -> None:
    with shipped(config, server, account, replace(PACED, batches_per_second=1000)) as running:
        before, sealed = running.catch_up(), running.generation
        running.service.send(signal.SIGSTOP)
        seen = {path.name for path in running.primary.path.glob("*.log")}
        newest = max(seen)
        wait_until(
            lambda: min(path.name for path in running.primary.path.glob("*.log")) > _after(newest, logs=3),
            "logs that came and went",
        )
        last = running.primary.position + 1
        running.service.send(signal.SIGCONT)
        assert_sealed(running, sealed, "may have come and gone unseen")
        assert before <= running.restored(generation=sealed) <= last


def _after(name: str, *, logs: int) -> str:
    """Return a name that surely comes after so many more logs: other files take numbers too."""
    return f"{int(name.removesuffix('.log')) + 8 * logs:06d}.log"


def test_logs_that_are_recycled_before_they_were_shipped(config: ConfigFile) -> None:
    settings = replace(
        PACED,
        batches_per_second=1000,
        database_options={"recycle_log_file_num": "2", "wal_recovery_mode": "kPointInTimeRecovery"},
    )
    with OpenSshServer(ServerOptions(chroot=True)) as server:
        server.make_folder("account")
        with shipped(config, server, "account", settings) as running:
            before, sealed = running.catch_up(), running.generation
            server.stop()
            newest = max(path.name for path in running.primary.path.glob("*.log"))
            wait_until(
                lambda: min(path.name for path in running.primary.path.glob("*.log")) > _after(newest, logs=2),
                "recycled logs",
            )
            server.start()
            assert_sealed(running, sealed, "recycled")
            assert before <= running.restored(generation=sealed)


# --- destinations --------------------------------------------------------------------------------------


def stay_away(running: Running, server: OpenSshServer, *, logs: int) -> None:
    """Let the server be gone until the primary has deleted so many logs that were not shipped."""
    newest = max(path.name for path in running.primary.path.glob("*.log"))
    server.stop()
    running.service.wait_for("shipping.interrupted", destination="standby")
    wait_until(
        lambda: min(path.name for path in running.primary.path.glob("*.log")) > _after(newest, logs=logs),
        "deleted logs",
    )
    server.start()


def test_a_destination_that_was_away_gets_what_it_missed(config: ConfigFile) -> None:
    with OpenSshServer(ServerOptions(chroot=True)) as server:
        server.make_folder("account")
        with shipped(config, server, "account", LONG_LOGS) as running:
            running.catch_up()
            stay_away(running, server, logs=1)
            running.service.wait_for("shipping.resumed", destination="standby")
            running.catch_up()
            assert not running.service.events("checkpoint.wanted")


def test_what_it_missed_is_not_held_beyond_the_budget(config: ConfigFile) -> None:
    """There is room for one log, so that all is well until the destination is away."""
    with OpenSshServer(ServerOptions(chroot=True)) as server:
        server.make_folder("account")
        with shipped(config, server, "account", pin_budget="300KiB") as running:
            before, sealed = running.catch_up(), running.generation
            stay_away(running, server, logs=3)
            assert_sealed(running, sealed, "let go of")
            assert before <= running.restored(generation=sealed)


def test_a_session_that_is_killed_is_taken_up_again(
    config: ConfigFile, server: OpenSshServer, account: str
) -> None:
    with shipped(config, server, account, LONG_LOGS) as running:
        for times in (1, 2, 3):
            running.catch_up()
            server.kill_sessions()
            running.service.wait_for("shipping.resumed", times=times)
        assert not running.service.events("checkpoint.wanted")


def test_a_stalled_destination_holds_up_nobody(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    config.directory("here", tmp_path / "here")
    with shipped(config, server, account) as running:
        running.service.wait_for("publish.done", destination="here")
        running.catch_up()
        server.stall_sessions()
        try:
            for _ in range(3):
                running.primary.wait_for_more(100)
                catch_up(running.primary, tmp_path / "here" / "app")
            interrupted = running.service.wait_for("shipping.interrupted", destination="standby")
        finally:
            server.resume_sessions()
        assert interrupted["error_type"] == "DestinationTimeoutError"
        running.catch_up()
        assert not running.service.events("checkpoint.wanted")
        assert not running.service.events("shipping.interrupted", destination="here")


# --- the service ---------------------------------------------------------------------------------------


def test_a_service_that_is_killed_goes_on(
    config: ConfigFile, server: OpenSshServer, account: str, states: TwoStates
) -> None:
    states.begin(config.folder / "db")
    settings = replace(
        PACED,
        layout=Layout(value_bytes=2000),
        write_buffer_bytes=MEBIBYTE,
        batches_per_second=50,
        family_options={"disable_auto_compactions": "true"},
    )
    with shipped(config, server, account, settings) as running:
        first = running.service.events("publish.done")[0]
        for _ in range(2):
            position = running.catch_up()
            running.service.send(signal.SIGKILL)
            running.service.process.wait()
            assert growing_position_of(running.replica / "checkpoint_current") >= position
            assert running.restored() >= position
            running.start_service()
            done = running.service.wait_for("publish.done")
            assert done["bytes_sent"] < first["bytes_sent"] / 2
            assert done["bytes_reused"] > first["bytes_sent"] / 2
    assert_sound(running.replica)


def test_what_was_shipped_is_not_sent_again(config: ConfigFile, server: OpenSshServer, account: str) -> None:
    """All of the log is there when the next generation is made, and nothing else has changed."""
    settings = PrimarySettings(
        layout=Layout(value_bytes=1000),
        write_buffer_bytes=64 * MEBIBYTE,
        batches_per_second=1000,
        max_batches=2000,
    )
    with shipped(config, server, account, settings, interval="2s") as running:
        running.primary.wait_for(2000)
        running.catch_up()
        log_bytes = sum(path.stat().st_size for path in running.primary.path.glob("*.log"))
        assert log_bytes > 5 * MEBIBYTE
        # The last generation is made of a checkpoint that has all of it.
        unchanged = running.service.wait_for_more("publish.unchanged")
        done = running.service.events("publish.done")[-1]
        assert done["generation"] == unchanged["generation"]
        assert done["bytes_sent"] < log_bytes / 100


# --- any instant ---------------------------------------------------------------------------------------


def test_any_instant_is_restored(config: ConfigFile, server: OpenSshServer, account: str) -> None:
    """At instants at which nothing is written, so that it can be said what there was; in several generations."""
    with shipped(config, server, account, interval="2s") as running:
        instants: list[tuple[datetime, int]] = []
        for _ in range(3):
            running.primary.wait_for_more(150)
            with paused(running.primary):
                stands_since = datetime.now(UTC)
                # Not only what is counted: it may stand still between a batch and its count.
                wait_until(lambda: running.restorable_at() > stands_since, "a reading of that")  # noqa: B023
                instants.append((datetime.now(UTC), running.catch_up()))
        assert len({position for _, position in instants}) == 3
        running.service.wait_for_more("publish.done")
        for instant, position in instants:
            assert running.restored(at=instant) == position
