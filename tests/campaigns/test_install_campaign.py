"""The installation as on a new host: with virtual environments of its own, from what the registry has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.campaign


def test_the_program_is_installed_below_a_root_and_taken_away(tmp_path: Path) -> None:
    install = [str(PROJECT / "scripts/install"), "--root", str(tmp_path)]
    for _ in range(2):
        subprocess.run(install, check=True)
        program = tmp_path / "opt/replicator/bin/replicator"
        assert program.read_text().startswith("#!/opt/replicator/bin/python\n")
        told = subprocess.run(
            [tmp_path / "opt/replicator/bin/python", program, "--version"],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert told.stdout.startswith("replicator ")
        unit = (tmp_path / "etc/systemd/system/replicator.service").read_text()
        assert "\nExecStart=/opt/replicator/bin/replicator run" in unit
    subprocess.run([*install, "--uninstall"], check=True)
    assert not (tmp_path / "opt/replicator").exists()


def commands_with_pipx(folder: Path) -> dict[str, str]:
    """Return the commands of the README, by what they begin with; what they name lies below `folder`."""
    lines = [line.removeprefix("$ ") for line in (PROJECT / "README.md").read_text().splitlines()]
    commands = {
        "install": next(line for line in lines if line.startswith("PIPX_HOME=") and "pipx install" in line),
        "unit": next(line for line in lines if line.startswith("scripts/install") and "--program" in line),
        "uninstall": next(line for line in lines if line.startswith("PIPX_HOME=") and "pipx uninstall" in line),
    }
    places = {
        "/opt/pipx": f"{folder}/pipx",
        "/usr/local/bin": f"{folder}/bin",
        " pipx ": f" {folder}/own/bin/pipx ",
        "scripts/install ": f"scripts/install --root {folder}/root ",
    }
    for place, here in places.items():
        commands = {name: command.replace(place, here) for name, command in commands.items()}
    return commands


def test_the_program_is_installed_updated_and_removed_by_pipx(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "own"], check=True)
    subprocess.run([tmp_path / "own/bin/pip", "install", "--quiet", "pipx"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["HOME"] = str(tmp_path)
    commands = commands_with_pipx(tmp_path)
    program = tmp_path / "bin/replicator"

    def run(command: str) -> None:
        subprocess.run(["bash", "-ec", command], check=True, cwd=PROJECT, env=environment)

    for _ in range(2):
        run(commands["install"])
        run(commands["unit"])
        # With the newest of everything that it is made of, not with what the lock file names.
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, env=environment)
        assert told.stdout.startswith("replicator ")
        unit = (tmp_path / "root/etc/systemd/system/replicator.service").read_text()
        assert f"\nExecStart={program} run" in unit
    subprocess.run([program, "demo"], check=True, env=environment)
    run(f"{commands['unit']} --uninstall")
    assert program.is_symlink()
    run(commands["uninstall"])
    assert not program.exists()
    assert not program.is_symlink()
