"""The hosts that the documents for operators speak of, each with a real systemd, and what is seen on them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replicator.demo.oracle import Recovery, judge
from tests.support.hosts import Host, reach_programs
from tests.support.program import PROGRAM
from tests.support.published import wait_until
from tests.support.runbook import Command, commands_of

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from replicator.demo.settings import PrimarySettings

REPLICAS = "/srv/chroot/srv/replica"
LOG = "/var/log/replicator.log"
CONFIG = "/etc/replicator/replicator.toml"
UNITS = "/etc/systemd/system"

#: What stands in the documents, and what is meant by it here. More is added as it becomes known.
WORDS = {
    "scripts/install ": f"scripts/install --program {PROGRAM} ",  # there is no time to install the program itself
    # Python and the program may be in a home directory here.
    "systemd-run ": f"systemd-run {' '.join(f'-p {setting}' for setting in reach_programs().splitlines())} ",
    '"1 hour ago"': '"1 second ago"',
}

APPLICATION = """
[Service]
Type=exec
{user}
RuntimeDirectory=%N
ExecStart=/usr/local/bin/application /run/%N {path}
{more}
[Install]
WantedBy=multi-user.target
"""
#: A demo primary dies when its standard input ends; a FIFO that is open for writing too has no end. As the
#: application of the documents does, it makes a folder for media inside that of the database.
PROGRAM_OF_APPLICATION = """#!/bin/sh
rm -f "$1/input"
mkfifo -m 600 "$1/input"
mkdir -p "$2/media"
exec {python} -m replicator.demo.primary "$2" --progress "$1/progress" --settings '{settings}' <>"$1/input"
"""


class World:
    """The hosts of the documents: by name, as far as they play a part; and what was learnt on the way."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.words = dict(WORDS)
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.standby = self._host("standby", None)
        self.standby.sh(f"cp /lib/systemd/system/ssh.service {UNITS}/ && systemctl daemon-reload")
        self.standby.sh("systemctl start ssh")
        self.hosts = {"standby": self.standby}

    def _host(self, name: str, network: Host | None) -> Host:
        host = Host(name, self._folder / name, names=("standby.example.org",), disk=self.disk, network=network)
        return self._stack.enter_context(host)

    def add(self, name: str, settings: PrimarySettings, *, dynamic: bool = False) -> Host:
        """Start a host with the application, which does not run yet, and settings that the service needs here."""
        host = self._host(name, self.standby)
        user, path = f"User={name}\nDynamicUser=yes\nStateDirectory={name}", f"/var/lib/{name}"
        if not dynamic:
            name, user, path = "conduwuit", "User=conduwuit", "/var/lib/conduwuit"
            host.sh("useradd --system --user-group --no-create-home --home-dir / conduwuit")
            host.sh(f"install -d -m 700 -o conduwuit -g conduwuit {path}")
        text = PROGRAM_OF_APPLICATION.format(python=PROGRAM.with_name("python"), settings=settings.to_json())
        host.write("/usr/local/bin/application", text)
        host.sh("chmod 755 /usr/local/bin/application")
        host.write(f"{UNITS}/{name}.service", APPLICATION.format(user=user, path=path, more=reach_programs()))
        host.write(
            f"{UNITS}/replicator.service.d/zz-test.conf",
            f"[Service]\nStandardError=append:{LOG}\n{reach_programs()}",
        )
        self.hosts[name if dynamic else host.name] = host
        return host

    def follow(self, command: Command, **roles: Host) -> str:
        """Run a command of a document on the host that plays the part."""
        text = command.text
        for word, meant in self.words.items():
            text = text.replace(word, meant)
        return {**self.hosts, **roles}[command.host].sh(text)

    def section(self, document: Path, heading: str, **roles: Host) -> list[str]:
        """Run all commands of a section; return what each printed."""
        return [self.follow(command, **roles) for command in of_section(document, heading)]

    # --- what is there -------------------------------------------------------------------------------

    def replica(self, database: str = "conduwuit") -> Path:
        return self.standby.path(f"{REPLICAS}/{database}")

    def replicated(self, database: str = "conduwuit") -> int:
        """Return the position of what the destination has, which must be exact."""
        replica = self.replica(database)
        return position(replica / (replica / "checkpoint_current").readlink())


def of_section(document: Path, heading: str) -> list[Command]:
    found = [command for command in commands_of(document) if command.heading == heading]
    assert found, f"no commands under {heading!r}"
    return found


def position(path: Path) -> int:
    """Return the position of a database on a host, which must be exact but for the end of its newest log.

    Not `growing_position_of`: it resolves links, and does not find the way into a host.
    """
    verdict = judge(path, recovery=Recovery.POINT_IN_TIME)
    assert verdict.exact, f"{path}: {verdict}"
    return verdict.position


def written(host: Host, application: str = "conduwuit") -> int:
    """Return the last batch that the application of a host has surely written."""
    return int.from_bytes(host.path(f"/run/{application}/progress").read_bytes(), "little")


def wait_for_batches(host: Host, count: int, application: str = "conduwuit") -> int:
    """Wait until the application has written that many; return the position then."""

    def enough() -> bool:
        progress = host.path(f"/run/{application}/progress")
        return progress.exists() and written(host, application) >= count

    wait_until(enough, f"{count} batches at {host.name}")
    return written(host, application)


def events(host: Host, event: str) -> list[dict[str, object]]:
    """Return the lines of that name in the service's log."""
    log = host.path(LOG)
    lines = log.read_text().splitlines() if log.exists() else []
    return [found for line in lines if line.startswith("{") and (found := json.loads(line))["event"] == event]


def wait_for_event(host: Host, event: str, *, more_than: int = 0) -> dict[str, object]:
    wait_until(lambda: len(events(host, event)) > more_than, f"{event} at {host.name}")
    return events(host, event)[-1]


def wait_for_replica(world: World, position: int, database: str = "conduwuit") -> None:
    wait_until((world.replica(database) / "checkpoint_current").is_symlink, "a replica")
    wait_until(lambda: world.replicated(database) >= position, f"batch {position} at the standby")


def is_active(host: Host, unit: str) -> bool:
    return host.sh(f"systemctl is-active {unit} || true").strip() == "active"
