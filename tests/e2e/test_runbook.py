"""The documents for operators are followed, every command, on hosts with a real systemd and sshd.

Each runs as it stands there, but for `WORDS`. A section is one scenario: what has happened is done first, and what
should hold is looked at afterwards. The application writes all the time.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from replicator.demo.oracle import Recovery, judge
from replicator.demo.settings import PrimarySettings
from tests.support.hosts import PROJECT, Host, reach_programs
from tests.support.program import PROGRAM
from tests.support.published import wait_until
from tests.support.runbook import Command, commands_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DESTINATION = PROJECT / "docs/destination.md"
QUICK_START = PROJECT / "docs/quickstart.md"
FAILOVER = PROJECT / "docs/failover.md"
#: What of the page on destinations is done for each host that is to write there.
LET_IN = ("The key", "The host key")
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
#: A demo primary dies when its standard input ends; a FIFO that is open for writing too has no end.
PROGRAM_OF_APPLICATION = """#!/bin/sh
rm -f "$1/input"
mkfifo -m 600 "$1/input"
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
            f"[Service]\nType=exec\nWatchdogSec=0\nStandardError=append:{LOG}\n{reach_programs()}",
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


# --- the whole story ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("world"), stack)


SETTINGS = PrimarySettings(batches_per_second=500)


def let_in(world: World, host: Host) -> list[str]:
    """Follow the page on destinations for a host whose key is there: the steps between the two."""
    key = host.path("/etc/replicator/id_ed25519.pub").read_text().strip()
    world.words["ssh-ed25519 AAAAC3Nza... replicator@primary"] = key
    the_key, the_host_key = LET_IN
    world.section(DESTINATION, the_key, primary=host)
    return world.section(DESTINATION, the_host_key, primary=host)


def test_the_quick_start(world: World) -> None:
    primary = world.add("primary", SETTINGS)
    primary.sh(f"cp /lib/systemd/system/dbus.{{socket,service}} {UNITS}/ && systemctl daemon-reload")
    primary.sh("systemctl start dbus conduwuit")
    wait_for_batches(primary, 300)
    world.section(DESTINATION, "The account")
    world.section(QUICK_START, "2. Install")
    _, seen, told = let_in(world, primary)
    assert seen.split()[:2] == told.split()[:2]
    check, start, status, generations = of_section(QUICK_START, "4. Try it, and start it")
    checked = world.follow(check)
    assert {line.split()[0] for line in checked.splitlines()} <= {"OK", "WARN"}
    world.follow(start)
    wait_for_replica(world, wait_for_batches(primary, written(primary) + 100))
    assert "running for" in world.follow(status)
    assert "checkpoint_current" in world.follow(generations)
    [drilled] = world.section(QUICK_START, "5. Believe it")
    assert "OK" in drilled
    assert not events(primary, "checkpoint.copied")
    assert world.standby.sh(f"find {REPLICAS} -perm /077 ! -type l") == ""
    followed = {command.heading for command in (*commands_of(QUICK_START), *commands_of(DESTINATION))}
    assert followed == {"The account", "2. Install", *LET_IN, "4. Try it, and start it", "5. Believe it"}


@pytest.mark.parametrize(
    "command",
    [
        "ssh {options} replica@standby.example.org true",
        "ssh {options} -N -R 0:localhost:1 replica@standby.example.org",
    ],
    ids=["shell", "forwarding"],
)
def test_the_account_may_do_nothing_else(world: World, command: str) -> None:
    options = (
        "-o BatchMode=yes -o ExitOnForwardFailure=yes -o UserKnownHostsFile=/etc/replicator/known_hosts "
        "-i /etc/replicator/id_ed25519"
    )
    done = world.hosts["primary"].sh(f"timeout 10 {command.format(options=options)} 2>&1; echo code $?")
    assert "code 0" not in done
    assert "code 124" not in done, done


def test_failover(world: World) -> None:
    sections = list(dict.fromkeys(command.heading for command in commands_of(FAILOVER)))
    assert sections == list(SCENARIOS), "each section with commands has its scenario"
    for heading, scenario in SCENARIOS.items():
        scenario(world, heading)


def primary_lost(world: World, heading: str) -> None:
    primary = world.hosts["primary"]
    last = written(primary)
    wait_for_replica(world, last)
    primary.sh("systemctl kill -s KILL conduwuit replicator; systemctl stop conduwuit replicator")
    new = world.add("new", SETTINGS)
    new.write(CONFIG, primary.path(CONFIG).read_text())
    first, *others = of_section(FAILOVER, heading)
    world.follow(first)
    let_in(world, new)
    for command in others:
        world.follow(command)
    assert written(new) >= last
    wait_for_replica(world, wait_for_batches(new, written(new) + 100))


def old_host_back(world: World, heading: str) -> None:
    old = world.hosts["primary"]
    # Both may log in: what keeps the old host out is that it is not the writer any more.
    keys = "".join(
        world.hosts[name].path("/etc/replicator/id_ed25519.pub").read_text() for name in ("new", "primary")
    )
    world.standby.write("/etc/ssh/replica_keys/replica", keys)
    old.sh("systemctl start conduwuit replicator")
    refused = wait_for_event(old, "publish.failed")
    assert "belongs to another writer" in str(refused["error"])
    world.section(FAILOVER, heading, old=old)
    assert not is_active(old, "conduwuit")
    assert not is_active(old, "replicator")


