"""Small files that the far end's tar unpacks: with a real OpenSSH server, whose commands may be broken ones.

Whatever is wrong there, all files arrive, and nothing is left of what was unpacked in vain.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.mirroring import mirrored
from tests.support.openssh import with_shell
from tests.support.program import RunningProgram, run_program
from tests.support.published import wait_until
from tests.support.trees import differences, wait_until_equal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mirroring import Mirrored


class Tools:
    """Commands of the far end. Each notes that it was called in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, script: str = "") -> None:
        """Do `script` before the real command, as the `$call`th call of it."""
        path = self.folder / name
        calls = self.folder / f"{name}.calls"
        path.write_text(
            f'#!/bin/sh\necho >>{calls}; call=$(wc -l <{calls}); real=/usr/bin/{name}\n{script}\nexec $real "$@"\n'
        )
        path.chmod(0o755)

    def calls(self, name: str) -> int:
        """How often it was called."""
        path = self.folder / f"{name}.calls"
        return len(path.read_bytes()) if path.exists() else 0


@pytest.fixture
def tools() -> Iterator[Tools]:
    # Where every account may look.
    with tempfile.TemporaryDirectory(prefix="replicator-tools-") as folder:
        Path(folder).chmod(0o755)
        yield Tools(Path(folder))


@pytest.fixture
def mirror(tmp_path: Path, tools: Tools) -> Iterator[Mirrored]:
    """One over a single connection: a second one begins whenever its process is up."""
    with mirrored(tmp_path, options=with_shell(tools=tools.folder), connections=1) as found:
        yield found


def write(path: Path, content: bytes) -> None:
    """Write a file long ago: what was changed just now is sent in another way."""
    path.write_bytes(content)
    os.utime(path, (10**9, 10**9))


def fill(top: Path, folders: int = 400) -> None:
    """Folders that come as a whole, and one with so many files that they come one by one."""
    for number in range(folders):
        folder = top / f"{number % 7}" / f"{number}"
        folder.mkdir(parents=True)
        for name in range(10):
            write(folder / f"{name}", b"%d %d\n" % (number, name) * (number % 300))
        os.utime(folder, (10**9 + number, 10**9 + number))
    (top / "flat").mkdir()
    for name in range(300):
        write(top / "flat" / f"{name}", b"%d" % name)


def assert_equal(mirror: Mirrored) -> None:
    assert differences(mirror.source, mirror.target) == []
    assert list(mirror.target.parent.glob(".replicator-mirror-*/parts-*/*")) == []


def mirror_once(mirror: Mirrored) -> None:
    run_program("run", "-c", mirror.config, "--once")
    assert_equal(mirror)


def test_small_files_are_unpacked(mirror: Mirrored, tools: Tools) -> None:
    tools.add("tar")
    fill(mirror.source)
    mirror_once(mirror)
    assert tools.calls("tar") > 3
    assert {path.stat().st_uid for path in mirror.target.rglob("*")} == {os.geteuid()}


@pytest.mark.parametrize(
    "others",
    [
        {"tar": "/usr/bin/busybox tar", "dd": "/usr/bin/busybox dd", "sh": "/usr/bin/busybox sh"},
        {"tar": "/usr/bin/bsdtar"},
    ],
    ids=["BusyBox", "bsdtar"],
)
def test_other_implementations_of_the_commands(mirror: Mirrored, tools: Tools, others: dict[str, str]) -> None:
    for name, command in others.items():
        tools.add(name, f'exec {command} "$@"')
    fill(mirror.source)
    mirror_once(mirror)
    assert tools.calls("tar") > 3


def test_names_and_contents_are_never_commands(mirror: Mirrored, tools: Tools, tmp_path: Path) -> None:
    tools.add("tar")
    trap = tmp_path / "trap"
    commands = [
        f"$(touch {trap})",
        f"`touch {trap}`",
        f"'; touch {trap}; '",
        f"1\ntouch {trap}\n",
        "-rf",
        "--",
        "*",
    ]
    for number in range(100):
        folder = mirror.source / f"{number}"
        folder.mkdir()
        for command in commands:
            write(folder / command.replace("/", "|"), f"{command}\n".encode() * number)
    (mirror.source / f"$(touch {trap.name})").mkdir()
    mirror_once(mirror)
    assert tools.calls("tar") > 1
    assert not trap.exists()


def test_what_does_not_fit_into_an_archive_comes_in_the_same_pass(mirror: Mirrored, tools: Tools) -> None:
    tools.add("tar")
    fill(mirror.source, 100)
    for number in range(0, 100, 3):
        folder = mirror.source / f"{number % 7}" / f"{number}"
        write(folder / ("n" * 255), b"a long name")
        if os.geteuid() == 0:
            write(folder / "of a stranger", b"a large number")
            os.chown(folder / "of a stranger", 3_000_000, 3_000_001)
    mirror_once(mirror)
    assert tools.calls("tar") > 1


