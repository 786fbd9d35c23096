"""Whether a database can be replicated from here: its files, its checkpoint root, the limits of this system.

Everything is tried as a capture does it. A running service is not disturbed, and nothing is left behind.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from replicator.checkpoint.capture import refuse_direct_blobs, refuse_foreign_folders
from replicator.checkpoint.database_folder import DatabaseFolder, open_for_reading
from replicator.checkpoint.inspection import inspect_checkpoint
from replicator.checkpoint.manifest_file import ManifestFile
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.checkpoint.staging import CrossDeviceError, link_trouble
from replicator.checkpoint.watcher import CheckpointWatcher, LogWatcher
from replicator.config.choices import Producer
from replicator.errors import CheckpointError, ReplicatorError, SourceChangedError
from replicator.rocksdb.filenames import CURRENT_NAME, FileKind
from replicator.service.check_result import PROBE_PREFIX, CheckResult, CheckStatus, Subject
from replicator.service.lock import holder_of
from replicator.units import format_size

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from replicator.config.model import DatabaseConfig
    from replicator.rocksdb.filenames import FileName
    from replicator.rocksdb.manifest import ManifestVersion

_MOST_LOOKS: Final = 5
#: What the service opens besides the files of databases: connections, logs, watches; generously.
_OWN_DESCRIPTORS: Final = 256


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a database that can be read. `files_are_copied`: no hard links to the checkpoint root."""

    folder: Path
    database_id: str
    live_files: int
    size_bytes: int
    log_folder: Path | None = None
    files_are_copied: bool = False


def check_database(config: DatabaseConfig) -> Generator[CheckResult, None, SourceFacts | None]:
    """Yield what is found of a database and its checkpoint root; return the facts if its files can be read."""
    about = Subject(f"database {config.name}")
    root = CheckpointRoot(config.checkpoint_root)
    facts = yield from _check_files(about, config, root)
    try:
        with _in_place(root) as was_there, _probe_folder(root) as probe:
            yield _root_result(about, root, was_there=was_there)
            if facts:
                facts = yield from _check_links(about, facts, probe)
            yield _free_space_result(about, config, facts)
            yield _holder_result(about, root)
            yield _watch_result(about, root)
            if facts and facts.log_folder and config.tick_seconds:
                yield _log_watch_result(about, facts.log_folder)
    except (ReplicatorError, OSError) as error:
        yield about.failed_with("checkpoint root", error)
    return facts


def check_open_files(sources: Iterable[SourceFacts]) -> CheckResult:
    """Compare the limit on open files with what the service needs: a copy holds all files of a database open."""
    about = Subject("service")
    copied_files = sum(source.live_files for source in sources if source.files_are_copied)
    needed = _OWN_DESCRIPTORS + copied_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A capture that copies raises its own limit as far as it may; nothing else does.
    allowed = hard if copied_files else soft
    detail = f"{'unlimited' if allowed == resource.RLIM_INFINITY else allowed} allowed, about {needed} needed"
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return about.ok("open files", detail)
    status = CheckStatus.FAILED if allowed < copied_files else CheckStatus.WARN
    hint = f"set LimitNOFILE={needed} or more in the service's unit, or raise `ulimit -n`"
    return CheckResult(status, about.name, "open files", detail, hint)


# --- the files ---------------------------------------------------------------------------------------


def _check_files(
    about: Subject, config: DatabaseConfig, root: CheckpointRoot
) -> Generator[CheckResult, None, SourceFacts | None]:
    try:
        if config.producer is Producer.EXTERNAL:
            return (yield from _external(about, root))
        facts = _look_again(config.path)
    except (ReplicatorError, OSError) as error:
        yield about.failed_with("files", error)
        return None
    logs = "" if facts.log_folder == config.path else f", write-ahead logs in {facts.log_folder}"
    yield about.ok(
        "files",
        f"{config.path} can be read: live files: {facts.live_files}, {format_size(facts.size_bytes)}{logs}",
    )
    return facts


def _external(about: Subject, root: CheckpointRoot) -> Generator[CheckResult, None, SourceFacts | None]:
    """What something else makes is all that is read then; the database itself is not."""
    if not root.current.exists():
        yield about.warn(
            "files",
            f"there is no checkpoint at {root.current} yet",
            'something else is to make it, as producer = "external" says',
        )
        return None
    inventory = inspect_checkpoint(root.current).inventory
    yield about.ok("files", f"{root.current} is complete: {format_size(inventory.size_bytes)}")
    return SourceFacts(root.current, inventory.database_id, len(inventory.files), inventory.size_bytes)


def _look_again(path: Path) -> SourceFacts:
    for _ in range(_MOST_LOOKS - 1):
        with suppress(SourceChangedError):
            return _look(path)
    return _look(path)


def _look(path: Path) -> SourceFacts:
    """Read and open what a capture would."""
    database = DatabaseFolder(path)
    with ManifestFile(path / database.manifest_name()) as manifest:
        manifest.read_on()
        version = manifest.state.snapshot()
    options = database.newest_options()
    refuse_direct_blobs(options)
    refuse_foreign_folders(version)
    log_folder = database.wal_folder(options.options if options else None)
    sizes_bytes = [
        _readable_bytes(folder / listed.name.name)
        for folder in {path, log_folder}
        for listed in database.list_files(folder)
        if _is_needed(listed.name, version)
    ]
    return SourceFacts(
        folder=path,
        database_id=database.identity().decode("ascii", "replace").strip() or version.database_id or "",
        live_files=len(version.tables) + len(version.blobs),
        size_bytes=sum(sizes_bytes),
        log_folder=log_folder,
    )


