"""Problems of a configuration as lines that an operator can act on: key, value, what is wrong, what to write.

No line repeats a password or the value of an unknown key.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final

from replicator.config.model import (
    Config,
    DatabaseConfig,
    DestinationConfig,
    KeepConfig,
    MirrorConfig,
    ServiceConfig,
)
from replicator.locator import hide_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from replicator.config.model import Section

_VALUE_LIMIT: Final = 100

_SECTIONS: Final[dict[str, type[Section]]] = {
    "database": DatabaseConfig,
    "destination": DestinationConfig,
    "mirror": MirrorConfig,
    "keep": KeepConfig,
    "service": ServiceConfig,
}

# What pydantic calls its errors, and what we call them.
_MESSAGES: Final = {
    "bool_type": "must be true or false, without quotes",
    "greater_than_equal": "must be {ge} or more",
    "int_type": "must be a whole number, without quotes",
    "less_than_equal": "must be {le} or less",
    "string_type": 'must be text in quotes, such as "..."',
}
#: Values that may hold a secret.
_NEVER_SHOWN: Final = ("heartbeat_url",)
_VALUE_SAYS_NOTHING: Final = ("extra_forbidden", "missing", "model_type", "tuple_type")


def problem(key: str, message: str, *values: object) -> str:
    """Write one line; of `values` there is the one that stands in the file, or none."""
    shown = "".join(f" = {_shown(value)}" for value in values)
    return f"{key}{shown}: {message}"


def shape_problems(error: ValidationError) -> list[str]:
    """Write one line for each thing that pydantic found."""
    details = error.errors(include_url=False)
    return [_line(detail) for detail in details]


def _line(detail: ErrorDetails) -> str:
    location, kind, value = detail["loc"], detail["type"], detail["input"]
    match kind:
        case "extra_forbidden":
            message = _unknown(location)
        case "missing":
            message = _missing(location)
        case "model_type" | "tuple_type":
            message = _wrong_brackets(location)
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "enum":
            message = f"is unknown; write one of {_allowed(location)}"
        case _:
            message = _MESSAGES.get(kind, detail["msg"]).format(**detail.get("ctx", {}))
    hides_value = kind in _VALUE_SAYS_NOTHING or location[-1] in _NEVER_SHOWN
    return problem(_key(location), message, *([] if hides_value else [value]))


def _wrong_brackets(location: Sequence[str | int]) -> str:
    match location:
        case ("service",):
            return "must be a table; write [service] above its keys"
        case ("database" | "mirror" | "destination" as section, *rest) if len(rest) <= 1:
            return f"must be a list of tables; write [[{section}]] above its keys"
        case (*_, "keep"):
            return "must be a table, such as { last = 12, daily = 7 }"
        case _:
            return 'must be a list, such as ["..."]'


def _unknown(location: Sequence[str | int]) -> str:
    close = difflib.get_close_matches(str(location[-1]), _keys(location), n=1)
    known = ", ".join(_keys(location))
    return f"is unknown; did you mean {close[0]}?" if close else f"is unknown; known here are {known}"


def _missing(location: Sequence[str | int]) -> str:
    key = str(location[-1])
    examples = _section(location).model_fields[key].examples or [...]
    return f"is missing; add for example {key} = {_shown(examples[0])}"


def _allowed(location: Sequence[str | int]) -> str:
    for name, field in _section(location).model_fields.items():
        if (field.alias or name) == location[-1]:
            choices: Iterable[Any] = field.annotation or ()  # type: ignore[assignment]  # an enum is iterable
            return ", ".join(f'"{choice}"' for choice in choices)
    raise AssertionError(location)


def _section(location: Sequence[str | int]) -> type[Section]:
    for part in reversed(location[:-1]):
        if part in _SECTIONS:
            return _SECTIONS[str(part)]
    return Config


def _keys(location: Sequence[str | int]) -> list[str]:
    return [field.alias or name for name, field in _section(location).model_fields.items()]


def _key(location: Sequence[str | int]) -> str:
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            key += f".{part}" if key else part
    return key


def _shown(value: object) -> str:
    text = json.dumps(hide_password(value) if isinstance(value, str) else value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}..."