def data_damaged(world: World, heading: str) -> None:
    new = world.hosts["new"]
    well = written(new)
    wait_for_replica(world, well)
    at = datetime.now(UTC)
    generations = sorted(path.name for path in (world.replica() / "generations").iterdir())
    world.words |= {"2026-11-22T14:29:30Z": at.isoformat(), "20261122T143000.123Z": generations[-1]}
    later = wait_for_batches(new, well + 600)
    wait_for_replica(world, later)
    commands = of_section(FAILOVER, heading)
    stopped = False
    for command in commands:
        world.follow(command, primary=new)
        if "--force" in command.text:
            stopped = True
            back_at = position(new.path("/var/lib/conduwuit"))
            assert well <= back_at < later
        elif stopped and command.text.startswith("systemctl start"):
            # There is no way forward to what was put aside: the replica is what the application goes on from.
            wait_for_replica(world, wait_for_batches(new, back_at + 100))
    assert stopped
    assert position(new.path("/var/tmp/then")) >= well  # noqa: S108 - a path of that host


def moved(world: World, heading: str) -> None:
    new, old = world.hosts["new"], world.hosts["primary"]
    old.sh("rm -rf /var/lib/conduwuit && install -d -m 700 -o conduwuit -g conduwuit /var/lib/conduwuit")
    commands = of_section(FAILOVER, heading)
    world.follow(commands[0], primary=new)
    last = position(new.path("/var/lib/conduwuit"))
    for command in commands[1:]:
        world.follow(command, primary=new, new=old)
        if command.host == "new" and " restore " in command.text:
            assert position(old.path("/var/lib/conduwuit")) == last
    wait_for_replica(world, wait_for_batches(old, last + 100))


def destination_lost(world: World, heading: str) -> None:
    primary = world.hosts["primary"]
    world.standby.sh(f"rm -rf {REPLICAS}")
    world.section(FAILOVER, heading)
    wait_for_replica(world, written(primary))


def seeded(world: World, heading: str) -> None:
    primary = world.hosts["primary"]
    world.standby.sh(f"rm -rf {REPLICAS}/*")
    commands = of_section(FAILOVER, heading)
    world.follow(commands[0])
    world.standby.sh(f"rm -rf {REPLICAS}/*")
    published = len(events(primary, "publish.done"))
    for command in commands[1:]:
        world.follow(command)
    done = wait_for_event(primary, "publish.done", more_than=published)
    assert int(str(done["files_reused"])) > 0
    wait_for_replica(world, written(primary))
    generations = sorted((world.replica() / "generations").iterdir())
    shared = {path.name for path in generations[0].glob("*.sst")} & {
        path.name for path in generations[-1].glob("*.sst")
    }
    assert all((generations[0] / name).samefile(generations[-1] / name) for name in shared)
    assert shared


def continuwuity(world: World, heading: str) -> None:
    settings = PrimarySettings(
        batches_per_second=500,
        flush_wal_every=20,
        database_options={
            "max_total_wal_size": str(512 << 20),
            "WAL_size_limit_MB": "1024",
            "track_and_verify_wals_in_manifest": "true",
            "wal_compression": "kZSTD",
            "wal_recovery_mode": "kTolerateCorruptedTailRecords",
        },
    )
    matrix = world.add("continuwuity", settings, dynamic=True)
    matrix.sh("systemctl start continuwuity")
    wait_for_batches(matrix, 300, "continuwuity")
    matrix.write("/var/lib/private/continuwuity/media/picture", "a picture")
    commands = of_section(FAILOVER, heading)
    world.follow(commands[0], matrix=matrix)
    let_in(world, matrix)
    for command in commands[1:]:
        if command.text.startswith("systemctl stop"):
            wait_for_event(matrix, "publish.done")
            last = wait_for_batches(matrix, 600, "continuwuity")
            wait_for_replica(world, last, "continuwuity")
        world.follow(command, matrix=matrix)
    assert wait_for_batches(matrix, last, "continuwuity") >= last
    assert matrix.path("/var/lib/private/continuwuity/media/picture").read_text() == "a picture"
    assert not events(matrix, "checkpoint.copied")
    wait_for_replica(
        world, wait_for_batches(matrix, written(matrix, "continuwuity") + 100, "continuwuity"), "continuwuity"
    )


SCENARIOS: dict[str, Callable[[World, str], None]] = {
    "The primary is lost": primary_lost,
    "The old host comes back": old_host_back,
    "The data is damaged, and so is the newest state of the replica": data_damaged,
    "Moving to another host": moved,
    "The destination is lost": destination_lost,
    "The first transfer over a slow line": seeded,
    "continuwuity, step by step": continuwuity,
}


def test_the_service_is_taken_off_a_host_again(world: World) -> None:
    primary = world.hosts["primary"]
    assert is_active(primary, "replicator")
    primary.sh("scripts/install --uninstall")
    assert not is_active(primary, "replicator")
    assert not primary.path(f"{UNITS}/replicator.service").exists()
    assert not primary.path("/usr/local/bin/replicator").is_symlink()
    assert primary.path(CONFIG).exists()
    assert primary.path("/var/lib/conduwuit/checkpoints/checkpoint_current/CURRENT").exists()


def test_the_shipped_sshd_settings_are_what_sshd_takes_them_for(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "config").write_text(f"HostKey {key}\nInclude {PROJECT}/conf/sshd_replica.conf\n")
    done = subprocess.run(
        ["/usr/sbin/sshd", "-T", "-f", tmp_path / "config", "-C", "user=replica,host=a,addr=127.0.0.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    taken = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    expected = {
        "chrootdirectory": "/srv/chroot",
        "forcecommand": "internal-sftp -u 0077",
        "permittty": "no",
        "disableforwarding": "yes",
        "permittunnel": "no",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "authenticationmethods": "publickey",
        "authorizedkeysfile": "/etc/ssh/replica_keys/%u",
    }
    assert {name: taken[name] for name in expected} == expected