def _is_needed(name: FileName, version: ManifestVersion) -> bool:
    match name.kind:
        case FileKind.TABLE:
            return name.number in version.tables
        case FileKind.BLOB:
            return name.number in version.blobs
        case FileKind.WAL:
            return name.number is not None and name.number >= version.lowest_needed_wal
    return False


def _readable_bytes(path: Path) -> int:
    """Open a file: one of many may belong to somebody else, because a tool was once run as root."""
    try:
        descriptor = open_for_reading(path)
    except SourceChangedError:  # compacted away
        return 0
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


# --- the checkpoint root -----------------------------------------------------------------------------


@contextmanager
def _in_place(root: CheckpointRoot) -> Iterator[bool]:
    """Make the checkpoint root if it is missing, and take it away again; tell whether it was there."""
    missing = [folder for folder in (root.path, *root.path.parents) if not os.path.lexists(folder)]
    try:
        root.create()
        yield not missing
    finally:
        for folder in missing:
            with suppress(OSError):  # in use by a service that was started meanwhile: then it stays
                folder.rmdir()


@contextmanager
def _probe_folder(root: CheckpointRoot) -> Iterator[Path]:
    try:
        # A folder, for a checkpoint is one.
        probe = tempfile.TemporaryDirectory(prefix=PROBE_PREFIX, dir=root.path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write to {root.path}: {error.strerror}",
            hint="it must belong to the service's user; in a systemd unit, ReadWritePaths= must name it",
        ) from error
    with probe as name:
        yield Path(name)


def _root_result(about: Subject, root: CheckpointRoot, *, was_there: bool) -> CheckResult:
    owner, me = root.path.stat().st_uid, os.geteuid()
    if owner != me:
        return about.warn(
            "checkpoint root",
            f"{root.path} belongs to {_user_name(owner)}, this check runs as {_user_name(me)}",
            "run the check as the user that the service runs as: what one may, the other may not",
        )
    return about.ok(
        "checkpoint root", f"{root.path} {'can be written' if was_there else 'is missing and can be made'}"
    )


def _check_links(about: Subject, facts: SourceFacts, probe: Path) -> Generator[CheckResult, None, SourceFacts]:
    root = probe.parent
    try:
        os.link(facts.folder / CURRENT_NAME, probe / CURRENT_NAME, follow_symlinks=False)
    except OSError as error:
        trouble = link_trouble(error, facts.folder, root)
        if isinstance(trouble, CrossDeviceError):
            yield about.warn(
                "same filesystem",
                f"{root} is on another filesystem or mount than {facts.folder}: files are copied, now"
                f" {format_size(facts.size_bytes)}, and then what is new at each checkpoint",
                "put checkpoint_root on the database's filesystem; in a systemd unit each path of ReadWritePaths="
                " is a mount of its own: name one folder above both",
            )
            return replace(facts, files_are_copied=True)
        yield about.failed_with("hard links", trouble)
        return facts
    yield about.ok("same filesystem", f"{root} is on that of {facts.folder}")
    yield about.ok("hard links", "can be made to the database's files")
    return facts


def _free_space_result(about: Subject, config: DatabaseConfig, facts: SourceFacts | None) -> CheckResult:
    usage = shutil.disk_usage(config.checkpoint_root)
    floor_bytes = config.min_free.bytes_of(usage.total)
    detail = f"{format_size(usage.free)} at {config.checkpoint_root}, min_free is {format_size(floor_bytes)}"
    if usage.free < floor_bytes:
        return about.failed(
            "free space", f"{detail}: no checkpoint would be made", "free some space, or lower min_free"
        )
    copied_bytes = facts.size_bytes if facts and facts.files_are_copied else 0
    if usage.free < floor_bytes + copied_bytes:
        return about.warn(
            "free space",
            f"{detail}: a first copy of {format_size(copied_bytes)} would leave less",
            "free some space, or put checkpoint_root on the database's filesystem, where nothing is copied",
        )
    return about.ok("free space", detail)


def _holder_result(about: Subject, root: CheckpointRoot) -> CheckResult:
    try:
        holder = holder_of(root.path)
    except ReplicatorError as error:
        return about.failed_with("one process", error)
    # A service that checks itself holds it.
    if holder and not holder.startswith(f"process {os.getpid()} "):
        return about.warn(
            "one process",
            f"{root.path} is in use by {holder}",
            "well and good if that is the service; another one is refused as long as it runs",
        )
    return about.ok("one process", f"{root.path} is not in use")


def _watch_result(about: Subject, root: CheckpointRoot) -> CheckResult:
    limits = ", ".join(
        f"fs.inotify.{name} = {_system_limit(name)}" for name in ("max_user_watches", "max_user_instances")
    )
    try:
        with CheckpointWatcher(root.path):
            return about.ok("watching", f"{root.path} can be watched ({limits})")
    except CheckpointError as error:
        return about.failed("watching", f"{error} ({limits})", error.hint)


def _log_watch_result(about: Subject, folder: Path) -> CheckResult:
    try:
        with LogWatcher(folder, threading.Event()):
            return about.ok("shipping", f"write-ahead logs in {folder} are held as soon as they appear")
    except CheckpointError as error:
        return about.warn("shipping", f"{error}: logs are looked for at each tick only", error.hint)


def _system_limit(name: str) -> str:
    try:
        return (Path("/proc/sys/fs/inotify") / name).read_text().strip()
    except OSError:
        return "unknown"


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"
