"""Whether replicas can be kept at a destination: the way there, what the server offers, what the account may do.

Nothing is left behind, and replicas are only read.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from replicator.destination.interface import Link
from replicator.errors import (
    AccessDeniedError,
    AuthenticationError,
    HostKeyError,
    NotFoundError,
    ProtocolError,
    ReplicatorError,
    TransientDestinationError,
)
from replicator.locator import DirectoryUrl
from replicator.replica.decision import refuse_other_writer
from replicator.replica.generations import generation_ids
from replicator.replica.inspect_replica import inspect_replica
from replicator.replica.layout import ReplicaLayout
from replicator.service.check_mirror import check_mirror_at
from replicator.service.check_result import PROBE_PREFIX, CheckResult, Subject
from replicator.service.transfer import writer_of
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from replicator.config.model import DatabaseConfig, DestinationConfig, MirrorConfig
    from replicator.destination.interface import Capabilities, Destination
    from replicator.service.check_source import SourceFacts

_CLOCK_TOLERANCE_SECONDS: Final = 60
_PROBE_LIMIT_BYTES: Final = 1024


def check_destination(
    config: DestinationConfig,
    sources: Sequence[tuple[DatabaseConfig, SourceFacts | None]],
    mirrors: Sequence[MirrorConfig] = (),
    *,
    connect_to: Callable[[DestinationConfig], Destination],
) -> Iterator[CheckResult]:
    """Yield what is found; without a connection, nothing that needs one.

    `sources` and `mirrors` are what is sent there.
    """
    about = Subject(f"destination {config.name}")
    if not sources and not mirrors:
        yield about.warn(
            "databases", "nothing is sent there", "name it in `destinations` of a database, or remove it"
        )
    try:
        destination = connect_to(config)
    except ReplicatorError as error:
        yield from _way_there(about, config, error)
        return
    with destination:
        yield from _way_there(about, config, None)
        try:
            capabilities = destination.capabilities()
            yield from _offers(about, config, capabilities)
            yield from _attempt(about, "write permission", lambda: _probe(about, destination, capabilities))
            first_bytes = 0
            for database, facts in sources:
                first_bytes += yield from _check_replica(about, destination, database, facts)
            for mirror in mirrors:
                yield from check_mirror_at(about, destination, mirror)
            yield from _attempt(about, "free space", lambda: _free_space(about, destination, first_bytes))
        except TransientDestinationError as error:
            yield about.failed_with("connection", error)


def _attempt(about: Subject, what: str, act: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """Turn an error into a result; not one of the connection, without which nothing else can be said."""
    try:
        yield from act()
    except TransientDestinationError:
        raise
    except ReplicatorError as error:
        yield about.failed_with(what, error)


# --- the way there -----------------------------------------------------------------------------------


def _way_there(about: Subject, config: DestinationConfig, error: ReplicatorError | None) -> Iterator[CheckResult]:
    """Tell how far the connection came: what was passed on the way to the error is well."""
    if isinstance(config.url, DirectoryUrl):
        steps = {"folder": f"{config.url.base} is there"}
    else:
        steps = {
            "connection": f"{config.url} answers",
            "host key": "is the known one",
            "login": "the account accepts the key",
            "folder": f"{config.url.base} is there",
        }
    stopped_at = _stopped_at(error, list(steps)) if error else ""
    for what, detail in steps.items():
        if error and what == stopped_at:
            yield about.failed_with(what, error)
            return
        yield about.ok(what, detail)
    if isinstance(config.url, DirectoryUrl) and config.url.base.is_mount():
        yield about.warn(
            "mount point",
            f"{config.url.base} is where a disk is mounted: while the disk is away, it is filled in its place",
            f"name a folder on the disk, such as {config.url}/replicas",
        )


def _stopped_at(error: ReplicatorError, steps: list[str]) -> str:
    match error:
        case HostKeyError():
            return "host key"
        case AuthenticationError():
            return "login"
        case NotFoundError() | AccessDeniedError():
            return "folder"
    return steps[0]


# --- what there is -----------------------------------------------------------------------------------


def _offers(about: Subject, config: DestinationConfig, capabilities: Capabilities) -> Iterator[CheckResult]:
    if capabilities.hard_link:
        yield about.ok(
            "hard links", "unchanged files are linked: a generation takes the space of what is new in it"
        )
    elif capabilities.server_copy:
        yield about.warn(
            "hard links",
            "not offered: unchanged files are copied there, so each generation takes its full size",
            "use a server with hardlink@openssh.com, or keep few generations",
        )
    elif config.allow_full_upload:
        yield about.warn(
            "hard links",
            "neither they nor copies are offered: every generation is sent in full, as `reupload` allows",
            "use a server with hardlink@openssh.com, such as OpenSSH",
        )
    else:
        yield about.failed(
            "hard links",
            "neither hard links nor copies are offered: every generation would have to be sent in full",
            "use a server with hardlink@openssh.com, such as OpenSSH, or set `reupload = true` on the destination",
        )
    if capabilities.server_copy:
        yield about.ok("server-side copy", "of a log that has grown only the new part is sent")
    else:
        yield about.warn(
            "server-side copy",
            "not offered: a log that has grown is sent again from its beginning",
            "use a server with copy-data, such as OpenSSH 9 or newer",
        )
    if capabilities.fsync:
        yield about.ok("fsync", "what is published is durable")
    else:
        yield about.warn(
            "fsync",
            "not offered: a power failure there may take what was published last",
            "use a server with fsync@openssh.com, such as OpenSSH",
        )


def _probe(about: Subject, destination: Destination, capabilities: Capabilities) -> Iterator[CheckResult]:
    """Do with a small file what a publish does with large ones."""
    folder = PurePosixPath(f"{PROBE_PREFIX}{secrets.token_hex(8)}")
    try:
        ahead_seconds = _try_everything(destination, folder, capabilities)
    except BaseException:
        with suppress(ReplicatorError):  # the first error is the one to tell
            destination.remove_tree(folder)
        raise
    destination.remove_tree(folder)
    yield about.ok("write permission", "files can be written, linked, read back, flipped to and removed")
    if abs(ahead_seconds) <= _CLOCK_TOLERANCE_SECONDS:
        yield about.ok("clock", "agrees with the one here")
    else:
        yield about.warn(
            "clock",
            f"is {format_duration(abs(ahead_seconds))} {'ahead' if ahead_seconds > 0 else 'behind'}",
            "let both hosts set their clocks by NTP: the names of generations are times",
        )


def _try_everything(destination: Destination, folder: PurePosixPath, capabilities: Capabilities) -> float:
    """Return by how many seconds the destination's clock is ahead."""
    content = secrets.token_hex(16).encode()
    file, second, link = folder / "file", folder / "second", folder / "link"
    destination.make_folder(folder)
    before_seconds = time.time()
    destination.write_bytes(file, content)
    after_seconds = time.time()
    modified_seconds = _modified_seconds(destination, file)
    if capabilities.hard_link:
        destination.link([Link(file, second)])
    elif capabilities.server_copy:
        destination.copy([Link(file, second)])
    else:
        destination.write_bytes(second, content)
    for target in (file, second):
        destination.point_link(link, target.name)
        if destination.read_bytes(link, limit_bytes=_PROBE_LIMIT_BYTES) != content:
            raise ProtocolError(f"{destination.label}: what is read from {target} is not what was written to it")
    # The time of a file is cut to whole seconds.
    if modified_seconds < before_seconds - 1:
        return modified_seconds - before_seconds
    return max(0.0, modified_seconds - after_seconds)


