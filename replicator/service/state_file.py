"""The state file: written by the running service about once a second, read by `replicator status`.

What stands in it is `state_document`'s affair.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from replicator import __version__
from replicator.errors import ReplicatorError
from replicator.liveness import Vitals, beat
from replicator.service.mirror_board import MirrorBoard
from replicator.service.state_document import decode_state, encode_state
from replicator.service.status import RunState, ServiceState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from replicator.service.board import StatusBoard
    from replicator.service.mirror_status import MirrorStatus
    from replicator.service.status import DatabaseStatus

STATE_NAME: Final = "status.json"

_THREAD_NAME: Final = "state file"
_LOOK_EVERY_SECONDS: Final = 1.0
#: Even if nothing changes: a reader tells by it that the service lives.
_HEARTBEAT_SECONDS: Final = 5.0

_log = structlog.get_logger()


class StateWriter:
    """Writes what the board shows to the state file, from entry into the `with` block to its end.

    A folder that cannot be written to is told once; nothing is raised for it. One that does not answer is a hang,
    which `vitals` shows: readers would take the service for dead.
    """

    def __init__(
        self,
        board: StatusBoard,
        state_dir: Path,
        *,
        mirrors: MirrorBoard | None = None,
        vitals: Vitals | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._mirrors = mirrors or MirrorBoard([])
        self._vitals = vitals or Vitals()
        self._path = state_dir / STATE_NAME
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=_THREAD_NAME)
        self._started_at_seconds = clock()
        self._has_warned = False
        self._written: tuple[object, ...] | None = None
        #: When (monotonic) it is written even if nothing changed.
        self._due = 0.0

    def __enter__(self) -> Self:
        self._started_at_seconds = self._clock()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._write(RunState.STOPPED, self._board.snapshot(), self._mirrors.snapshot())

    def _run(self) -> None:
        with self._vitals.watch(_THREAD_NAME):
            while not self._stop.wait(_LOOK_EVERY_SECONDS):
                beat()
                self._look()

    def _look(self) -> None:
        shown = self._board.snapshot(), self._mirrors.snapshot()
        if shown != self._written or time.monotonic() >= self._due:
            self._write(RunState.RUNNING, *shown)
            self._written = shown
            self._due = time.monotonic() + _HEARTBEAT_SECONDS

    def _write(
        self, state: RunState, databases: tuple[DatabaseStatus, ...], mirrors: tuple[MirrorStatus, ...]
    ) -> None:
        content = encode_state(
            ServiceState(
                program_version=__version__,
                pid=os.getpid(),
                started_at_seconds=self._started_at_seconds,
                written_at_seconds=self._clock(),
                state=state,
                databases=databases,
                mirrors=mirrors,
            )
        )
        written = self._path.with_name(f"{STATE_NAME}.tmp")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not synced: what it tells is of no use after the machine went down.
            written.write_bytes(content)
            written.replace(self._path)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "state_file.failed",
                error=f"cannot write {self._path}: {error.strerror}",
                hint="`replicator status` has nothing to show: let service.state_dir name a folder"
                " that this user may write to",
            )


def read_state(state_dir: Path) -> ServiceState | None:
    """Return what the service wrote last; None if none has ever run with this `state_dir`.

    Raises `ReplicatorError` if that cannot be read.
    """
    path = state_dir / STATE_NAME
    try:
        return decode_state(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ReplicatorError(
            f"cannot read {path}: {error.strerror}", hint="run this as the user that the service runs as"
        ) from error
    except ValueError as error:
        raise ReplicatorError(
            f"{path} is not what this version of the program writes: {error}",
            hint="restart the service, so that both are of one version",
        ) from error
