"""Hosts to follow the documents on, word by word: each has its own systemd, files, users and name.

They share one network, in which every name of the documents leads to the loopback, so ports are free. What they
write is in memory; /etc and the like begin as they are on this machine. Nothing is left of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from tests.support.systemd import machine

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PROJECT = Path(__file__).parents[2]
_UNITS: Final = "/etc/systemd/system"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_SECONDS: Final = 30.0
_PREPARE: Final = """
mount -t tmpfs -o mode=755 tmpfs "$FOLDER"
mkdir /run/project
mount --bind "$PROJECT" /run/project
for place in etc usr/local opt root home; do
    own="$FOLDER/$place"
    mkdir -p "$own/new" "$own/work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$own/new,workdir=$own/work" overlay "/$place"
done
for place in var srv; do
    mkdir "$FOLDER/$place"
    mount --bind "$FOLDER/$place" "/$place"
done
mkdir /var/lib /var/log /var/cache
mkdir -m 1777 /var/tmp
ln -s /run /var/run
mkdir "$FOLDER/mnt" "$FOLDER/mnt/disk"
mount --bind "$FOLDER/mnt" /mnt
mount --bind "$DISK" /mnt/disk
mount -t tmpfs -o mode=1777 tmpfs /tmp
if [ ! -e "$PROJECT/pyproject.toml" ]; then
    mkdir -p "$PROJECT"
    mount --bind /run/project "$PROJECT"
fi
echo "$NAME" > /etc/hostname
echo "127.0.0.1 localhost $NAME $NAMES" > /etc/hosts
for target in sysinit basic shutdown local-fs network-online multi-user test; do
    printf '[Unit]\\nDefaultDependencies=no\\n' > "$SYSTEMD_UNIT_PATH/$target.target"
done
"""


class Host:
    """One host, while the block runs. `network` is a host that shares its own; `disk` is at /mnt/disk."""

    def __init__(
        self, name: str, folder: Path, *, names: tuple[str, ...], disk: Path, network: Host | None = None
    ) -> None:
        self.name = name
        self._folder = folder
        self._names = names
        self._disk = disk
        self._network = network
        self._stack = ExitStack()
        self.pid = 0

    def __enter__(self) -> Self:
        self._folder.mkdir()
        environment = {
            "SYSTEMD_UNIT_PATH": _UNITS,
            "NAME": self.name,
            "NAMES": " ".join(self._names),
            "DISK": str(self._disk),
            "PROJECT": str(PROJECT),
        }
        started = self._stack.enter_context(
            machine(
                self._folder,
                _PREPARE,
                environment,
                unshare="" if self._network else "--net",
                network_of=self._network.pid if self._network else None,
            )
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_up(started.process.pid):
            assert started.process.poll() is None, started.said()
            assert time.monotonic() < deadline, started.said()
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _is_up(self, pid: int) -> bool:
        children = psutil.Process(pid).children()
        if not children:
            return False
        self.pid = children[0].pid
        state = self._run("systemctl is-system-running")
        return state.stdout.strip() in {"running", "degraded"}

    def path(self, path: str) -> Path:
        """Return where a path of the host is to be found from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def sh(self, command: str, *, code: int = 0) -> str:
        """Run a command as root in a clone of the project; return standard output. It must end with `code`."""
        done = self._run(command)
        told = f"{self.name}$ {command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, told
        return done.stdout

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": _PATH, "HOME": "/root", "SYSTEMD_UNIT_PATH": _UNITS}
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return subprocess.run(
            [*enter, f"--wd={PROJECT}", "bash", "-c", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def write(self, path: str, text: str) -> None:
        """Write a file of the host; its folder is made."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def reach_programs() -> str:
    """Return settings of a unit that let it see Python and the project, which may be in a home directory here."""
    places = "".join(f"BindReadOnlyPaths={place}\n" for place in (sys.base_prefix, sys.prefix, PROJECT))
    return f"ProtectHome=tmpfs\n{places}Environment=PYTHONPATH={os.environ.get('PYTHONPATH', '')}\n"