def _modified_seconds(destination: Destination, file: PurePosixPath) -> int:
    for entry in destination.list_folder(file.parent):
        if entry.name == file.name:
            return entry.modified_seconds
    raise ProtocolError(f"{destination.label}: {file} was written and is not in the listing")


def _check_replica(
    about: Subject, destination: Destination, database: DatabaseConfig, facts: SourceFacts | None
) -> Generator[CheckResult, None, int]:
    """Return the bytes that a first generation takes there; 0 if there is one."""
    what = f"replica {database.name}"
    layout = ReplicaLayout(database.name)
    try:
        ids = generation_ids(destination, layout.generations)
        if not ids:
            yield about.ok(what, "none yet")
            return facts.size_bytes if facts else 0
        if facts is None:
            yield about.warn(
                what,
                f"the newest generation is {ids[-1]}; whether it is of this database cannot be told",
                "the database must be readable for that",
            )
            return 0
        writer = writer_of(database, facts.database_id)
        refuse_other_writer(destination, database.name, inspect_replica(destination, layout, writer), writer)
        yield about.ok(what, f"is ours; generations: {len(ids)}, the newest is {ids[-1]}")
    except TransientDestinationError:
        raise
    except ReplicatorError as error:
        yield about.failed_with(what, error)
    return 0


def _free_space(about: Subject, destination: Destination, first_bytes: int) -> Iterator[CheckResult]:
    free_bytes = destination.free_bytes()
    if free_bytes is None:
        yield about.warn(
            "free space",
            "the server does not tell: that its disk is full is noticed when it is",
            "use a server with statvfs@openssh.com, such as OpenSSH, or watch the space there",
        )
        return
    detail = f"{format_size(free_bytes)}"
    if first_bytes:
        detail += f", of which the first generations take {format_size(first_bytes)}"
    if free_bytes < first_bytes:
        yield about.failed("free space", f"{detail}: too little", "make room there, or send fewer databases")
    else:
        yield about.ok("free space", detail)
