"""`scripts/install` as on a new host: with a virtual environment of its own, from what the registry has."""

from __future__ import annotations

import subprocess
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
