"""From what TOML holds to the value that is meant, one key at a time.

Each function takes whatever stands in the file and raises `ValueError` with what is wrong and what to write
instead. They know nothing of the other keys: `checks` does.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from replicator import units
from replicator.locator import DestinationUrl, check_name, parse_url
from replicator.mirror.excludes import Excludes

_OFF: Final = "off"
_SHORTEST_TICK_SECONDS: Final = 0.1
_LISTEN: Final = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})")
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class FreeSpaceFloor:
    """How much of a filesystem stays free: a share of it (0.0 to 1.0), or a size."""

    share: float = 0.0
    size_bytes: int = 0

    def bytes_of(self, filesystem_bytes: int) -> int:
        """Return the floor for a filesystem of that size."""
        return max(self.size_bytes, int(self.share * filesystem_bytes))


@dataclass(frozen=True, slots=True)
class DeleteLimit:
    """How many files may be removed in one pass: a share of those that are there (0.0 to 1.0), or a number."""

    share: float | None = None
    files: int = 0

    def files_of(self, files: int) -> int:
        """Return how many of so many files may be removed: by a share at least one, unless it is 0.

        The whole is no limit at all: more may come and go in a pass than there were files at its beginning.
        """
        if self.share is None:
            return self.files
        if self.share >= 1:
            return sys.maxsize
        return max(int(self.share * files), 1 if self.share else 0)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server of ours listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HeartbeatUrl:
    """A URL that may hold a token; what is shown of it does not."""

    text: str = field(repr=False)


def to_text(value: object) -> str:
    """Any text without control characters."""
    if not isinstance(value, str):
        raise ValueError('must be text in quotes, such as "..."')  # noqa: TRY004 (pydantic collects ValueError)
    if not value.isprintable():
        raise ValueError("holds control characters; remove them")
    return value


def to_name(value: object) -> str:
    """The name of a database or destination."""
    return check_name(to_text(value))


def to_absolute_path(value: object) -> Path:
    """A path of this machine; `~` is not expanded, since a service's home is rarely what is meant."""
    text = to_text(value)
    if not text.startswith("/"):
        raise ValueError("is not absolute; write the whole path, beginning with '/'")
    # Not Path.resolve: what a symbolic link is called is the operator's choice.
    return Path(os.path.normpath("/" + text.lstrip("/")))


def to_key_path(value: object) -> Path:
    """The path of a file of SSH keys; here `~` is a home directory, as in SSH's own configuration."""
    text = to_text(value)
    if not text.startswith("~"):
        return to_absolute_path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("names an unknown home directory; write the whole path") from None


def to_url(value: object) -> DestinationUrl:
    """The URL of a destination."""
    return parse_url(to_text(value))


def to_positive_seconds(value: object) -> float:
    """A duration above zero."""
    if not isinstance(value, str):
        raise ValueError('must be text in quotes with a unit, such as "30s"')  # noqa: TRY004 (as above)
    seconds = units.parse_duration_seconds(value)
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def to_positive_seconds_or_off(value: object) -> float | None:
    """A duration above zero, or None for "off"."""
    if value == _OFF:
        return None
    try:
        return to_positive_seconds(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "off"') from None


def to_tick_seconds_or_off(value: object) -> float | None:
    """How often something is looked at, or None for "off"."""
    seconds = to_positive_seconds_or_off(value)
    if seconds is not None and seconds < _SHORTEST_TICK_SECONDS:
        raise ValueError('must be "100ms" or more, or "off"')
    return seconds


def to_size(value: object) -> int:
    """A size in bytes."""
    if not isinstance(value, str):
        raise ValueError('must be text in quotes with a unit, such as "2GiB"')  # noqa: TRY004 (as above)
    return units.parse_size_bytes(value)


def to_positive_rate(value: object) -> int:
    """A rate above zero, in bytes per second."""
    if not isinstance(value, str):
        raise ValueError('must be text in quotes with a unit, such as "20MiB/s"')  # noqa: TRY004 (as above)
    rate = units.parse_rate_bytes_per_second(value)
    if rate <= 0:
        raise ValueError("must be more than zero; leave the key out for no limit")
    return rate


def to_free_space_floor(value: object) -> FreeSpaceFloor:
    """A share such as "5%", or a size such as "2GiB"."""
    if not isinstance(value, str):
        raise ValueError('must be text in quotes, such as "5%" or "2GiB"')  # noqa: TRY004 (as above)
    if not value.endswith("%"):
        try:
            return FreeSpaceFloor(size_bytes=units.parse_size_bytes(value))
        except ValueError:
            raise ValueError('is neither a share nor a size; write for example "5%" or "2GiB"') from None
    share = units.parse_share(value)
    if share >= 1:
        raise ValueError("leaves no room for anything; write less than 100%")
    return FreeSpaceFloor(share=share)


def to_command(value: object) -> tuple[str, ...]:
    """A program and its arguments; no shell looks at them."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError('must be a list, a program and its arguments, such as ["/usr/local/bin/hook", "-v"]')
    if not value[0] or any("\0" in item for item in value):
        raise ValueError("names no program; write its path")
    return tuple(value)


def to_heartbeat_url(value: object) -> HeartbeatUrl:
    """A URL of the web."""
    text = to_text(value)
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or " " in text or not text.isascii():
        raise ValueError('is no URL to fetch; write "https://HOST/PATH"')
    return HeartbeatUrl(text)


def to_listen_address_or_off(value: object) -> ListenAddress | None:
    """An address such as "127.0.0.1:9464", or None for "off"."""
    text = to_text(value)
    if text == _OFF:
        return None
    match = _LISTEN.fullmatch(text)
    if match is None or not 1 <= int(match[3]) <= _LAST_PORT:
        raise ValueError('is no address to listen on; write "HOST:PORT", such as "127.0.0.1:9464", or "off"')
    return ListenAddress(host=match[1] or match[2], port=int(match[3]))


def to_delete_limit(value: object) -> DeleteLimit:
    """A share such as "10%", or a number of files."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must be 0 or more")
        return DeleteLimit(files=value)
    text = to_text(value)
    if text.isascii() and text.isdigit():
        return DeleteLimit(files=int(text))
    try:
        return DeleteLimit(share=units.parse_share(text))
    except ValueError:
        raise ValueError('is neither a share nor a number of files; write for example "10%" or 500') from None


def to_patterns(value: object) -> tuple[str, ...]:
    """Patterns with the grammar of a .gitignore file."""
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise ValueError('must be a list of patterns in quotes, such as ["*.tmp"]')
    try:
        Excludes(value)
    except ValueError as error:
        raise ValueError(f"holds what is no pattern of a .gitignore file: {error}") from None
    return tuple(value)
