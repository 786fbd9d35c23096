"""The installed `replicator` program as a user has it: its configuration file, its runs, its log.

Log lines are the JSON documents that it writes to a standard error that is no terminal. A traceback in there
is always wrong, so whatever runs here is checked for one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from tests.support.openssh import OpenSshServer

PROGRAM = Path(sys.executable).with_name("replicator")
#: Takes a configuration and a step of a publish, and kills itself there.
KILL_AT = (sys.executable, "-P", Path(__file__).with_name("kill_at.py"))

_WAIT_SECONDS = 90.0
_POLL_SECONDS = 0.01

#: One line of the log.
Event = dict[str, Any]


# --- configuration -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration in the making; values are written as they are in TOML, paths and texts in quotes."""

    path: Path
    databases: list[Mapping[str, object]] = field(default_factory=list)
    mirrors: list[Mapping[str, object]] = field(default_factory=list)
    destinations: list[Mapping[str, object]] = field(default_factory=list)
    #: Keys of [service] beside those that every test needs.
    service: dict[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that the file is in: that of the test."""
        return self.path.parent

    def database(self, name: str, path: Path, **more: object) -> Self:
        """Add a database with a checkpoint root beside it, unless `more` says otherwise."""
        root = path.with_name(f"{path.name}.checkpoints")
        self.databases.append({"name": name, "path": path, "checkpoint_root": root, "min_free": "1MiB", **more})
        return self

    def mirror(self, name: str, path: Path, **more: object) -> Self:
        """Add a mirror; everything in it may be removed, unless `more` says otherwise."""
        self.mirrors.append({"name": name, "path": path, "max_delete": "100%", **more})
        return self

    def directory(self, name: str, folder: Path, **more: object) -> Self:
        """Add a destination that is a folder, which is created."""
        folder.mkdir(exist_ok=True)
        self.destinations.append({"name": name, "url": f"file://{folder}", **more})
        return self

    def sftp(self, name: str, server: OpenSshServer, folder: str, **more: object) -> Self:
        """Add a destination that is an account."""
        keys = {"identity_file": server.identity_file, "known_hosts": server.known_hosts}
        self.destinations.append({"name": name, "url": sftp_url(server, folder), **keys, **more})
        return self

    def write(self) -> Path:
        """Write the file; return its path."""
        service = {"state_dir": self.path.with_name("state"), "log_format": "json", **self.service}
        sections = [
            *(_section("[[database]]", values) for values in self.databases),
            *(_section("[[mirror]]", values) for values in self.mirrors),
            *(_section("[[destination]]", values) for values in self.destinations),
            _section("[service]", service),
        ]
        self.path.write_text("\n".join(sections))
        return self.path


def sftp_url(server: OpenSshServer, folder: str) -> str:
    """Return the URL of a folder below the account's."""
    return f"sftp://{server.user}@127.0.0.1:{server.port}{server.base / folder}"


def key_options(server: OpenSshServer) -> tuple[str, ...]:
    """Return what a command needs to read from the account without a configuration."""
    return ("--identity-file", str(server.identity_file), "--known-hosts", str(server.known_hosts))


def _section(title: str, values: Mapping[str, object]) -> str:
    return "\n".join([title, *(f"{key} = {_toml(value)}" for key, value in values.items()), ""])


def _toml(value: object) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case bool() | int():
            return json.dumps(value)
        case _:
            return json.dumps(str(value))


# --- runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended: its exit code (minus the signal that killed it), standard output and standard error."""

    code: int
    output: str
    errors: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - what json.loads returns
        """Standard output as the one JSON document that it is."""
        return json.loads(self.output)

    def events(self, event: str, **fields: object) -> list[Event]:
        """Return the log lines of that name in which `fields` are as given."""
        return _matching(self.errors, event, fields)

    def event(self, event: str, **fields: object) -> Event:
        """Return the only such line."""
        found = self.events(event, **fields)
        assert len(found) == 1, f"{len(found)} times {event} {fields} in:\n{self.errors}"
        return found[0]


def run_program(*arguments: object, code: int = 0) -> Finished:
    """Run the program to its end, which must be with that exit code."""
    with RunningProgram(*arguments) as program:
        finished = program.wait()
    assert finished.code == code, f"exit code {finished.code}\n{finished.output}\n{finished.errors}"
    return finished


class RunningProgram:
    """The program from construction until it ends, or the `with` block does: then it is killed."""

    def __init__(
        self,
        *arguments: object,
        command: tuple[object, ...] = (PROGRAM,),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Its environment is that of the tests, and what `environment` adds."""
        self._output = os.memfd_create("output")
        self._errors = os.memfd_create("errors")
        self.process = subprocess.Popen(
            [str(argument) for argument in (*command, *arguments)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        errors = self.errors()
        os.close(self._output)
        os.close(self._errors)
        if kind is None:
            assert "Traceback" not in errors, errors

    def errors(self) -> str:
        """Return what stands on standard error so far."""
        return _content(self._errors)

    def output(self) -> str:
        """Return what stands on standard output so far."""
        return _content(self._output)

    def events(self, event: str, **fields: object) -> list[Event]:
        """Return the log lines of that name so far in which `fields` are as given."""
        return _matching(self.errors(), event, fields)

    def wait_for(self, event: str, *, times: int = 1, **fields: object) -> Event:
        """Wait until there are that many such lines; return the last."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            ended = self.process.poll()
            found = self.events(event, **fields)
            if len(found) >= times:
                return found[-1]
            what = f"{len(found)} of {times} times {event} {fields}"
            assert ended is None, f"ended with {ended} after {what} in:\n{self.errors()}"
            assert time.monotonic() < deadline, f"only {what} in:\n{self.errors()}"
            time.sleep(_POLL_SECONDS)

    def wait_for_more(self, event: str, *, more: int = 1, **fields: object) -> Event:
        """Wait until there are that many such lines more than now; return the last."""
        return self.wait_for(event, times=len(self.events(event, **fields)) + more, **fields)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> Finished:
        """Wait for its end."""
        try:
            code = self.process.wait(_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.errors()}") from None
        return Finished(code, _content(self._output), self.errors())

    def stop(self) -> Finished:
        """SIGTERM, which must lead to a clean end."""
        self.send(signal.SIGTERM)
        finished = self.wait()
        assert finished.code == 0, f"exit code {finished.code}\n{finished.errors}"
        return finished

    def peak_memory_bytes(self) -> int:
        """Return the most memory that the process has had so far; 0 if it has ended."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) * 1024 if lines else 0


def _content(descriptor: int) -> str:
    # Not read(): the program writes through the same file offset.
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def _matching(errors: str, event: str, fields: Mapping[str, object]) -> list[Event]:
    found = []
    for line in errors.splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            document = json.loads(line)
            if document["event"] == event and all(document.get(key) == value for key, value in fields.items()):
                found.append(document)
    return found
