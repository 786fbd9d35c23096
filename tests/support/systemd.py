"""A real systemd as process 1 of namespaces and a control group of its own: nothing of it is left afterwards.

Needs root, as a mount does. The service manager of this machine, if there is one, does not see it.
"""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_ENOUGH_SECONDS: Final = 60.0
_IN_CONTROL_GROUPS: Final = """
mkdir -p "$FOLDER/cgroup"
mount -t cgroup2 cgroup2 "$FOLDER/cgroup"
"""
_OUTER: Final = f"""
{_IN_CONTROL_GROUPS}
mkdir "$FOLDER/cgroup/$GROUP"
echo $$ > "$FOLDER/cgroup/$GROUP/cgroup.procs"
umount "$FOLDER/cgroup"
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup --mount-proc $MORE sh -ec "$INNER"
"""
# A container's mounts are shared among its processes, which is how credentials get to a service.
_INNER: Final = """
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$CONSOLE" /dev/console
{prepare}
exec /lib/systemd/systemd --system --log-target=console --show-status=no --unit=test.target
"""
_CLEAR: Final = f"""
{_IN_CONTROL_GROUPS}
until find "$FOLDER/cgroup/$GROUP" -depth -type d -exec rmdir {{}} + 2>/dev/null; do
    sleep 0.02  # the last processes are on their way out
done
"""
_TARGET: Final = "[Unit]\nDefaultDependencies=no\nWants={unit}\n"
_END: Final = "[Unit]\nSuccessAction=exit-force\nFailureAction=exit-force\n"


class Machine:
    """One that was started: its process on this side, and what its systemd has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], said: list[bytes]) -> None:
        self.process = process
        self._said = said

    def said(self) -> str:
        """Return what was said on the console."""
        return b"".join(self._said).decode(errors="replace")


@contextmanager
def machine(
    folder: Path, prepare: str, environment: Mapping[str, str], *, unshare: str = "", network_of: int | None = None
) -> Iterator[Machine]:
    """Start a systemd with test.target after the shell commands `prepare`; the end of the block kills it.

    `network_of` is a process whose network it shares.
    """
    ours, console = pty.openpty()
    said: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, said))
    reader.start()
    group = f"replicator-test-{uuid.uuid4().hex}"
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "FOLDER": str(folder),
        "GROUP": group,
        "MORE": unshare,
        "INNER": _INNER.format(prepare=prepare),
        "CONSOLE": os.ttyname(console),
        "container": "test",
        **environment,
    }
    join = [] if network_of is None else ["nsenter", f"--net=/proc/{network_of}/ns/net"]
    process = subprocess.Popen(
        [*join, "unshare", "--mount", "sh", "-ec", _OUTER], env=variables, stdin=subprocess.DEVNULL
    )
    try:
        yield Machine(process, said)
    finally:
        process.kill()
        process.wait()
        os.close(console)
        reader.join()
        os.close(ours)
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", _CLEAR], env=variables, check=True, timeout=_ENOUGH_SECONDS
        )


def run_unit(units: Path, unit: str, *, var_lib: Path) -> str:
    """Start `unit` of the folder `units`, a oneshot, and return what systemd said of it.

    It sees the folder `var_lib` as /var/lib. What is added to the unit's settings ends everything with it.
    """
    (units / "test.target").write_text(_TARGET.format(unit=unit))
    drop_ins = units / f"{unit}.d"
    drop_ins.mkdir(exist_ok=True)
    (drop_ins / "zz-end.conf").write_text(_END)
    environment = {"SYSTEMD_UNIT_PATH": str(units), "VAR_LIB": str(var_lib)}
    with machine(units, 'mount --bind "$VAR_LIB" /var/lib', environment) as started:
        started.process.wait(_ENOUGH_SECONDS)
    return started.said()


def _read(terminal: int, said: list[bytes]) -> None:
    # The end of a terminal is an error.
    with suppress(OSError):
        while chunk := os.read(terminal, 65536):
            said.append(chunk)
