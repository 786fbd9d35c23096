"""The manual page: up to date, well-formed, and as complete as the help."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from replicator.cli.app import ExitCode, app
from replicator.cli.manual import manual, roff_line

PAGE = Path(__file__).parents[2] / "docs/replicator.1"


def rendered() -> str:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=200n"],
        input=manual(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def command_names() -> list[str]:
    return [
        str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback
    ]


def help_of(name: str) -> str:
    program = typer.main.get_command(app)
    command = program.get_command(None, name)  # type: ignore[attr-defined]
    return str(command.help)


def test_the_page_that_is_shipped_is_up_to_date() -> None:
    assert PAGE.read_text() == manual(), "python -m replicator.cli.manual > docs/replicator.1"


def test_it_renders_without_warnings() -> None:
    assert "replicator restore" in rendered()


@pytest.mark.parametrize("name", command_names())
def test_each_command_is_there_with_its_help(name: str) -> None:
    page = " ".join(rendered().split())
    for paragraph in help_of(name).split("\n\n"):
        assert " ".join(paragraph.replace("\b", "").split()) in page


@pytest.mark.parametrize("name", command_names())
def test_each_command_teaches_by_examples(name: str) -> None:
    examples = re.findall(rf"^replicator {name}\b.*$", help_of(name), re.MULTILINE)
    assert examples
    page = rendered()
    assert all(example in page for example in examples)


def test_every_exit_code_is_explained() -> None:
    status = rendered().partition("EXIT STATUS")[2].partition("FILES")[0]
    assert re.findall(r"^ +(\d+)\b", status, re.MULTILINE) == [str(int(code)) for code in ExitCode]


@pytest.mark.parametrize("text", ["'quoted'", "back\\slash", "-dash"])
def test_what_means_something_to_man_comes_out_as_it_is(text: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"],
        input=f".TH A 1\n.SH B\n{roff_line(text)}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert text in done.stdout
