"""Where replicas lie: destination URLs, and the SOURCE argument of the commands that read replicas.

Pure. A URL never holds a password: one that does is refused, and no message repeats it. What the user or the
host of an `sftp://` URL leaves open is for the SSH configuration to say.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote

_URL_FORMS: Final = 'write "sftp://USER@HOST:PORT/FOLDER" or "file:///FOLDER"'
_SOURCE_FORMS: Final = (
    "write sftp://USER@HOST/BASE/DATABASE, file:///BASE/DATABASE, a path, or DESTINATION:DATABASE"
)
_AUTHORITY: Final = re.compile(
    r"(?:(?P<user>[^@:]+)@)?"
    r"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*)|\[(?P<address>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_LAST_PORT: Final = 65535
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_NAMED_SOURCE: Final = re.compile(r"([^/:]+):([^/:]+)")
# All up to the last '@', since a password may hold any character; but a port and a path are no password.
_PASSWORD: Final = re.compile(r"(?:(?<=://)|^)([^/@\s:]*):(?!//|[0-9]{1,5}/)\S*@")

# Names that a replica folder is made of. A database of such a name would make BASE look like a replica.
_RESERVED_NAMES: Final = frozenset(
    {"checkpoint_current", "checkpoint_prev", "checkpoint_staging", "generations", "incoming"}
)


@dataclass(frozen=True, slots=True)
class SftpUrl:
    """A folder of an SFTP account; `user` and `port` are None where the URL leaves them open."""

    host: str
    base: PurePosixPath
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"sftp://{user}{host}{port}{_quoted(self.base)}"


@dataclass(frozen=True, slots=True)
class DirectoryUrl:
    """A folder of this machine."""

    base: Path

    def __str__(self) -> str:
        return f"file://{_quoted(self.base)}"


DestinationUrl = SftpUrl | DirectoryUrl


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """The replica `database` below the base folder `url`."""

    url: DestinationUrl
    database: str


@dataclass(frozen=True, slots=True)
class NamedSource:
    """The replica `database` at a destination that the configuration names."""

    destination: str
    database: str


SourceLocator = LocatedSource | NamedSource


def check_name(name: str) -> str:
    """Return `name` if it is fit to be that of a database or destination; else raise `ValueError`.

    It becomes a folder at the destination, a label of metrics, and a part of `DESTINATION:DATABASE`.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "is no usable name; write up to 100 of the letters A-Z and a-z, digits, '.', '_' and '-', "
            "the first not '.' or '-'"
        )
    if name in _RESERVED_NAMES:
        raise ValueError("is a name that the program uses itself; choose another one")
    return name


def parse_url(text: str) -> DestinationUrl:
    """Read a destination's URL. Raises `ValueError` with a message that repeats no password."""
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("holds white space or control characters; write them as %20 and the like")
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in ("sftp", "file"):
        raise ValueError(f"is no URL of a destination; {_URL_FORMS}")
    if "?" in text or "#" in text:
        raise ValueError("holds '?' or '#'; in the name of a folder write them as %3F and %23")
    return _parse_sftp(text) if scheme == "sftp" else _parse_file(text)


def parse_source(text: str, *, working_folder: Path) -> SourceLocator:
    """Read the SOURCE argument of a command; relative paths start at `working_folder`.

    `NAME:NAME` without a slash is a destination and a database; a file of that name is `./NAME:NAME`.
    Raises `ValueError` with the accepted forms.
    """
    if not text or "\0" in text:
        raise ValueError(f"is no source; {_SOURCE_FORMS}")
    if "://" in text:
        return _located(parse_url(text))
    if match := _NAMED_SOURCE.fullmatch(text):
        return NamedSource(destination=match[1], database=match[2])
    return _located(DirectoryUrl(Path(posixpath.normpath(working_folder / text))))


def hide_password(text: str) -> str:
    """Return `text` with the password of every URL in it, even one that lacks its scheme, replaced by `***`."""
    return _PASSWORD.sub(r"\1:***@", text)


def _quoted(path: PurePath) -> str:
    return quote(str(path), errors="surrogateescape")


def _located(url: DestinationUrl) -> LocatedSource:
    database = url.base.name
    if not database:
        raise ValueError(f"names no database below its base folder; {_SOURCE_FORMS}")
    if isinstance(url, SftpUrl):
        above = SftpUrl(host=url.host, base=url.base.parent, user=url.user, port=url.port)
        return LocatedSource(url=above, database=database)
    return LocatedSource(url=DirectoryUrl(url.base.parent), database=database)


def _parse_sftp(text: str) -> SftpUrl:
    # Not urllib.parse.urlsplit: it turns the host into lower case, and SSH configurations have aliases in both.
    authority, slash, path = text.removeprefix("sftp://").partition("/")
    if ":" in authority.rpartition("@")[0]:
        raise ValueError("holds a password, which is not supported; use identity_file or an SSH agent")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError(f"has a bad user, host or port; {_URL_FORMS}")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= _LAST_PORT:
        raise ValueError("has a bad port; write one from 1 to 65535, or leave it out for the usual one")
    user = None if match["user"] is None else unquote(match["user"])
    host = match["address"] or match["host"]
    return SftpUrl(host=host, base=_absolute_base(slash + path), user=user, port=port)


def _parse_file(text: str) -> DirectoryUrl:
    rest = text.removeprefix("file://")
    if not rest.startswith("/"):
        raise ValueError('names a host; a folder of this machine has three slashes: "file:///FOLDER"')
    return DirectoryUrl(Path(_absolute_base(rest)))


def _absolute_base(path: str) -> PurePosixPath:
    decoded = unquote(path, errors="surrogateescape")
    if not decoded.startswith("/"):
        raise ValueError(f"names no folder; {_URL_FORMS}")
    if "\0" in decoded:
        raise ValueError("holds a NUL character; no folder can be named so")
    # Two leading slashes mean something else to PurePosixPath, but the same to every server.
    base = PurePosixPath("/" + decoded.lstrip("/"))
    if ".." in base.parts:
        raise ValueError("holds '..'; write the folder's own path")
    if base.parts[1:2] and base.parts[1].startswith("~"):
        raise ValueError("starts with '~', which is not expanded; write the folder's absolute path")
    return base
