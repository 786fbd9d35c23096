"""Documents whose commands are run: which command stands under which heading, for which host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADING: Final = re.compile(r"^## (?P<title>.+)$")
_HOST: Final = re.compile(r"^<!-- on: (?P<host>\w+) -->$")
_PROMPT: Final = "$ "


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as the document has it, without the remark behind it."""

    heading: str
    host: str
    text: str


def commands_of(document: Path) -> list[Command]:
    """Return all commands of a document in order. Raises `ValueError` for a block without a host before it."""
    return list(_commands(document))


def _commands(document: Path) -> Iterator[Command]:
    heading, host, inside = "", "", False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if match := _HEADING.match(line):
            heading = match["title"]
        elif match := _HOST.match(line):
            host = match["host"]
        elif line.startswith("```"):
            if line == "```console":
                if not host:
                    raise ValueError(f"{document}:{number}: a block of commands, and no host is named before it")
                inside = True
            elif inside:
                host, inside = "", False
        elif inside and line.startswith(_PROMPT):
            yield Command(heading, host, line.removeprefix(_PROMPT).partition("  #")[0].strip())
