"""One process of the demo: started, listened to, ended; if it fails, what it said on standard error is the reason.

What a process says goes to unnamed files that are read now and then: no pipe that blocks, no thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from signal import Signals
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from replicator.errors import ReplicatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Far longer than any step takes, on any machine: what takes longer hangs.
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_SHOWN_LINES = 15


class Part:
    """A Python process, in a session of its own, so that Ctrl-C reaches the demo alone, which then ends it.

    Its standard input is a pipe that ends with the demo, even if the demo is killed: see `lifeline`.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, *, pause: Callable[[float], None]
    ) -> None:
        """Start it in `folder`, which also becomes its home: no SSH settings or keys of the user take part.

        `pause` sleeps for so many seconds; what it raises breaks off what is waited for.
        """
        self._name = name
        self._pause = pause
        self._output = _Said(folder)
        self._errors = _Said(folder)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=self._output.descriptor,
            stderr=self._errors.descriptor,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def first_line(self) -> str:
        """Wait until it says that it is ready. Raises `ReplicatorError` if it ends instead, or hangs."""

        def ready() -> bool:
            self.refuse_to_be_gone()
            return "\n" in self._output.text()

        self._wait(ready, otherwise="did not get ready")
        return self._output.text().partition("\n")[0]

    def new_errors(self) -> list[str]:
        """Return the whole lines that came on standard error since the last call."""
        return self._errors.new_lines()

    def refuse_to_be_gone(self) -> None:
        """Raise `ReplicatorError` if it has ended though nobody asked it to."""
        if not self.running:
            raise self.failure(f"ended unexpectedly, {_how(self._process.returncode)}")

    def result(self) -> str:
        """Wait for its end and return what it printed, which is a result even where the exit code is not 0.

        Raises `ReplicatorError` if it failed without one, was killed or hangs.
        """
        self._wait(lambda: not self.running, otherwise="did not come to an end")
        code = self._process.returncode
        printed = self._output.text()
        if code < 0 or (code > 0 and not printed):
            raise self.failure(f"failed, {_how(code)}")
        return printed

    def stop(self) -> None:
        """Send SIGTERM and wait for its orderly end. Raises `ReplicatorError` if there is none."""
        self._process.terminate()
        self.result()

    def kill(self) -> None:
        """Send SIGKILL, if it still runs, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill it, and let go of what it said."""
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.close()
        self._errors.close()

    def failure(self, what: str) -> ReplicatorError:
        """Return an error that says `what` of this part, and what it said itself."""
        said = self._errors.text().splitlines()[-_SHOWN_LINES:]
        return ReplicatorError("\n".join([f"the demo's {self._name} {what}", *(f"  | {line}" for line in said)]))

    def _wait(self, until: Callable[[], bool], *, otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            if time.monotonic() > deadline:
                raise self.failure(otherwise)
            self._pause(_POLL_SECONDS)


class _Said:
    """A file that one process writes to and this one reads, each at a place of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the process
        self._taken_bytes = 0
        self.descriptor = self._file.fileno()

    def text(self) -> str:
        """Return all that was written so far."""
        return self._read_from(0).decode(errors="replace")

    def new_lines(self) -> list[str]:
        """Return the whole lines that were added since the last call."""
        whole, newline, _ = self._read_from(self._taken_bytes).rpartition(b"\n")
        self._taken_bytes += len(whole) + len(newline)
        return (whole + newline).decode(errors="replace").splitlines()

    def close(self) -> None:
        self._file.close()

    def _read_from(self, offset: int) -> bytes:
        # Not by the file's own position: that is shared with the writer.
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size - offset, offset)


def _environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    return {**own, "HOME": str(folder), "TMPDIR": str(folder)}


def _how(code: int) -> str:
    return f"killed by {Signals(-code).name}" if code < 0 else f"exit code {code}"
