"""What no single key can tell: names that clash, paths that overlap, destinations that do not exist.

The checks read the raw tables and pass over what is not usable by itself (the shape check reports that), so
that one run reports all problems. Paths are compared with symbolic links resolved, as far as they exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from replicator.config.choices import Producer
from replicator.config.model import ServiceConfig
from replicator.config.problems import problem
from replicator.config.values import to_absolute_path, to_name, to_url
from replicator.locator import DirectoryUrl, SftpUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from replicator.locator import DestinationUrl

_Value = TypeVar("_Value")

_SSH_KEYS: Final = ("identity_file", "known_hosts", "compression")
_SSH_PORT: Final = 22


@dataclass(frozen=True, slots=True)
class _Database:
    """What is usable of one [[database]] or [[mirror]]; a mirror has no `root`."""

    key: str
    name: str | None
    path: Path | None
    root: Path | None
    destinations: list[object] | None


@dataclass(frozen=True, slots=True)
class _Destination:
    """What is usable of one [[destination]]."""

    key: str
    name: str | None
    url: DestinationUrl | None
    table: Mapping[str, object]


def cross_problems(document: Mapping[str, object]) -> list[str]:
    """Return one line for each problem between keys of a parsed TOML file."""
    databases = [_database(key, table) for key, table in _tables(document, "database")]
    mirrors = [_database(key, table) for key, table in _tables(document, "mirror")]
    destinations = [_destination(key, table) for key, table in _tables(document, "destination")]
    return [
        *_absences(document),
        # Both become folders at a destination.
        *_duplicates([(item.key, item.name) for item in [*databases, *mirrors]]),
        *_duplicates([(item.key, item.name) for item in destinations]),
        *_unknown_destinations([*databases, *mirrors], destinations),
        *_shipping_of_others(document),
        *_useless_keys(destinations),
        *_same_places(destinations),
        *_database_overlaps(databases),
        *_mirror_overlaps(mirrors, databases),
        *_destination_overlaps([*databases, *mirrors], destinations),
        *_service_overlaps(document, [*databases, *mirrors]),
    ]


def _absences(document: Mapping[str, object]) -> Iterable[str]:
    if document.get("database", []) == [] and document.get("mirror", []) == []:
        yield problem(
            "database", "is missing; add a [[database]] or [[mirror]] section that says what is replicated"
        )
    if document.get("destination", []) == []:
        yield problem("destination", "is missing; add a [[destination]] section that says where to")


def _duplicates(named: Iterable[tuple[str, str | None]]) -> Iterable[str]:
    first: dict[str, str] = {}
    for key, name in named:
        if name is None:
            continue
        if name in first:
            yield problem(f"{key}.name", f"is the name of {first[name]} too; choose another one", name)
        else:
            first[name] = key


def _unknown_destinations(databases: list[_Database], destinations: list[_Destination]) -> Iterable[str]:
    known = dict.fromkeys(item.name for item in destinations if item.name is not None)
    for database in databases:
        if database.destinations == []:
            message = "is empty; name at least one, or leave the key out for all"
            yield problem(f"{database.key}.destinations", message)
        seen: set[str] = set()
        for index, name in enumerate(database.destinations or ()):
            if not isinstance(name, str):
                continue
            key = f"{database.key}.destinations[{index}]"
            if name in seen:
                yield problem(key, "stands twice in the list; remove one", name)
            elif name not in known:
                yield problem(key, f"is no [[destination]]; there are: {', '.join(known) or 'none'}", name)
            seen.add(name)


def _shipping_of_others(document: Mapping[str, object]) -> Iterable[str]:
    for key, table in _tables(document, "database"):
        if table.get("producer") == Producer.EXTERNAL and table.get("ship_wal", "off") != "off":
            message = 'needs producer = "internal": only then is there a checkpoint at once when one is needed'
            yield problem(f"{key}.ship_wal", message, table["ship_wal"])


def _useless_keys(destinations: list[_Destination]) -> Iterable[str]:
    for destination in destinations:
        if isinstance(destination.url, DirectoryUrl):
            for key in _SSH_KEYS:
                if key in destination.table:
                    yield problem(f"{destination.key}.{key}", "means nothing for a file:// URL; remove it")


def _same_places(destinations: list[_Destination]) -> Iterable[str]:
    first: dict[object, str] = {}
    for destination in destinations:
        if destination.url is None:
            continue
        match destination.url:
            case SftpUrl(host=host, base=base, user=user, port=port):
                place: object = (host.lower(), port or _SSH_PORT, user, base)
            case DirectoryUrl(base=folder):
                place = folder.resolve()
        if place in first:
            message = f"is the same place as that of {first[place]}; remove one of the two"
            yield problem(f"{destination.key}.url", message, str(destination.url))
        else:
            first[place] = destination.key


def _database_overlaps(databases: list[_Database]) -> Iterable[str]:
    for index, database in enumerate(databases):
        key, path, root = database.key, database.path, database.root
        if path and root and path.is_relative_to(root):
            message = "must not be the database's folder or one above it; choose a folder of its own"
            yield problem(f"{key}.checkpoint_root", message, str(root))
        for other in databases[:index]:
            if path and path == other.path:
                yield problem(f"{key}.path", f"is that of {other.key} too; remove one of the two", str(path))
            if root and other.root and _overlap(root, other.root):
                message = f"overlaps {other.key}.checkpoint_root ({other.root}); each needs a folder of its own"
                yield problem(f"{key}.checkpoint_root", message, str(root))
        for other in databases:
            if other is not database and root and other.path and _overlap(root, other.path):
                message = f"overlaps {other.key}.path ({other.path}); choose a folder outside of it"
                yield problem(f"{key}.checkpoint_root", message, str(root))


def _mirror_overlaps(mirrors: list[_Database], databases: list[_Database]) -> Iterable[str]:
    """A mirror may lie in a database's folder, where applications keep their media; the reverse is wrong."""
    for index, mirror in enumerate(mirrors):
        path = mirror.path
        if path is None:
            continue
        for other in mirrors[:index]:
            if path == other.path:
                yield problem(
                    f"{mirror.key}.path", f"is that of {other.key} too; remove one of the two", str(path)
                )
        for database in databases:
            if database.root and _overlap(path, database.root):
                message = (
                    f"overlaps {database.key}.checkpoint_root ({database.root}); choose a folder outside of it"
                )
                yield problem(f"{mirror.key}.path", message, str(path))
            if database.path and database.path.is_relative_to(path):
                message = (
                    f"holds {database.key}.path ({database.path}); a live database cannot be mirrored as files"
                )
                yield problem(f"{mirror.key}.path", message, str(path))


