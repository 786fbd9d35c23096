"""Hooks: programs of the operator's that are run when something was published, or begins to fail.

They run one after the other on a thread of their own: whatever they do, the work goes on.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from replicator.errors import ReplicatorError
from replicator.service.events import Event, EventKind
from replicator.service.hook_process import run_program

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

#: Events that wait for hooks that are slow; more are not waited for.
_MOST_WAITING: Final = 100

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HookSettings:
    """The commands, program and arguments; None for none."""

    on_publish: tuple[str, ...] | None
    on_failure: tuple[str, ...] | None
    timeout_seconds: float

    def command_for(self, event: Event) -> tuple[str, ...] | None:
        """Return what is to be run."""
        return self.on_publish if event.kind is EventKind.PUBLISHED else self.on_failure


class HookRunner:
    """A `Listener` that runs hooks, from entry into the `with` block to its end.

    `settings` may be replaced at any time. At the end, what waits is given the time of one hook.
    """

    def __init__(self, settings: HookSettings) -> None:
        self.settings = settings
        self._waiting: queue.Queue[Event | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        self._give_up_at = float("inf")
        self._has_warned = False

    def hear(self, event: Event) -> None:
        """See `Listener`."""
        if self.settings.command_for(event) is None:
            return
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            if not self._has_warned:
                self._has_warned = True
                _log.error(
                    "hook.dropped",
                    hint=f"{_MOST_WAITING} events wait for hooks that are slow: hooks are not run for all events",
                )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up_at = time.monotonic() + self.settings.timeout_seconds
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=1)
            except queue.Full:
                continue
            break
        self._thread.join()

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            command = self.settings.command_for(event)
            left_seconds = self._give_up_at - time.monotonic()
            if command is not None and left_seconds > 0:
                self._run_one(command, event, min(self.settings.timeout_seconds, left_seconds))

    def _run_one(self, command: tuple[str, ...], event: Event, timeout_seconds: float) -> None:
        about = {"mirror": event.mirror} if event.mirror else {"database": event.database}
        names = {"hook": command[0], "on": event.kind.value, **about}
        try:
            run_program(command, hook_variables(event), timeout_seconds=timeout_seconds)
        except ReplicatorError as error:
            _log.error("hook.failed", **names, error=error)
        else:
            _log.debug("hook.done", **names)


def hook_variables(event: Event) -> dict[str, str]:
    """Return what a hook finds in its environment."""
    values = {
        "EVENT": event.kind.value,
        "DATABASE": event.database,
        "MIRROR": event.mirror,
        "DESTINATION": event.destination,
        "GENERATION": event.generation,
        "ERROR": event.error,
        "HINT": event.hint,
    }
    return {f"REPLICATOR_{name}": value.replace("\0", "") for name, value in values.items()}
