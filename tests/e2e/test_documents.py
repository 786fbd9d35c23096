"""The documents say what the program does: help, configuration, commands and links in them are checked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.config.load import load_config

PROJECT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("replicator")
DOCUMENTS = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])
COMMANDS = sorted(
    {
        line.removeprefix("$ ").partition("  #")[0].strip()
        for document in DOCUMENTS
        for line in document.read_text().splitlines()
        if line.startswith("$ replicator ")
    }
)


def help_of(*command: str) -> str:
    done = subprocess.run(
        [PROGRAM, *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    return done.stdout


def test_the_readme_shows_the_help_as_it_is() -> None:
    assert f"```\n{help_of()}```" in (PROJECT / "README.md").read_text()


def test_the_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "replicator.toml").write_text(blocks[0])
    config = load_config(tmp_path / "replicator.toml")
    assert [database.name for database in config.databases] == ["conduwuit"]
    assert not config.warnings


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_exists_with_its_options(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    known = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_of(name))
    assert [word for word in arguments if word.startswith("-") and word not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)[^):]*\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_scripts_that_the_readme_names_can_be_run() -> None:
    named = re.findall(r"^\$ (scripts/\S+)", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert len(named) >= 3
    assert [name for name in named if not os.access(PROJECT / name, os.X_OK)] == []
