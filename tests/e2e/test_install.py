"""`scripts/install` below a root of its own: what it puts where, again and again, and takes away.

The program is there already here; a campaign installs that too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from replicator.config.load import load_config
from tests.support.program import PROGRAM

PROJECT = Path(__file__).parents[2]
UNIT = "etc/systemd/system/replicator.service"
KEPT = {f"etc/replicator/{name}" for name in ("replicator.toml", "known_hosts", "id_ed25519", "id_ed25519.pub")}
USAGE = 2


def run(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [PROJECT / "scripts/install", *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return done.stderr


def install(root: Path, *more: object) -> str:
    return run("--root", root, "--program", PROGRAM, *more)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.exists() else b""
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("installed")
    install(root, "--user", "nobody")
    return root


@pytest.fixture
def root(installed: Path, tmp_path: Path) -> Path:
    """Give one that the test may change."""
    return shutil.copytree(installed, tmp_path / "root", symlinks=True)


def test_everything_is_in_its_place(installed: Path) -> None:
    assert f"ExecStart={PROGRAM} run" in (installed / UNIT).read_text()
    assert "\nUser=nobody\n" in (installed / f"{UNIT}.d/user.conf").read_text()
    assert (installed / "usr/local/bin/replicator").readlink() == PROGRAM
    assert (installed / "usr/local/share/man/man1/replicator.1").read_text().startswith(".TH REPLICATOR 1")
    assert load_config(installed / "etc/replicator/replicator.toml").databases
    assert (installed / "etc/replicator/id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (installed / "etc/replicator/id_ed25519.pub").read_text().startswith("ssh-ed25519 ")


def test_the_unit_that_is_installed_is_sound(installed: Path) -> None:
    for command in (["verify", "--man=no"], ["security", "--no-pager", "--offline=yes", "--threshold=25"]):
        done = subprocess.run(
            ["systemd-analyze", *command, installed / UNIT], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_for_an_application_with_a_dynamic_user(tmp_path: Path) -> None:
    install(tmp_path, "--dynamic-user", "chat")
    settings = (tmp_path / f"{UNIT}.d/user.conf").read_text().splitlines()
    assert {"DynamicUser=yes", "User=chat", "StateDirectory=chat"} <= set(settings)


def test_again_it_repairs_and_otherwise_changes_nothing(root: Path) -> None:
    before = files(root)
    (root / UNIT).write_text("[Service]\nExecStart=/bin/false\n")
    install(root, "--user", "nobody")
    assert files(root) == before


def test_what_the_administrator_wrote_stays(tmp_path: Path) -> None:
    own = tmp_path / "etc/replicator/replicator.toml"
    own.parent.mkdir(parents=True)
    own.write_text("# mine\n")
    (own.parent / "id_ed25519").write_text("key\n")
    install(tmp_path)
    assert not (tmp_path / f"{UNIT}.d").exists()
    run("--root", tmp_path, "--uninstall")
    assert own.read_text() == "# mine\n"
    assert (own.parent / "id_ed25519").read_text() == "key\n"


def test_uninstall_leaves_what_is_the_administrators(root: Path) -> None:
    run("--root", root, "--uninstall")
    assert set(files(root)) == KEPT
    run("--root", root, "--uninstall")
    assert set(files(root)) == KEPT


def test_uninstall_leaves_the_programs_of_others(root: Path) -> None:
    link = root / "usr/local/bin/replicator"
    link.unlink()
    link.symlink_to("/opt/pipx/venvs/rocksdb-replicator/bin/replicator")
    run("--root", root, "--uninstall")
    assert link.is_symlink()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nonsense",),
        ("--user",),
        ("--root", "relative", "--program", str(PROGRAM)),
        ("--root", "/nowhere", "--user", "a b", "--program", str(PROGRAM)),
        ("--root", "/nowhere", "--user", "a", "--dynamic-user", "a", "--program", str(PROGRAM)),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    told = run(*arguments, code=USAGE)
    assert "--uninstall" in told


# --- completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "place", "environment"),
    [
        (
            "bash",
            "bash-completion/completions/replicator",
            {"COMP_WORDS": "replicator re", "COMP_CWORD": "1"},
        ),
        ("zsh", "zsh/site-functions/_replicator", {"_TYPER_COMPLETE_ARGS": "replicator re"}),
        (
            "fish",
            "fish/vendor_completions.d/replicator.fish",
            {"_TYPER_COMPLETE_ARGS": "replicator re", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        ),
    ],
)
def test_shells_complete(installed: Path, shell: str, place: str, environment: dict[str, str]) -> None:
    script = (installed / "usr/local/share" / place).read_text()
    asked = f"_REPLICATOR_COMPLETE=complete_{shell}"
    assert asked in script
    assert (shell == "zsh") == script.startswith("#compdef replicator\n")
    assert set(re.findall(r"\b(?:COMP_\w+|_TYPER_\w+)(?==)", script)) >= set(environment)
    done = subprocess.run(
        [PROGRAM],
        env={**os.environ, **environment, "_REPLICATOR_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "restore" in done.stdout
    assert "status" not in done.stdout