def _destination_overlaps(databases: list[_Database], destinations: list[_Destination]) -> Iterable[str]:
    for destination in destinations:
        if not isinstance(destination.url, DirectoryUrl):
            continue
        base = destination.url.base.resolve()
        key = f"{destination.key}.url"
        for database, what, source in _source_folders(databases):
            if base.is_relative_to(source):
                message = f"lies in {database.key}.{what} ({source}); choose a folder outside of it"
                yield problem(key, message, str(destination.url))
        for replica in (base / item.name for item in databases if item.name is not None):
            for database, what, source in _source_folders(databases):
                # With the base itself inside of the source, the line above has said it already.
                if _overlap(replica, source) and not base.is_relative_to(source):
                    message = f"puts replicas into {replica}, which overlaps {database.key}.{what} ({source})"
                    yield problem(key, f"{message}; choose another folder", str(destination.url))


def _service_overlaps(document: Mapping[str, object], databases: list[_Database]) -> Iterable[str]:
    service = document.get("service", {})
    if not isinstance(service, dict):
        return
    folders = {"state_dir": str(ServiceConfig().state_dir), **service}
    for key in ("state_dir", "drill_folder"):
        folder = _usable(to_absolute_path, folders.get(key))
        for database, what, source in _source_folders(databases):
            if folder and folder.resolve().is_relative_to(source):
                message = f"lies in {database.key}.{what} ({source}); choose a folder outside of it"
                yield problem(f"service.{key}", message, str(folder))


def _source_folders(databases: list[_Database]) -> Iterable[tuple[_Database, str, Path]]:
    for database in databases:
        if database.path:
            yield database, "path", database.path
        if database.root:
            yield database, "checkpoint_root", database.root


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _tables(document: Mapping[str, object], section: str) -> Iterable[tuple[str, dict[str, object]]]:
    tables = document.get(section)
    if isinstance(tables, list):
        for index, table in enumerate(tables):
            if isinstance(table, dict):
                yield f"{section}[{index}]", table


def _database(key: str, table: Mapping[str, object]) -> _Database:
    names = table.get("destinations")
    path = _usable(to_absolute_path, table.get("path"))
    root = _usable(to_absolute_path, table.get("checkpoint_root"))
    return _Database(
        key=key,
        name=_usable(to_name, table.get("name")),
        path=path and path.resolve(),
        root=root and root.resolve(),
        destinations=names if isinstance(names, list) else None,
    )


def _destination(key: str, table: Mapping[str, object]) -> _Destination:
    return _Destination(
        key=key,
        name=_usable(to_name, table.get("name")),
        url=_usable(to_url, table.get("url")),
        table=table,
    )


def _usable(convert: Callable[[object], _Value], value: object) -> _Value | None:
    try:
        return convert(value)
    except ValueError:
        return None