FAILS_AT_ONCE = "exit 1"
FAILS_LATER = '[ $call -ne 3 ] || { head -c 5000 | $real "$@"; exit 2; }'
IS_KILLED = '[ $call -ne 3 ] || { head -c 70000 | $real "$@"; kill -9 $$; }'
DOES_NOTHING = "cat >/dev/null; exit 0"
CUT_SHORT = "[ $call -ne 3 ] || { head -c 65536; kill -9 $$; }"


@pytest.mark.parametrize(
    ("tool", "script"),
    [
        ("tar", FAILS_AT_ONCE),
        ("tar", FAILS_LATER),
        ("tar", IS_KILLED),
        ("tar", DOES_NOTHING),
        ("dd", FAILS_AT_ONCE),
        ("dd", CUT_SHORT),
        ("sh", FAILS_AT_ONCE),
        ("sh", "sleep 60"),  # as if it waited for a person
        ("sh", "yes"),
    ],
)
def test_a_broken_command(mirror: Mirrored, tools: Tools, tool: str, script: str) -> None:
    tools.add(tool, script)
    fill(mirror.source)
    mirror_once(mirror)
    assert tools.calls(tool) >= (3 if "$call" in script else 1)


def test_an_account_whose_shell_says_something(mirror: Mirrored, tools: Tools) -> None:
    tools.add("tar", "echo tar says this >&2")
    tools.add("sh", "echo hello; echo oh no >&2; printf 'no end of line'")
    fill(mirror.source)
    mirror_once(mirror)
    assert tools.calls("tar") > 1


def test_warnings_without_end_stop_nothing(mirror: Mirrored, tools: Tools) -> None:
    tools.add("tar", "yes 'a warning' | head -c 1000000 >&2")
    fill(mirror.source)
    mirror_once(mirror)
    assert tools.calls("tar") > 3


def test_a_server_that_lets_no_second_session_in(tmp_path: Path) -> None:
    with mirrored(tmp_path, options=with_shell(most_sessions=1), connections=1) as mirror:
        fill(mirror.source)
        mirror_once(mirror)


def test_a_disk_that_is_full(tmp_path: Path, tools: Tools) -> None:
    assert os.geteuid() == 0, "only root may mount"
    tools.add("tar")
    with mirrored(tmp_path, options=with_shell(tools=tools.folder), connections=1) as mirror:
        fill(mirror.source)
        with mirror.server.small_disk("account", "size=1m"):
            finished = run_program("run", "-c", mirror.config, "--once", code=1)
            assert "NoSpaceError" in finished.errors
        assert tools.calls("tar") > 0
        mirror_once(mirror)


def test_a_connection_that_is_lost_while_something_is_unpacked(tmp_path: Path, tools: Tools) -> None:
    saved, reached = tools.folder / "saved", tools.folder / "reached"
    # What was begun then goes on while the next connection does the same again, and breaks off in the end.
    tools.add(
        "tar",
        f"[ $call -ne 3 ] || {{ cat >{saved}; touch {reached}; sleep 60; }}\n"
        f'[ $call -lt 4 ] || {{ $real "$@" && head -c 200000 {saved} | $real -xf - 2>/dev/null; exit 0; }}',
    )
    with mirrored(tmp_path, options=with_shell(tools=tools.folder), connections=1) as mirror:
        fill(mirror.source)
        with RunningProgram("run", "-c", mirror.config) as program:
            wait_until(reached.exists, "an archive is being unpacked")
            mirror.server.kill_sessions()
            wait_until_equal(mirror.source, mirror.target)
            program.stop()
        mirror_once(mirror)  # which removes what else was left


@pytest.mark.parametrize("connections", [1, 2])
def test_what_events_ask_for_is_unpacked_too(tmp_path: Path, tools: Tools, connections: int) -> None:
    tools.add("tar")
    options = with_shell(tools=tools.folder)
    with (
        mirrored(tmp_path, options=options, connections=connections) as mirror,
        RunningProgram("run", "-c", mirror.config) as program,
    ):
        program.wait_for("mirror.compared")
        for round_ in ("first", "second"):  # by then the process of a second connection is up
            (mirror.source / round_).mkdir()
            fill(mirror.source / round_)
            wait_until_equal(mirror.source, mirror.target)
        program.stop()
        assert_equal(mirror)
        assert tools.calls("tar") > 1
