"""The demo's folder and the processes in it: primary, SFTP server, the program itself, the judge.

Every one of them is killed when the context ends. What happens when, and what is shown of it, is `demo`'s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Self

from replicator.demo.layout import Layout, Verdict
from replicator.demo.oracle import Recovery
from replicator.demo.part import Part
from replicator.demo.served import ServedReplica
from replicator.demo.server import Endpoint
from replicator.demo.settings import PrimarySettings, Progress
from replicator.moments import format_moment
from replicator.service.state_file import read_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from replicator.demo.outcome import Pace
    from replicator.replica.layout import GenerationId

CONFIG_NAME: Final = "replicator.toml"
DATABASE: Final = "chat"
DESTINATION: Final = "standby"
#: The folders that are restored to.
RESTORED: Final = "restored"
AS_OF_THE_KILL: Final = "as-of-the-kill"

#: Small tables, so that there are soon many of them; and seldom compacted, which would write all of them anew, so
#: that most stay as they are from one checkpoint to the next.
SETTINGS: Final = PrimarySettings(
    layout=Layout(column_families=4, ring=50_000, value_bytes=150),
    batches_per_second=2000,
    write_buffer_bytes=512 * 1024,
    family_options={"target_file_size_base": str(256 * 1024), "level0_file_num_compaction_trigger": "12"},
)

#: The program as its command runs it. The lifeline's thread must not be the one that gets SIGTERM, so the
#: signals that the program waits for are blocked before that thread begins.
_PROGRAM: Final = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
from replicator.demo.lifeline import die_with_parent
die_with_parent()
from replicator.cli import main
main()
"""

_CONFIG: Final = """\
[[database]]
name = {database}
path = {path}
checkpoint_root = {checkpoint_root}
interval = {interval}
ship_wal = {ship_wal}
min_free = "0%"

[[destination]]
name = {destination}
url = {url}
identity_file = {identity_file}
known_hosts = {known_hosts}
keep = {{ last = 1000 }}

[service]
state_dir = {state_dir}
log_format = "json"
"""


class Stage:
    """Everything in one folder; methods that start something return once it is ready.

    `pause` sleeps for so many seconds; what it raises breaks off what is waited for.
    """

    def __init__(self, folder: Path, *, pause: Callable[[float], None]) -> None:
        self._folder = folder
        self._pause = pause
        self._database = folder / "database"
        self._progress_path = folder / "progress"
        self._served = folder / "served"
        self._base = self._served / "replicas"
        self._base.mkdir(parents=True)
        self._state_dir = folder / "state"
        self.replica = ServedReplica(self._base, DATABASE)
        self._parts: list[Part] = []
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for part in self._parts:
            part.close()
        if self._progress is not None:
            self._progress.close()

    @property
    def acknowledged(self) -> int:
        """The last batch that the primary knows to be written, at this instant."""
        return self._progress.position if self._progress is not None else 0

    def start_server(self) -> Endpoint:
        """Start the SFTP server."""
        keys = self._folder / "keys"
        keys.mkdir(mode=0o700)
        server = self._start("server", "-m", "replicator.demo.server", str(self._served), str(keys))
        return Endpoint.from_json(server.first_line())

    def start_primary(self) -> Part:
        """Start the primary; it writes from now on."""
        primary = self._start(
            *("primary", "-m", "replicator.demo.primary", str(self._database)),
            *("--progress", str(self._progress_path), "--settings", SETTINGS.to_json()),
        )
        primary.first_line()
        self._progress = Progress(self._progress_path)
        return primary

    def start_service(self, endpoint: Endpoint, pace: Pace) -> Part:
        """Configure the program and start it, as `replicator run`."""
        values = {
            "database": DATABASE,
            "path": str(self._database),
            "checkpoint_root": str(self._folder / "checkpoints"),
            "interval": f"{pace.interval_seconds:g}s",
            "ship_wal": f"{pace.ship_seconds:g}s",
            "destination": DESTINATION,
            "url": f"sftp://replica@{endpoint.host}:{endpoint.port}/replicas",
            "identity_file": endpoint.identity_file,
            "known_hosts": endpoint.known_hosts,
            "state_dir": str(self._state_dir),
        }
        # A string of JSON is one of TOML too.
        text = _CONFIG.format(**{name: json.dumps(value) for name, value in values.items()})
        (self._folder / CONFIG_NAME).write_text(text)
        return self._start("service", "-c", _PROGRAM, "run", "-c", CONFIG_NAME)

    def has_shipped_all_since(self, moment: datetime) -> bool:
        """Whether the service says that the server has confirmed all that had been written by `moment`."""
        state = read_state(self._state_dir)
        pairs = [pair for database in state.databases for pair in database.destinations] if state else []
        return any(moment.timestamp() < (pair.restorable_at_seconds or 0) for pair in pairs)

    def restore(self, target: str, *, at: datetime | None = None) -> dict[str, Any]:
        """Run `replicator restore` and return the document that it prints; without `at`, of the newest state."""
        moment = ("--at", format_moment(at)) if at else ()
        arguments = ("restore", "-c", CONFIG_NAME, f"{DESTINATION}:{DATABASE}", target, *moment, "--json")
        document: dict[str, Any] = json.loads(self._start("restore", "-c", _PROGRAM, *arguments).result())
        return document

    def judge_generation(self, generation: GenerationId) -> Judging:
        """Begin to judge a generation as it lies at the server, while it may be shipped to."""
        # At this very instant a log may be growing: half a record at its end is how an append under way looks.
        return self._judge(self.replica.folder(generation), Recovery.POINT_IN_TIME)

    def judge_restored(self, target: str) -> Judging:
        """Begin to judge what `restore` made."""
        return self._judge(self._folder / target, Recovery.ABSOLUTE)

    def judge_killed(self) -> Judging:
        """Begin to judge what the killed primary left: that, and nothing else, is what it had written."""
        return self._judge(self._database, Recovery.POINT_IN_TIME)

    def _judge(self, path: Path, recovery: Recovery) -> Judging:
        return Judging(self._start("judge", "-m", "replicator.demo.oracle", str(path), recovery.value))

    def _start(self, name: str, *arguments: str) -> Part:
        part = Part(name, arguments, self._folder, pause=self._pause)
        self._parts.append(part)
        return part


class Judging:
    """A judgement under way, in a process of its own: an engine may crash on what is damaged."""

    def __init__(self, part: Part) -> None:
        self._part = part

    @property
    def under_way(self) -> bool:
        """Whether `verdict` would have to wait."""
        return self._part.running

    def verdict(self) -> Verdict:
        """Wait for the verdict. Raises `ReplicatorError` if the judge itself failed."""
        return Verdict.from_json(self._part.result())
