"""What is tried again, how often, and what is not."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.destination.interface import Append, Upload
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    DestinationError,
    DestinationTimeoutError,
    InterruptedTransferError,
)
from tests.support.memory_destination import MemoryDestination
from tests.support.observer import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicator.destination.interface import Destination, Entry

_FILE = PurePosixPath("file")


class Trouble:
    """A destination that raises the given errors, one for each step, before it works.

    `path` restricts it to steps on that path. Each connection is counted and is closed before the next.
    """

    def __init__(self, *errors: DestinationError, path: str | None = None) -> None:
        self.errors = list(errors)
        self.told: list[tuple[DestinationError, int, float]] = []
        self.connections = 0
        self.steps: list[str] = []
        self._path = path
        self._memory = MemoryDestination(before_change=self._step)
        #: Is called before each error.
        self.meanwhile: Callable[[], None] = lambda: None

    def _step(self, action: str, path: PurePosixPath) -> None:
        self.steps.append(f"{action} {path}")
        if self.errors and self._path in {None, str(path)}:
            self.meanwhile()
            raise self.errors.pop(0)

    def connect(self) -> Destination:
        self.connections += 1
        return self._memory

    def retrying(self, attempts: int = 4, stop: threading.Event | None = None) -> RetryingDestination:
        # The fake outlives its connections.
        self._memory.close = lambda: None  # type: ignore[method-assign]
        return RetryingDestination(
            self.connect,
            label="place",
            policy=RetryPolicy(attempts, 0.001, 0.002),
            stop=stop,
            on_retry=lambda error, attempt, wait: self.told.append((error, attempt, wait)),
        )


def uploads_of(tmp_path: Path, count: int) -> list[Upload]:
    for number in range(count):
        (tmp_path / f"{number}").write_text(f"{number}")
    return [Upload(tmp_path / f"{n}", PurePosixPath(f"{n}"), len(str(n))) for n in range(count)]


def lost() -> ConnectionLostError:
    return ConnectionLostError("lost")


def test_nothing_is_connected_before_it_is_needed() -> None:
    trouble = Trouble()
    place = trouble.retrying()
    assert place.label == "place"
    assert trouble.connections == place.session == 0
    place.write_bytes(_FILE, b"1")
    place.write_bytes(_FILE, b"2")
    assert trouble.connections == 1


def test_a_transient_error_is_tried_again_on_a_new_connection() -> None:
    errors = [lost(), DestinationTimeoutError("late"), lost()]
    trouble = Trouble(*errors)
    place = trouble.retrying()
    place.write_bytes(_FILE, b"data")
    assert place.read_bytes(_FILE, limit_bytes=4) == b"data"
    assert trouble.connections == place.session == 4
    assert [(error, attempt) for error, attempt, _ in trouble.told] == list(zip(errors, [1, 2, 3], strict=True))
    assert all(0 < wait <= 0.003 for _, _, wait in trouble.told)


def test_appends_and_copied_ranges_are_made_again_in_whole() -> None:
    other = PurePosixPath("other")
    items = [Append(_FILE, 0, b"data"), Append(other, 0, b"line")]
    trouble = Trouble(lost(), path="other")
    place = trouble.retrying()
    place.append(items)
    trouble.errors.append(lost())
    place.copy_range(_FILE, other, offset=0, end=2)
    assert place.read_bytes(_FILE, limit_bytes=4) == b"data"
    assert place.read_bytes(other, limit_bytes=4) == b"dane"
    assert trouble.steps == ["append file", "append other"] * 2 + ["copy_range other"] * 2


def test_the_last_error_is_raised_when_it_was_tried_often_enough() -> None:
    errors = [lost() for _ in range(9)]
    trouble = Trouble(*errors)
    with pytest.raises(ConnectionLostError) as caught:
        trouble.retrying(attempts=4).write_bytes(_FILE, b"")
    assert caught.value is errors[3]
    assert len(trouble.told) == 3


def test_a_permanent_error_goes_through() -> None:
    trouble = Trouble(AccessDeniedError("no"))
    with pytest.raises(AccessDeniedError):
        trouble.retrying().write_bytes(_FILE, b"")
    assert trouble.connections == 1
    assert trouble.told == []


def test_failing_to_connect_counts_as_a_try() -> None:
    tries = 0

    def connect() -> Destination:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise lost()
        return MemoryDestination()

    RetryingDestination(connect, label="", policy=RetryPolicy(3, 0.001, 0.001)).write_bytes(_FILE, b"")
    assert tries == 3


def test_an_upload_goes_on_with_what_is_not_done(tmp_path: Path) -> None:
    trouble = Trouble(lost(), lost(), path="2")
    observer = RecordingObserver()
    trouble.retrying().upload(uploads_of(tmp_path, 4), observer)
    assert [name for name, _ in observer.done] == ["0", "1", "2", "3"]
    assert trouble.steps == [f"upload {name}" for name in (0, 1, 2, 2, 2, 3)]


def test_each_finished_file_starts_the_count_anew(tmp_path: Path) -> None:
    uploads = uploads_of(tmp_path, 20)
    steps = 0

    def fail_every_other_step(_action: str, _path: PurePosixPath) -> None:
        nonlocal steps
        steps += 1
        if steps % 2 == 0:
            raise lost()

    memory = MemoryDestination(before_change=fail_every_other_step)
    memory.close = lambda: None  # type: ignore[method-assign]
    observer = RecordingObserver()
    place = RetryingDestination(lambda: memory, label="", policy=RetryPolicy(2, 0.001, 0.001))
    place.upload(uploads, observer)
    assert len(observer.done) == len(uploads)


def test_a_file_that_was_skipped_is_not_tried_again(tmp_path: Path) -> None:
    uploads = [item._replace(optional=True) for item in uploads_of(tmp_path, 4)]
    uploads[1].source.unlink()
    trouble = Trouble(lost(), path="2")
    observer = RecordingObserver()
    trouble.retrying().upload(uploads, observer)
    assert [name for name, _ in observer.done] == ["0", "2", "3"]
    assert [name for name, _ in observer.skipped] == ["1"]
    assert trouble.steps == [f"upload {name}" for name in (0, 1, 2, 2, 3)]


def folders_of(place: Destination, count: int) -> list[str]:
    folders = [f"{number}" for number in range(count)]
    place.make_folders([PurePosixPath(folder) for folder in folders])
    return folders


def test_a_listing_goes_on_with_what_was_not_given() -> None:
    trouble = Trouble()
    place = trouble.retrying()
    folders = folders_of(place, 4)
    trouble.errors += [lost(), lost()]
    trouble.steps.clear()
    results = place.list_folders(iter([*folders, "missing", folders[0]]))
    wanted: list[tuple[str, list[Entry] | None]] = [(folder, []) for folder in folders]
    wanted += [("missing", None), (folders[0], [])]
    assert [next(results), next(results)] == wanted[:2]
    trouble.errors.append(lost())
    assert list(results) == wanted[2:]
    assert trouble.connections == 4
    assert trouble.steps == [f"list {name}" for name in (0, 0, 0, 1, 2, 2, 3, "missing", 0)]


def test_a_listing_goes_on_after_another_call_lost_the_connection() -> None:
    trouble = Trouble()
    place = trouble.retrying()
    folders = folders_of(place, 3)
    results = place.list_folders(folders)
    assert next(results) == (folders[0], [])
    trouble.errors.append(lost())
    place.write_bytes(PurePosixPath("file"), b"")
    assert list(results) == [(folder, []) for folder in folders[1:]]


def test_a_listing_that_gets_nowhere_ends() -> None:
    trouble = Trouble()
    place = trouble.retrying(attempts=4)
    folders = folders_of(place, 3)
    results = place.list_folders(folders)
    next(results)
    errors = [lost() for _ in range(9)]
    trouble.errors += errors
    with pytest.raises(ConnectionLostError) as caught:
        next(results)
    assert caught.value is errors[3]


def test_an_upload_that_gets_nowhere_ends(tmp_path: Path) -> None:
    trouble = Trouble(*(lost() for _ in range(99)), path="2")
    observer = RecordingObserver()
    with pytest.raises(ConnectionLostError):
        trouble.retrying(attempts=4).upload(uploads_of(tmp_path, 4), observer)
    assert [name for name, _ in observer.done] == ["0", "1"]
    assert trouble.steps.count("upload 2") == 5  # the one that got something done, and four that did not


def test_stopping_ends_the_wait() -> None:
    stop = threading.Event()
    stop.set()
    trouble = Trouble(lost(), lost())
    place = RetryingDestination(trouble.connect, label="place", policy=RetryPolicy(5, 600, 600), stop=stop)
    with pytest.raises(InterruptedTransferError):
        place.write_bytes(_FILE, b"")


def test_closing_ends_trying() -> None:
    trouble = Trouble(*(lost() for _ in range(9)))
    place = RetryingDestination(
        trouble.connect, label="", policy=RetryPolicy(9, 600, 600), on_retry=lambda *_: place.close()
    )
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="closed"):
            place.write_bytes(_FILE, b"")
    assert trouble.connections == 1


def test_what_is_broken_off_is_not_tried_again_and_the_next_call_connects_anew() -> None:
    trouble = Trouble(lost())
    place = trouble.retrying()
    place.make_folder(PurePosixPath("before"))
    trouble.errors = [lost(), lost()]
    trouble.meanwhile = place.break_off
    with pytest.raises(ConnectionLostError):
        place.write_bytes(_FILE, b"")
    assert len(trouble.errors) == 1
    trouble.meanwhile = lambda: None
    connections = trouble.connections
    place.write_bytes(_FILE, b"")
    assert trouble.connections == connections + 2  # for the call, and for what was tried again


def test_breaking_off_ends_the_wait_before_another_try() -> None:
    trouble = Trouble(*(lost() for _ in range(9)))
    place = RetryingDestination(
        trouble.connect, label="", policy=RetryPolicy(9, 600, 600), on_retry=lambda *_: place.break_off()
    )
    with pytest.raises(ConnectionLostError):
        place.write_bytes(_FILE, b"")
    assert trouble.connections == 2
