"""A batch that several connections work on: what is given out, who is told, how it ends."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.interface import FolderUpload
from replicator.destination.shared_batch import FolderBatch, TransferBatch
from replicator.errors import ConnectionLostError, InterruptedTransferError, NoSpaceError
from tests.contract.test_small_files import FolderRecorder
from tests.support.observer import RecordingObserver


def batch_of(sizes_bytes: list[int], observer: RecordingObserver | None = None) -> TransferBatch[int]:
    return TransferBatch(range(len(sizes_bytes)), sizes_bytes, observer or RecordingObserver(), label="place")


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 5), st.integers(0, 200))
def test_everything_is_given_out_once_in_order_and_in_small_pieces(
    sizes_bytes: list[int], most_items: int, most_bytes: int
) -> None:
    batch = batch_of(sizes_bytes)
    given_out: list[int] = []
    while taken := batch.take(most_items=most_items, most_bytes=most_bytes):
        assert len(taken) <= most_items
        assert len(taken) == 1 or sum(sizes_bytes[item] for item in taken) <= most_bytes
        given_out += taken
    assert given_out == list(range(len(sizes_bytes)))
    batch.end()


def test_after_a_failure_nothing_is_given_out_and_the_first_error_counts() -> None:
    batch = batch_of([1, 1, 1])
    assert list(zip(batch.items(), range(1), strict=False)) == [(0, 0)]
    assert not batch.stop_requested()
    first = NoSpaceError("full")
    batch.fail(first)
    batch.fail(ConnectionLostError("gone"))
    assert batch.stop_requested()
    assert not batch.broke_off
    assert list(batch.items()) == []
    with pytest.raises(NoSpaceError) as caught:
        batch.end()
    assert caught.value is first


def test_a_stop_leaves_the_rest_and_is_told() -> None:
    observer = RecordingObserver(stop_after=1)
    batch = batch_of([1, 1], observer)
    assert batch.take(most_items=1, most_bytes=1) == (0,)
    batch.file_done("first", "digest")  # type: ignore[arg-type] # any name
    assert batch.take(most_items=1, most_bytes=1) == ()
    with pytest.raises(InterruptedTransferError):
        batch.end()


def test_folders_that_were_taken_and_not_sent_are_told_too() -> None:
    # Who asked for them ahead may hear of the stop before their turn comes.
    observer = FolderRecorder()
    uploads = [FolderUpload("here", name, (), f"{name}.part") for name in "abc"]
    batch = FolderBatch(range(3), [1, 1, 1], observer, label="place", uploads=uploads)
    assert batch.take(most_items=3, most_bytes=3) == (0, 1, 2)
    batch.folder_done(1, [])
    batch.folder_done(0, ["left"])
    with pytest.raises(InterruptedTransferError):
        batch.end()
    batch.folder_done(2, [])
    batch.end()
    assert observer.left == {"a": ["left"], "b": [], "c": []}


def test_a_stop_after_the_last_file_is_none() -> None:
    batch = batch_of([1], RecordingObserver(stop_after=0))
    assert batch.stop_requested()
    assert batch.take(most_items=1, most_bytes=1) == ()
    done = batch_of([], RecordingObserver(stop_after=0))
    done.end()


def test_the_end_waits_for_those_who_help() -> None:
    batch = batch_of([1, 1])
    assert batch.enter()
    assert list(batch.items()) == [0, 1]
    ended = threading.Event()

    def end() -> None:
        batch.end()
        ended.set()

    waiting = threading.Thread(target=end)
    waiting.start()
    assert not ended.wait(0.05)
    batch.leave()
    waiting.join()
    assert ended.is_set()


def test_nobody_begins_to_help_when_nothing_is_left() -> None:
    batch = batch_of([1])
    assert list(batch.items()) == [0]
    assert not batch.enter()
    batch.end()
    late = batch_of([])
    late.end()
    assert not late.enter()
    interrupted = batch_of([1])
    with pytest.raises(InterruptedTransferError):
        interrupted.end()
    assert not interrupted.enter()


def test_what_is_no_error_of_a_transfer_breaks_it_off() -> None:
    batch = batch_of([1])
    batch.fail(KeyboardInterrupt())
    assert batch.broke_off
    with pytest.raises(KeyboardInterrupt):
        batch.end()


def test_the_observer_is_told_by_one_thread_at_a_time() -> None:
    inside = threading.Semaphore(1)
    overlaps = 0

    def on_bytes(_: int) -> None:
        nonlocal overlaps
        if not inside.acquire(blocking=False):
            overlaps += 1
        else:
            threading.Event().wait(0.001)
            inside.release()

    observer = RecordingObserver(on_bytes=on_bytes)
    batch = batch_of([], observer)

    def move() -> None:
        for _ in range(20):
            batch.bytes_moved(1)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (observer.moved_bytes, overlaps) == (80, 0)
