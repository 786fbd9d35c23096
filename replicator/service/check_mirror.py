"""Whether a folder can be mirrored from here, and to a destination. Nothing is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.destination.interface import EntryKind
from replicator.errors import ReplicatorError, SourceError, TransientDestinationError, WrongWriterError
from replicator.mirror.excludes import Excludes
from replicator.mirror.paths import TOP, join
from replicator.mirror.scan import LocalTree, UnreadableError
from replicator.mirror.staging import owner_of
from replicator.mirror.watcher import TreeWatcher
from replicator.service.check_result import CheckResult, Subject
from replicator.service.mirror_watch import watch_limit
from replicator.service.mirrors import source_of
from replicator.units import format_size

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from replicator.config.model import MirrorConfig
    from replicator.destination.interface import Destination


def check_mirror(config: MirrorConfig) -> Iterator[CheckResult]:
    """Yield what is found of a mirror's source."""
    about = Subject(f"mirror {config.name}")
    excludes = Excludes(config.exclude)
    try:
        with LocalTree(config.path, excludes) as local:
            if local.is_empty():
                yield about.warn(
                    "files",
                    f"{config.path} is empty",
                    "is its filesystem mounted? Nothing is removed at any destination while it is empty",
                )
            folders = yield from _count(about, config.path, local)
    except SourceError as error:
        yield about.failed_with("files", error)
        return
    yield _watches(about, folders)
    try:
        with TreeWatcher(Path(os.path.realpath(config.path)), _Nothing(), []):
            pass
    except SourceError as error:
        yield about.failed("watching", f"{error}: changes would be found by rescans only", error.hint)


def check_mirror_at(about: Subject, destination: Destination, config: MirrorConfig) -> Iterator[CheckResult]:
    """Yield whether the mirror at the destination is ours."""
    what = f"mirror {config.name}"
    source = source_of(config)
    try:
        owner = owner_of(destination, config.name)
    except TransientDestinationError:
        raise
    except ReplicatorError as error:
        yield about.failed_with(what, error)
        return
    if owner is None:
        yield about.ok(what, "none yet")
    elif owner == source:
        yield about.ok(what, "is ours")
    else:
        yield about.failed_with(
            what,
            WrongWriterError(
                f"is one of {owner}; this is {source}",
                hint="if this host is the one to write it from now on: replicator run -c FILE --once --take-over",
            ),
        )


class _Nothing(Excludes):
    """Leaves out all folders below the top: to watch that one shows that watching works."""

    def __init__(self) -> None:
        super().__init__(["*"])


def _count(about: Subject, path: Path, local: LocalTree) -> Generator[CheckResult, None, int]:
    """Count what is there, and tell what cannot be read; return the number of folders."""
    files = folders = size_bytes = 0
    waiting, unreadable = [TOP], []
    while waiting:
        folder = waiting.pop()
        folders += 1
        try:
            entries = local.scan(folder) or {}
        except UnreadableError as error:
            unreadable.append(str(error))
            continue
        for name, entry in entries.items():
            if entry.kind is EntryKind.FOLDER:
                waiting.append(join(folder, name))
            else:
                files += 1
                size_bytes += entry.size_bytes
        if local.is_full:
            local.forget()
    found = f"{path}: {files} files in {folders} folders, {format_size(size_bytes)}"
    if unreadable:
        hint = "let the service's user read all of it, or exclude it"
        yield about.failed("files", f"{found}; {unreadable[0]}", hint)
    else:
        yield about.ok("files", found)
    return folders


def _watches(about: Subject, folders: int) -> CheckResult:
    limit = watch_limit()
    if limit is None:
        return about.warn("watches", f"{folders} needed, the system does not tell its limit", "")
    detail = f"{folders} needed, fs.inotify.max_user_watches = {limit}"
    if folders > limit:
        return about.failed(
            "watches",
            f"{detail}: changes in the others would be found by rescans only",
            f"sysctl fs.inotify.max_user_watches={2 * folders}, and put it into /etc/sysctl.d",
        )
    if 2 * folders > limit:
        return about.warn(
            "watches",
            f"{detail}, which all programs of a user share",
            f"sysctl fs.inotify.max_user_watches={2 * folders}, and put it into /etc/sysctl.d",
        )
    return about.ok("watches", detail)
