"""`replicator status` tells the truth: the words that an operator sees when something has gone wrong, or nothing.

With real servers and real primaries; what is waited for is always the words themselves.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from replicator.demo.settings import PrimarySettings
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.primaries import Primary
from tests.support.program import ConfigFile, RunningProgram, run_program
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = 1
SETTINGS = PrimarySettings(batches_per_second=200)
WELL = re.compile(
    r"""running\ for\ [\w. ]+:\ process\ \d+,\ version\ \S+\n
    \n
    DATABASE\s+DESTINATION\s+CHECKPOINT\s+PUBLISHED\s+GENERATION\s+LAG\s+BACKLOG\s+PINNED\n
    app\s+standby\s+[\w. ]+\ ago\s+[\w. ]+\ ago\s+\d{8}T\d{6}\.\d{3}Z\s+[\d.]+\ m?s\s+0\ B\s+\d+\ B\n?""",
    re.VERBOSE,
)

_WAIT_SECONDS = 90.0


class Operator:
    """Looks at `replicator status` again and again."""

    def __init__(self, config: ConfigFile, service: RunningProgram) -> None:
        self.service = service
        self._config = config

    def look(self, *, code: int = 0) -> str:
        return run_program("status", "-c", self._config.path, code=code).output

    def wait_for(self, *patterns: str) -> str:
        """Look until all patterns are seen at once; return what was shown."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            shown = self.look()
            missing = [pattern for pattern in patterns if not re.search(pattern, shown, re.MULTILINE)]
            if not missing:
                return shown
            assert time.monotonic() < deadline, f"no {missing} in:\n{shown}\n{self.service.errors()}"

    def wait_until_well(self) -> str:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not WELL.fullmatch(shown := self.look()):
            assert time.monotonic() < deadline, f"{shown}\n{self.service.errors()}"
        return shown


@pytest.fixture
def own_server() -> Iterator[OpenSshServer]:
    """For tests that stop it, or change it."""
    with OpenSshServer(ServerOptions(chroot=True, forwarding=False)) as started:
        started.make_folder("base")
        yield started


@contextmanager
def well(config: ConfigFile, server: OpenSshServer, **destination: object) -> Iterator[tuple[Operator, Primary]]:
    """Give a service that replicates what a primary writes, once all is well."""
    path = config.folder / "db"
    config.database("app", path, interval="2s", ship_wal="100ms")
    config.sftp("standby", server, "base", timeout="3s", **destination)
    with Primary(path, SETTINGS) as primary:
        primary.wait_for(20)
        with RunningProgram("run", "-c", config.write()) as service:
            service.wait_for("publish.done")
            operator = Operator(config, service)
            operator.wait_until_well()
            yield operator, primary


def test_all_is_well(config: ConfigFile, own_server: OpenSshServer) -> None:
    with well(config, own_server) as (operator, _):
        operator.wait_until_well()
        operator.service.stop()


def test_the_destination_is_down_for_a_while(config: ConfigFile, own_server: OpenSshServer) -> None:
    with well(config, own_server) as (operator, _):
        own_server.stop()
        operator.wait_for(
            r"^running for ",
            r"^app +standby .* FAILING$",
            r"^app -> standby: failed [\w. ]+ ago: sftp://\S+: .*(Connection refused|closed the connection)",
            r"^  next try: (in [\w. ]+|now)$",
            r"^app +standby .* [\d.]+ (KiB|MiB) ",  # the backlog grows
        )
        own_server.start()
        shown = operator.wait_for(r"^app -> standby: failed [\w. ]+ ago, recovered [\w. ]+ ago: ")
        assert "next try" not in shown
        assert "FAILING" not in shown
        operator.service.stop()


def test_its_disk_is_full(config: ConfigFile, own_server: OpenSshServer) -> None:
    with own_server.small_disk("base", "size=24m"), well(config, own_server) as (operator, _):
        local = own_server.local_base / "base" / "filler"
        filler = shutil.disk_usage(local.parent).free
        local.write_bytes(bytes(filler - 8192))
        operator.wait_for(
            r"^app +standby .* FAILING$",
            r"^app -> standby: failed [\w. ]+ ago: .*(are to be stored, \d+ are free$|[Nn]o space|disk is full)",
            r"^  hint: ",
            r"^  next try: ",
        )
        local.unlink()
        operator.wait_for(r"^app -> standby: failed [\w. ]+ ago, recovered [\w. ]+ ago: ")
        operator.service.stop()


def test_its_host_key_changed(config: ConfigFile, own_server: OpenSshServer) -> None:
    known_hosts = config.folder / "known_hosts"
    shutil.copy(own_server.known_hosts, known_hosts)
    with well(config, own_server, known_hosts=known_hosts) as (operator, _):
        other = own_server.make_key("other-host").with_suffix(".pub").read_text().split()[:2]
        known_hosts.write_text(f"[127.0.0.1]:{own_server.port} {' '.join(other)}\n")
        own_server.kill_sessions()
        operator.wait_for(
            r"^app +standby .* FAILING$",
            r"^app -> standby: failed [\w. ]+ ago: sftp://\S+: .*host key",
            rf"^  hint: .*{known_hosts}",
            r"^  next try: ",
        )
        operator.service.stop()


def test_the_primary_is_stopped(config: ConfigFile, own_server: OpenSshServer) -> None:
    with well(config, own_server) as (operator, primary):
        position = primary.stop()
        operator.service.wait_for_more("publish.unchanged", more=2)
        operator.wait_until_well()
        operator.service.stop()
    assert position >= 20


def test_the_database_is_missing(config: ConfigFile, own_server: OpenSshServer) -> None:
    with well(config, own_server) as (operator, primary):
        primary.stop()
        database = config.folder / "db"
        database.rename(config.folder / "away")
        operator.wait_for(
            r"^app +standby .* FAILING$",
            rf"^app: checkpoint failed [\w. ]+ ago: .*{database}",
            r"^  hint: ",
        )
        (config.folder / "away").rename(database)
        shown = operator.wait_for(r"^app: checkpoint failed [\w. ]+ ago, recovered [\w. ]+ ago: ")
        assert "FAILING" not in shown
        operator.service.stop()


def test_the_service_was_killed(config: ConfigFile, own_server: OpenSshServer) -> None:
    with well(config, own_server) as (operator, _):
        operator.service.process.kill()
        operator.service.wait()
        wait_until(lambda: "not running" in operator.look(code=FAILED), "the words")
        shown = operator.look(code=FAILED)
    assert re.match(r"the service is not running: its last sign of life was [\w. ]+ ago\n", shown)
    assert re.search(r"^app +standby .* \d{8}T\d{6}\.\d{3}Z", shown, re.MULTILINE)
    assert "next try" not in shown
