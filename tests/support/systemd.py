"""A real systemd with units of a test, as process 1 of namespaces of its own: nothing of it is left afterwards.

Needs root, as a mount does. The service manager of this machine, if there is one, does not see it.
"""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_ENOUGH_SECONDS: Final = 60.0
# A container's mounts are shared among its processes, which is how credentials get to a service.
_START: Final = """
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$CONSOLE" /dev/console
mount --bind "$VAR_LIB" /var/lib
exec /lib/systemd/systemd --system --log-target=console --show-status=no --unit=test.target
"""
_TARGET: Final = "[Unit]\nDefaultDependencies=no\nWants={unit}\n"
_END: Final = "[Unit]\nSuccessAction=exit-force\nFailureAction=exit-force\n"


def run_unit(units: Path, unit: str, *, var_lib: Path) -> str:
    """Start `unit` of the folder `units`, a oneshot, and return what systemd said of it.

    It sees the folder `var_lib` as /var/lib. What is added to the unit's settings ends everything with it.
    """
    (units / "test.target").write_text(_TARGET.format(unit=unit))
    drop_ins = units / f"{unit}.d"
    drop_ins.mkdir(exist_ok=True)
    (drop_ins / "zz-end.conf").write_text(_END)
    ours, console = pty.openpty()
    said: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, said))
    reader.start()
    try:
        subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("--uts", "--ipc", "--cgroup", "--mount-proc", "sh", "-ec", _START),
            ],
            env={
                "PATH": os.environ["PATH"],
                "CONSOLE": os.ttyname(console),
                "SYSTEMD_UNIT_PATH": str(units),
                "VAR_LIB": str(var_lib),
                "container": "test",
            },
            stdin=subprocess.DEVNULL,
            timeout=_ENOUGH_SECONDS,
            check=False,
        )
    finally:
        os.close(console)
        reader.join()
        os.close(ours)
    return b"".join(said).decode(errors="replace")


def _read(terminal: int, said: list[bytes]) -> None:
    # The end of a terminal is an error.
    with suppress(OSError):
        while chunk := os.read(terminal, 65536):
            said.append(chunk)
