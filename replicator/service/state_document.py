"""The state file's content: what a service tells of itself, as one JSON document. Pure.

Times are ISO 8601 in UTC with microseconds; null is what is not known. Keys stay as they are within one `format`:

    format                                      1
    program_version, pid                        which process wrote it
    started_at, written_at
    state                                       "running" or "stopped"
    databases.NAME
        shipping                                whether the write-ahead log is shipped between checkpoints
        last_checkpoint_at                      the point in time that the checkpoint shows
        last_checkpoint_duration_seconds
        last_error                              of checkpoints: message, hint, at, recovered_at (null: it stands)
        pinned_bytes, free_bytes                held on to for us; free on the filesystem of the checkpoint root
        given_up                                because less than min_free was free: a list of words
        destinations.NAME
            generation                          the one that was published last
            last_publish_at
            restorable_at                       the newest instant of the source that could be restored
            backlog_bytes                       of the write-ahead log, not shipped yet
            last_error                          as above
            next_try_at                         after an error that stands
            last_drill                          at, loss_seconds, took_seconds, error
    mirrors.NAME.destinations.NAME
        backlog_files                           paths that wait to be looked at
        last_comparison_at                      when a whole comparison ended
        last_delay_seconds                      from the first event to the destination, of what was mirrored last
        files, sent_bytes, deletes              since the service was started
        failed_files, refused_deletes           of the last pass
        unwatched_folders                       changes in them are found by comparisons only; null: in all of them
        last_error, next_try_at                 as above
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from replicator.moments import format_moment
from replicator.service.mirror_status import MirrorStatus
from replicator.service.status import DatabaseStatus, Drill, Failure, PairStatus, RunState, ServiceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_FORMAT: Final = 1

_Value = TypeVar("_Value")
_From = TypeVar("_From")
_To = TypeVar("_To")

#: A JSON object.
Document = dict[str, Any]

#: What `state_document` would return if there were a process to tell of.
NO_PROCESS: Final[Document] = {
    "format": _FORMAT,
    "program_version": None,
    "pid": None,
    "started_at": None,
    "written_at": None,
    "state": None,
}


def encode_state(state: ServiceState) -> bytes:
    """Return the content of a state file."""
    parts = {"databases": databases_document(state.databases), "mirrors": mirrors_document(state.mirrors)}
    return json.dumps({**state_document(state), **parts}).encode()


def decode_state(content: bytes) -> ServiceState:
    """Return what a state file says. Raises `ValueError` if it is not one of this format."""
    document = json.loads(content)
    try:
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}, this version reads {_FORMAT}")
        return ServiceState(
            program_version=_typed(document["program_version"], str),
            pid=_typed(document["pid"], int),
            started_at_seconds=_seconds(document["started_at"]),
            written_at_seconds=_seconds(document["written_at"]),
            state=RunState(document["state"]),
            databases=tuple(_database(name, value) for name, value in document["databases"].items()),
            mirrors=tuple(
                _mirror(mirror, name, value)
                for mirror, of_mirror in document["mirrors"].items()
                for name, value in of_mirror["destinations"].items()
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks or garbles a value: {error!r}") from error


def state_document(state: ServiceState) -> Document:
    """Return what there is to say of the process."""
    return {
        "format": _FORMAT,
        "program_version": state.program_version,
        "pid": state.pid,
        "started_at": _time(state.started_at_seconds),
        "written_at": _time(state.written_at_seconds),
        "state": state.state.value,
    }


def databases_document(databases: Iterable[DatabaseStatus]) -> Document:
    """Return what there is to say of each database."""
    return {
        database.name: {
            "shipping": database.shipping,
            "last_checkpoint_at": _time(database.last_checkpoint_at_seconds),
            "last_checkpoint_duration_seconds": database.last_checkpoint_duration_seconds,
            "last_error": _known(database.last_error, _error_document),
            "pinned_bytes": database.pinned_bytes,
            "free_bytes": database.free_bytes,
            "given_up": list(database.given_up),
            "destinations": {pair.destination: _pair_document(pair) for pair in database.destinations},
        }
        for database in databases
    }


def mirrors_document(mirrors: Iterable[MirrorStatus]) -> Document:
    """Return what there is to say of each mirror."""
    document: Document = {}
    for mirror in mirrors:
        destinations = document.setdefault(mirror.mirror, {"destinations": {}})["destinations"]
        destinations[mirror.destination] = {
            "backlog_files": mirror.backlog_files,
            "last_comparison_at": _time(mirror.last_comparison_at_seconds),
            "last_delay_seconds": mirror.last_delay_seconds,
            "files": mirror.files,
            "sent_bytes": mirror.sent_bytes,
            "deletes": mirror.deletes,
            "failed_files": mirror.failed_files,
            "refused_deletes": mirror.refused_deletes,
            "unwatched_folders": mirror.unwatched_folders,
            "last_error": _known(mirror.last_error, _error_document),
            "next_try_at": _time(mirror.next_try_at_seconds),
        }
    return document


def _pair_document(pair: PairStatus) -> Document:
    return {
        "generation": pair.generation,
        "last_publish_at": _time(pair.last_publish_at_seconds),
        "restorable_at": _time(pair.restorable_at_seconds),
        "backlog_bytes": pair.backlog_bytes,
        "last_error": _known(pair.last_error, _error_document),
        "next_try_at": _time(pair.next_try_at_seconds),
        "last_drill": _known(pair.last_drill, _drill_document),
    }


def _error_document(error: Failure) -> Document:
    return {
        "message": error.message,
        "hint": error.hint,
        "at": _time(error.at_seconds),
        "recovered_at": _time(error.recovered_at_seconds),
    }


def _drill_document(drill: Drill) -> Document:
    return {
        "at": _time(drill.at_seconds),
        "loss_seconds": drill.loss_seconds,
        "took_seconds": drill.took_seconds,
        "error": drill.error,
    }


def _database(name: str, document: Document) -> DatabaseStatus:
    return DatabaseStatus(
        name=name,
        shipping=_typed(document["shipping"], bool),
        last_checkpoint_at_seconds=_known(document["last_checkpoint_at"], _seconds),
        last_checkpoint_duration_seconds=_known(document["last_checkpoint_duration_seconds"], _number),
        last_error=_known(document["last_error"], _error),
        pinned_bytes=_known(document["pinned_bytes"], _count),
        free_bytes=_known(document["free_bytes"], _count),
        given_up=tuple(_text(what) for what in document["given_up"]),
        destinations=tuple(_pair(destination, value) for destination, value in document["destinations"].items()),
    )


def _pair(destination: str, document: Document) -> PairStatus:
    return PairStatus(
        destination=destination,
        generation=_known(document["generation"], _text),
        last_publish_at_seconds=_known(document["last_publish_at"], _seconds),
        restorable_at_seconds=_known(document["restorable_at"], _seconds),
        backlog_bytes=_known(document["backlog_bytes"], _count),
        last_error=_known(document["last_error"], _error),
        next_try_at_seconds=_known(document["next_try_at"], _seconds),
        last_drill=_known(document["last_drill"], _drill),
    )


def _mirror(name: str, destination: str, document: Document) -> MirrorStatus:
    return MirrorStatus(
        mirror=name,
        destination=destination,
        backlog_files=_known(document["backlog_files"], _count),
        last_comparison_at_seconds=_known(document["last_comparison_at"], _seconds),
        last_delay_seconds=_known(document["last_delay_seconds"], _number),
        files=_count(document["files"]),
        sent_bytes=_count(document["sent_bytes"]),
        deletes=_count(document["deletes"]),
        failed_files=_count(document["failed_files"]),
        refused_deletes=_count(document["refused_deletes"]),
        unwatched_folders=_known(document["unwatched_folders"], _count),
        last_error=_known(document["last_error"], _error),
        next_try_at_seconds=_known(document["next_try_at"], _seconds),
    )


def _error(document: Document) -> Failure:
    return Failure(
        message=_text(document["message"]),
        hint=_text(document["hint"]),
        at_seconds=_seconds(document["at"]),
        recovered_at_seconds=_known(document["recovered_at"], _seconds),
    )


def _drill(document: Document) -> Drill:
    return Drill(
        at_seconds=_seconds(document["at"]),
        loss_seconds=_known(document["loss_seconds"], _number),
        took_seconds=_number(document["took_seconds"]),
        error=_known(document["error"], _text),
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else format_moment(datetime.fromtimestamp(seconds, UTC))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _number(value: float) -> float:
    return float(_typed(value, int, float))


def _count(value: int) -> int:
    return _typed(value, int)


def _text(value: str) -> str:
    return _typed(value, str)


def _typed(value: _Value, *kinds: type) -> _Value:
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r} is no {kinds[0].__name__}")
    return value


def _known(value: _From | None, convert: Callable[[_From], _To]) -> _To | None:
    return None if value is None else convert(value)
