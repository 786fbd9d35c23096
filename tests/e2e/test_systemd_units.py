"""The shipped units: what systemd's own tools say of them, and what a real systemd makes of them.

In the latter `run --once` stands in for the service, so that it ends. Users are those that every Debian has.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.databases import BATCHES_BEFORE, TwoStates
from tests.support.program import PROGRAM, ConfigFile, sftp_url
from tests.support.published import position_of
from tests.support.systemd import run_unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.openssh import OpenSshServer

PROJECT = Path(__file__).parents[2]
UNIT = "replicator.service"
APPLICATION, DYNAMIC = "application-user.conf", "dynamic-user.conf"
VARIANTS: dict[str, Sequence[str]] = {"own": (), "application": (APPLICATION,), "dynamic": (DYNAMIC,)}
#: Whose the database is, and another one to run the service as.
OWNER, OTHER = "nobody", "daemon"


def install(units: Path, drop_ins: Sequence[str], replaced: Mapping[str, str] | None = None) -> Path:
    """Put the shipped files there, the program's place and other words of the unit replaced; return the unit."""
    (units / f"{UNIT}.d").mkdir(parents=True)
    for name in (UNIT, *(f"{UNIT}.d/{drop_in}" for drop_in in drop_ins)):
        text = (PROJECT / "conf" / name).read_text()
        for word, other in {"/opt/replicator/bin/replicator": str(PROGRAM), **(replaced or {})}.items():
            text = text.replace(word, other)
        (units / name).write_text(text)
    return units / UNIT


# --- what the tools say ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_wrong_with_the_units(tmp_path: Path, variant: str) -> None:
    unit = install(tmp_path, VARIANTS[variant])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT in line]) == (0, [])


def test_a_mistake_in_a_unit_would_be_noticed(tmp_path: Path) -> None:
    unit = install(tmp_path, (), {"WatchdogSec": "WatchdogSecs"})
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_exposure_is_low(tmp_path: Path, variant: str) -> None:
    unit = install(tmp_path, VARIANTS[variant])
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=25", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


