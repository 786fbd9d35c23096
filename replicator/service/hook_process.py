"""Running a program of the operator's to its end, or to the end of our patience."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Final

from replicator.errors import ReplicatorError
from replicator.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: So much of what it wrote last is told when it fails.
_SHOWN_BYTES: Final = 500


def run_program(command: Sequence[str], variables: Mapping[str, str], *, timeout_seconds: float) -> None:
    """Run a command without a shell, with `variables` added to our environment.

    Raises `ReplicatorError` if it cannot be run, fails, or takes longer: then it is killed, with its children.
    """
    errors = os.memfd_create("hook", os.MFD_CLOEXEC)
    try:
        process = _start(command, {**os.environ, **variables}, errors)
        code = _end_of(process, timeout_seconds)
        if code is None:
            raise ReplicatorError(
                f"{command[0]} was killed: it was not done after {format_duration(timeout_seconds)}",
                hint="let it do what takes long in the background, or raise service.hook_timeout",
            )
        if code:
            end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise ReplicatorError(f"{command[0]} {end}{_last_words(errors)}", hint="run it by hand")
    finally:
        os.close(errors)


def _start(command: Sequence[str], environment: Mapping[str, str], errors: int) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        # Not subprocess, which passes on that this process blocks the signals that end programs.
        return os.posix_spawnp(
            command[0],
            tuple(command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, errors, 2),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE,),
        )
    except OSError as error:
        raise ReplicatorError(
            f"cannot run {command[0]}: {error.strerror}", hint="name a program that the service's user may run"
        ) from error
    finally:
        os.close(null)


def _end_of(process: int, timeout_seconds: float) -> int | None:
    """Return its exit code, negative for a signal; None if it had to be killed."""
    descriptor = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        is_done = bool(poll.poll(timeout_seconds * 1000))
        if not is_done:
            os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(status) if is_done else None


def _last_words(errors: int) -> str:
    size_bytes = os.fstat(errors).st_size
    said = os.pread(errors, _SHOWN_BYTES, max(0, size_bytes - _SHOWN_BYTES)).decode(errors="replace").strip()
    return f": {said}" if said else ""
