"""The documents for operators are followed, every command, on hosts with a real systemd and sshd.

Each runs as it stands there, but for the words of `World`. A section is one scenario: what has happened is done
first, and what should hold is looked at afterwards. The application writes all the time.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from replicator.demo.settings import PrimarySettings
from tests.support.hosts import PROJECT
from tests.support.program import PROGRAM
from tests.support.published import wait_until
from tests.support.runbook import commands_of
from tests.support.world import (
    CONFIG,
    REPLICAS,
    UNITS,
    World,
    events,
    is_active,
    of_section,
    position,
    wait_for_batches,
    wait_for_event,
    wait_for_replica,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hosts import Host

DESTINATION = PROJECT / "docs/destination.md"
QUICK_START = PROJECT / "docs/quickstart.md"
FAILOVER = PROJECT / "docs/failover.md"
#: What of the page on destinations is done for each host that is to write there.
LET_IN = ("The key", "The host key")
MEDIA = "/var/lib/conduwuit/media"

#: One story, in the order in which it stands here.
pytestmark = pytest.mark.alone


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


def pictures(media: Path) -> set[str]:
    """Return the names of the application's media, which must be whole."""
    found = list(media.iterdir()) if media.is_dir() else []
    assert all(path.read_text() == f"{path.name} of all\n" for path in found)
    return {path.name for path in found}


def put_picture(host: Host, name: str, media: str = MEDIA) -> None:
    """Let the application take in a picture."""
    host.sh(f"install -m 600 --owner=$(stat -c %u {media}) /dev/stdin {media}/{name} <<< '{name} of all'")


def wait_for_picture(world: World, name: str) -> None:
    wait_until(lambda: name in pictures(world.replica("media")), f"{name} at the standby")


def test_the_quick_start(world: World) -> None:
    primary = world.add("primary", SETTINGS)
    primary.sh(f"cp /lib/systemd/system/dbus.{{socket,service}} {UNITS}/ && systemctl daemon-reload")
    primary.sh("systemctl start dbus conduwuit")
    wait_for_batches(primary, 300)
    put_picture(primary, "first")
    world.section(DESTINATION, "The account")
    world.section(QUICK_START, "2. Install")
    _, seen, told = let_in(world, primary)
    assert seen.split()[:2] == told.split()[:2]
    check, start, status, generations = of_section(QUICK_START, "4. Try it, and start it")
    checked = world.follow(check)
    assert {line.split()[0] for line in checked.splitlines() if not line.startswith(" ")} == {"OK"}, checked
    world.follow(start)
    wait_for_picture(world, "first")
    wait_for_replica(world, wait_for_batches(primary, written(primary) + 100))
    assert "running for" in world.follow(status)
    assert "checkpoint_current" in world.follow(generations)
    [drilled] = world.section(QUICK_START, "5. Believe it")
    assert "OK" in drilled
    assert not events(primary, "checkpoint.copied")
    assert world.standby.sh(f"find {REPLICAS}/conduwuit -perm /077 ! -type l") == ""
    followed = {command.heading for command in (*commands_of(QUICK_START), *commands_of(DESTINATION))}
    assert followed == {"The account", "2. Install", *LET_IN, "4. Try it, and start it", "5. Believe it"}


def test_a_reload_and_a_hook_under_the_unit(world: World) -> None:
    primary = world.hosts["primary"]
    before = primary.path(CONFIG).read_text()
    hook = 'on_publish = ["/usr/bin/touch", "/var/lib/replicator/published"]'
    primary.write(
        CONFIG, before.replace('interval = "5m"', 'interval = "1s"').replace("[service]", f"[service]\n{hook}")
    )
    primary.sh("systemctl reload replicator")
    wait_until(primary.path("/var/lib/replicator/published").exists, "the hook")
    primary.write(CONFIG, before)
    primary.sh("systemctl reload replicator")
    wait_for_event(primary, "reload.done", more_than=1)
    assert is_active(primary, "replicator")
    assert not events(primary, "hook.failed")


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
    put_picture(primary, "second")
    wait_for_picture(world, "second")
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
    assert pictures(new.path(MEDIA)) == {"first", "second"}
    wait_for_replica(world, wait_for_batches(new, written(new) + 100))
    put_picture(new, "third")
    wait_for_picture(world, "third")


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
    assert pictures(old.path(MEDIA)) == {"first", "second", "third"}
    wait_for_replica(world, wait_for_batches(old, last + 100))