# --- what a real systemd makes of them ---------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that other users may enter, and that the unit's own /tmp does not hide."""
    path = Path(tempfile.mkdtemp(prefix="replicator-systemd-", dir="/srv"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Host:
    """A machine with an application whose data is in /var/lib/app, and the shipped units."""

    def __init__(self, folder: Path, states: TwoStates, server: OpenSshServer, account: str) -> None:
        self.folder = folder
        self.var_lib = folder / "lib"
        self.home = self.var_lib / "app"
        self.home.mkdir(parents=True)
        states.begin(self.home / "db")
        (self.home / "checkpoints").mkdir()
        for path in (self.home, *self.home.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
            shutil.chown(path, OWNER, pwd.getpwnam(OWNER).pw_gid)
        self.key = folder / "key"
        self.key.write_bytes(server.identity_file.read_bytes())
        self.key.chmod(0o600)  # root's alone: the service gets it from systemd
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_bytes(server.known_hosts.read_bytes())
        self.url = sftp_url(server, account)

    def run(
        self,
        drop_ins: Sequence[str] = (APPLICATION,),
        *,
        user: str = OWNER,
        more: str = "",
        root: str = "/var/lib/app/checkpoints",
    ) -> str:
        """Let systemd run the unit for one pass; return what it and the program wrote."""
        config = ConfigFile(self.folder / "replicator.toml")
        config.database("app", Path("/var/lib/app/db"), checkpoint_root=root)
        keys = {"identity_file": self.key, "known_hosts": self.known_hosts}
        config.destinations.append({"name": "standby", "url": self.url, **keys})
        config.service["state_dir"] = "/var/lib/replicator"
        config.write().chmod(0o644)
        units = self.folder / "units"
        replaced = {
            "/etc/replicator/replicator.toml": f"{config.path} --once",
            "conduwuit": "app",
            "LoadCredential=id_ed25519:/etc/replicator/id_ed25519": f"LoadCredential=key:{self.key}",
        }
        install(units, drop_ins, replaced)
        # Python and the program may be in a home directory here.
        programs = "".join(f"BindReadOnlyPaths={place}\n" for place in (sys.base_prefix, sys.prefix, PROJECT))
        environment = f"Environment=PYTHONPATH={os.environ.get('PYTHONPATH', '')}\n"
        (units / f"{UNIT}.d" / "zz-test.conf").write_text(
            "[Unit]\nDefaultDependencies=no\nWants=\nAfter=\n"
            f"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nUser={user}\nGroup=\n"
            f"StandardError=file:{self.folder}/log\nProtectHome=tmpfs\n{programs}{environment}{more}\n"
        )
        told = run_unit(units, UNIT, var_lib=self.var_lib)
        log = self.folder / "log"
        return told + (log.read_text() if log.exists() else "")

    def links(self, root: Path) -> bool:
        """Say whether the tables of the checkpoint are the database's own files."""
        tables = list((root / "checkpoint_current").glob("*.sst"))
        assert tables
        return all(table.samefile(self.home / "db" / table.name) for table in tables)


@pytest.fixture
def host(folder: Path, states: TwoStates, server: OpenSshServer, account: str) -> Host:
    return Host(folder, states, server, account)


@pytest.mark.parametrize(("drop_ins", "user"), [((), OTHER), ((APPLICATION,), OWNER)], ids=["own", "application"])
def test_it_makes_hard_links_and_publishes(
    host: Host, server: OpenSshServer, account: str, drop_ins: Sequence[str], user: str
) -> None:
    shutil.chown(host.home / "checkpoints", user)
    told = host.run(drop_ins, user=user)
    assert "publish.done" in told, told
    assert host.links(host.home / "checkpoints")
    assert position_of(server.local_base / account / "app" / "checkpoint_current") == BATCHES_BEFORE


@pytest.mark.parametrize(
    "root", ["/var/lib/app/checkpoints", "/var/lib/replicator/app"], ids=["inside", "outside"]
)
def test_as_the_user_of_an_application_that_has_a_dynamic_one(host: Host, root: str) -> None:
    private = host.var_lib / "private"
    private.mkdir(mode=0o700)
    host.home = host.home.rename(private / "app")
    told = host.run((DYNAMIC,), user="app", root=root)  # a name that nobody but systemd knows
    assert "publish.done" in told, told
    assert host.links(private / Path(root).relative_to("/var/lib")) == ("checkpoint.copied" not in told)
    assert ("checkpoint.copied" not in told) == root.startswith("/var/lib/app/")
    assert host.home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "settings", ["ProtectSystem=strict\nReadWritePaths=/var/lib/app", "ReadWritePaths=/var/lib/app"]
)
def test_hardening_that_keeps_the_links(host: Host, settings: str) -> None:
    told = host.run(more=settings)
    assert "checkpoint.made" in told, told
    assert "checkpoint.copied" not in told
    assert host.links(host.home / "checkpoints")


@pytest.mark.parametrize(
    "settings",
    [
        "ProtectSystem=strict\nReadWritePaths=/var/lib/app/checkpoints",
        "ReadWritePaths=/var/lib/app/checkpoints",
        "BindPaths=/var/lib/app/checkpoints",
        "ReadOnlyPaths=/var/lib/app/db",
        "StateDirectory=app/checkpoints",
    ],
)
def test_hardening_that_breaks_the_links(host: Host, settings: str) -> None:
    told = host.run(more=settings)
    assert "checkpoint.copied" in told, told
    assert not host.links(host.home / "checkpoints")


def test_a_checkpoint_root_below_the_state_directory_breaks_the_links(host: Host) -> None:
    told = host.run(root="/var/lib/replicator/app")
    assert "checkpoint.copied" in told, told
    assert not host.links(host.var_lib / "replicator" / "app")
