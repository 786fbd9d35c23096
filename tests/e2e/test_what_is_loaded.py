"""What a command and a helper process load: a library that one of them has no use for makes every start longer."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.openssh import OpenSshServer
    from tests.support.program import ConfigFile

#: Ends with the names of all modules, behind whatever else was printed.
_TELL = "import sys; print(); print(*sys.modules)"
_COMMAND = """
from replicator.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == int({code}), end.code
"""
_ROUTE = """
from pathlib import Path, PurePosixPath
from replicator.destination.sftp_route import SftpSettings, route_to
for host, reached in ("standby", "standby.example.org"), ("other", "other"):
    settings = SftpSettings(host=host, base=PurePosixPath("/"), label=host, ssh_config=Path(sys.argv[1]))
    assert route_to(settings)[0].host == reached
"""

#: Of the demo, and what libraries would load that use it seldom or never.
_NEVER = ("asyncio", "asyncssh", "importlib.metadata", "invoke", "pygments", "replicator.demo", "rich", "unittest")
_DATABASES = (
    "crc32c",
    "rocksdict",
    "zstandard",
    "replicator.bootstrap.databases",
    "replicator.checkpoint",
    "replicator.replica.publish",
    "replicator.rocksdb",
    "replicator.service.check",
    "replicator.service.transfer",
)
#: Of helper processes, hosts with international names, and destinations that are tried again.
_SELDOM = ("encodings.idna", "multiprocessing", "replicator.destination.sftp_helper", "subprocess", "tenacity")
#: Of a service that goes on, for some settings.
_STEADY = ("http.client", "http.server", "pathspec", "prometheus_client", "watchdog")
_SSH = ("cryptography", "paramiko", "replicator.destination.sftp")
_WORK = (*_DATABASES, *_STEADY, *_SSH, "replicator.bootstrap", "replicator.mirror.session")


def modules_of(code: str, *arguments: object) -> frozenset[str]:
    """Run code in a process without a terminal; return the modules that it has loaded at its end."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys\n{code}\n{_TELL}", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return frozenset(ended.stdout.splitlines()[-1].split())


def modules_of_command(*arguments: object, code: int = 0) -> frozenset[str]:
    return modules_of(_COMMAND.format(code=code), *arguments)


def assert_without(loaded: Iterable[str], *unwanted: str) -> None:
    found = [name for name in loaded if any(name == top or name.startswith(f"{top}.") for top in unwanted)]
    assert not found, sorted(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to be mirrored."""
    path = tmp_path / "media"
    path.mkdir()
    (path / "file").write_text("content")
    return path


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"], ["restore", "--help"]])
def test_a_question_about_the_program(arguments: list[str]) -> None:
    assert_without(modules_of_command(*arguments), *_NEVER, *_WORK)


def test_status(config: ConfigFile, folder: Path) -> None:
    path = config.mirror("media", folder).directory("here", config.folder / "here").write()
    assert_without(modules_of_command("status", "-c", path, code=1), *_NEVER, *_WORK)


def test_a_pass_of_mirrors_to_a_folder(config: ConfigFile, folder: Path) -> None:
    path = config.mirror("media", folder).directory("here", config.folder / "here").write()
    loaded = modules_of_command("run", "-c", path, "--once")
    assert (config.folder / "here" / "media" / "file").exists()
    assert_without(loaded, *_NEVER, *_DATABASES, *_STEADY, *_SSH)


def test_a_pass_of_mirrors_to_an_account(
    config: ConfigFile, folder: Path, server: OpenSshServer, account: str
) -> None:
    path = config.mirror("media", folder).sftp("standby", server, account).write()
    loaded = modules_of_command("run", "-c", path, "--once")
    assert (server.local_base / account / "media" / "file").exists()
    assert_without(loaded, *_NEVER, *_DATABASES, *_STEADY, *_SELDOM, "replicator.destination.directory")


def test_a_helper_process() -> None:
    loaded = modules_of("import replicator.destination.sftp_helper_process")
    others = ("pydantic", "replicator.config", "replicator.mirror", "replicator.service", "structlog", "typer")
    assert_without(loaded, *_NEVER, *_DATABASES, *_STEADY, *others)


def test_a_section_of_ssh_config_for_what_a_command_says(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text('Match exec "test %h = standby"\n    HostName standby.example.org\n')
    loaded = modules_of(_ROUTE, config)
    assert "invoke" in loaded
