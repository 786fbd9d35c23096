"""The rate limiter, on a clock of its own."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.directory import DirectoryDestination
from replicator.destination.interface import Append
from replicator.destination.rate_limit import RateLimiter

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Time passes only when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(
    st.floats(min_value=1e3, max_value=1e9),
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_never_faster_than_allowed_by_more_than_the_burst(
    bytes_per_second: float, asked: list[tuple[int, float]]
) -> None:
    clock = Clock()
    limiter = RateLimiter(bytes_per_second, clock=clock, sleep=clock.sleep)
    start = clock.now
    moved_bytes = 0
    for count_bytes, pause_seconds in asked:
        limiter.acquire(count_bytes)
        moved_bytes += count_bytes
        assert moved_bytes <= bytes_per_second * (clock.now - start + 0.1) * 1.001 + 1
        clock.now += pause_seconds


def test_as_fast_as_allowed() -> None:
    clock = Clock()
    limiter = RateLimiter(1000, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        limiter.acquire(50)
    assert clock.now == pytest.approx(1000.0 + 5.0 - 0.1)


def test_appends_to_a_folder_keep_to_the_rate(tmp_path: Path) -> None:
    clock = Clock()
    limiter = RateLimiter(50_000, clock=clock, sleep=clock.sleep)
    with DirectoryDestination(tmp_path, label="directory", limiter=limiter) as place:
        place.append([Append(PurePosixPath(name), 0, bytes(25_000)) for name in ("a", "b")])
    assert clock.now == pytest.approx(1000.0 + 1.0 - 0.1)


def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    limiter = RateLimiter(1000, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    before = clock.now
    limiter.acquire(1000)
    assert clock.now - before == pytest.approx(0.9)


@pytest.mark.parametrize(("rate", "chunk_bytes"), [(1, 4096), (1_000_000, 100_000)])
def test_pieces_are_small_against_the_rate(rate: float, chunk_bytes: int) -> None:
    assert RateLimiter(rate).chunk_bytes == chunk_bytes


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateLimiter(rate)