def destination_lost(world: World, heading: str) -> None:
    primary = world.hosts["primary"]
    world.standby.sh(f"rm -rf {REPLICAS}")
    world.section(FAILOVER, heading)
    wait_for_replica(world, written(primary))
    wait_until(lambda: pictures(world.replica("media")) == pictures(primary.path(MEDIA)), "the media")


def seeded(world: World, heading: str) -> None:
    primary = world.hosts["primary"]
    world.standby.sh(f"rm -rf {REPLICAS}/*")
    commands = of_section(FAILOVER, heading)
    world.follow(commands[0])
    world.standby.sh(f"rm -rf {REPLICAS}/*")
    published = len(events(primary, "publish.done"))
    for command in commands[1:]:
        world.follow(command)
    assert pictures(world.replica("media")) == pictures(primary.path(MEDIA))
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
    # An account of its own, in effect: the media of the other application are not in the way.
    primary = world.hosts["primary"]
    primary.sh("systemctl stop replicator")
    world.standby.sh(f"rm -rf {REPLICAS}/media {REPLICAS}/.replicator-mirror-media")
    home = "/var/lib/private/continuwuity"
    matrix = world.add("continuwuity", settings, dynamic=True)
    matrix.sh("systemctl start continuwuity")
    wait_for_batches(matrix, 300, "continuwuity")
    commands = of_section(FAILOVER, heading)
    world.follow(commands[0], matrix=matrix)
    let_in(world, matrix)
    for command in commands[1:]:
        if command.text.startswith("systemctl stop"):
            wait_for_event(matrix, "publish.done")
            put_picture(matrix, "first", f"{home}/media")
            wait_for_picture(world, "first")
            last = wait_for_batches(matrix, 600, "continuwuity")
            wait_for_replica(world, last, "continuwuity")
        world.follow(command, matrix=matrix)
        if command.text.startswith("systemctl stop"):
            matrix.sh(f"find {home} -mindepth 1 -delete")
    assert wait_for_batches(matrix, last, "continuwuity") >= last
    assert pictures(matrix.path(f"{home}/media")) == {"first"}
    assert not events(matrix, "checkpoint.copied")
    wait_for_replica(
        world, wait_for_batches(matrix, written(matrix, "continuwuity") + 100, "continuwuity"), "continuwuity"
    )
    put_picture(matrix, "second", f"{home}/media")
    wait_for_picture(world, "second")
    matrix.sh("systemctl stop replicator continuwuity")
    world.standby.sh(f"rm -rf {REPLICAS}/media {REPLICAS}/.replicator-mirror-media")
    primary.sh("systemctl start replicator")


SCENARIOS: dict[str, Callable[[World, str], None]] = {
    "The primary is lost": primary_lost,
    "The old host comes back": old_host_back,
    "The data is damaged, and so is the newest state of the replica": data_damaged,
    "Moving to another host": moved,
    "The destination is lost": destination_lost,
    "The first transfer over a slow line": seeded,
    "continuwuity, step by step": continuwuity,
}


def test_an_update_restarts_the_service_and_leaves_it_its_user(world: World) -> None:
    primary = world.hosts["primary"]
    before = primary.sh("systemctl show --value --property=MainPID replicator")
    assert is_active(primary, "replicator")
    primary.sh(f"scripts/install --program {PROGRAM}")
    assert is_active(primary, "replicator")
    assert primary.sh("systemctl show --value --property=MainPID replicator") != before
    assert primary.sh("ps -o user= $(systemctl show --value --property=MainPID replicator)").strip() == "conduwuit"
    assert "replicator:" not in primary.path("/etc/passwd").read_text()


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
