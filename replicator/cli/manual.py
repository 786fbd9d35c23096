"""The manual page, made of the help of the commands: `python -m replicator.cli.manual > docs/replicator.1`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import typer.main

from replicator import __version__
from replicator.cli.app import ExitCode, app  # the package has all commands registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What keeps the lines of a paragraph of help as they are.
_AS_IT_IS: Final = "\b"
_EXIT_CODES: Final = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Failed.",
    ExitCode.USAGE: "Wrong usage.",
    ExitCode.PARTLY: "Done in part: some destination, database or file failed, or deletes were refused.",
    ExitCode.DAMAGED: "verify, restore or drill found damage.",
    ExitCode.BAD_CONFIG: "The configuration is invalid; every problem is listed.",
    ExitCode.INTERRUPTED: "Interrupted.",
}
_FILES: Final = {
    "/etc/replicator/replicator.toml": "The configuration; the sample that is installed explains every key.",
    "/etc/replicator/id_ed25519": "The key for the destinations.",
    "/etc/replicator/known_hosts": "The host keys of the destinations; others are refused.",
    "/var/lib/replicator": "The state of the service, which status reads.",
}


def manual() -> str:
    """Return the page in the language of man(7)."""
    program = typer.main.get_command(app)
    context = program.context_class(program, info_name="replicator", **program.context_settings)
    names = program.list_commands(context)  # type: ignore[attr-defined]
    commands = {name: program.get_command(context, name) for name in names}  # type: ignore[attr-defined]
    lines = [
        f'.TH REPLICATOR 1 "" "replicator {__version__}"',
        ".nh",
        ".ad l",
        ".SH NAME",
        "replicator \\- continuous replication for RocksDB databases",
        ".SH SYNOPSIS",
        ".B replicator",
        ".RI [ OPTIONS ]",
        ".I COMMAND",
        ".RI [ ARGS ]...",
        ".SH DESCRIPTION",
        *_text(program.help or ""),
        ".SH OPTIONS",
        *_records(program, context),
        ".SH COMMANDS",
        *(line for name, command in commands.items() for line in _command(name, command, context)),
        ".SH EXIT STATUS",
        *(line for code, text in _EXIT_CODES.items() for line in _item(str(int(code)), text)),
        ".SH FILES",
        *(line for name, text in _FILES.items() for line in _item(name, text)),
    ]
    return "\n".join([*lines, ""])


def _command(name: str, command: Any, parent: Any) -> Iterable[str]:  # noqa: ANN401 - Typer hides its classes
    context = command.context_class(command, parent=parent, info_name=name)
    yield f".SS {_escaped(name)}"
    yield f".B {_escaped(' '.join(command.get_usage(context).removeprefix('Usage: ').split()))}"
    yield ".PP"
    yield from _text(command.help or "")
    yield from _records(command, context)


def _records(command: Any, context: Any) -> Iterable[str]:  # noqa: ANN401 - as above
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            yield from _item(*record)


def _text(text: str) -> Iterable[str]:
    """Paragraphs are filled, except where the help keeps its lines."""
    for number, paragraph in enumerate(text.split("\n\n")):
        lines = paragraph.splitlines()
        if number:
            yield ".PP"
        if lines and lines[0] == _AS_IT_IS:
            yield from (".EX", *(roff_line(line) for line in lines[1:]), ".EE")
        else:
            yield roff_line(" ".join(lines))


def _item(term: str, text: str) -> Sequence[str]:
    return (".TP", f".B {_escaped(term)}", roff_line(" ".join(text.split())))


def roff_line(text: str) -> str:
    """Return a line that comes out as `text`."""
    # A dot or an apostrophe in the first place would begin a request.
    return f"\\&{_escaped(text)}" if text[:1] in {".", "'"} else _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")


if __name__ == "__main__":
    sys.stdout.write(manual())
