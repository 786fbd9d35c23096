"""Durations, sizes, rates and shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("100ms", 0.1), ("5m", 300.0), ("1h", 3600.0), ("1d", 86400.0), ("1.5h", 5400.0), ("2 s", 2.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("2GiB", 2 * 1024**3), ("20MiB", 20 * 1024**2), ("1.5KiB", 1536), ("1TB", 10**12), ("7kB", 7000)],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size_bytes(text) == size


def test_rates_and_shares() -> None:
    assert units.parse_rate_bytes_per_second("20MiB/s") == 20 * 1024**2
    assert units.parse_share("5%") == 0.05
    assert units.parse_share("100%") == 1.0


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 minutes", "-1s", "1e9s", "5M", "5s ", "inf s", "\u0665s", "1" * 99 + "s"]
)
def test_a_bad_duration_tells_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a duration; .*"100ms", "30s", "5m" or "1d"'):
        units.parse_duration_seconds(text)


@pytest.mark.parametrize("text", ["", "2", "2G", "2gib", "-2GiB", "GiB", "2GiB/s"])
def test_a_bad_size_tells_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a size; .*"2GiB"'):
        units.parse_size_bytes(text)


@pytest.mark.parametrize("text", ["", "20MiB", "20/s", "20MiB/m", "/s", "20MiB/s/s"])
def test_a_bad_rate_tells_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a rate; .*"20MiB/s"'):
        units.parse_rate_bytes_per_second(text)


@pytest.mark.parametrize("text", ["", "5", "%", "101%", "-5%", "0.05"])
def test_a_bad_share_tells_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match='"5%"'):
        units.parse_share(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (20 * 1024**2, "20.0 MiB"),
        (512 * 1024**3, "512 GiB"),
        (5000 * 1024**4, "5000 TiB"),
    ],
)
def test_sizes_are_written_shortly(size: int, text: str) -> None:
    assert units.format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (59.96, "1 m 00 s"),
        (307, "5 m 07 s"),
        (3599.7, "1 h 00 m"),
        (7500, "2 h 05 m"),
        (3 * 86400 + 4 * 3600, "3 d 04 h"),
    ],
)
def test_durations_are_written_with_two_units(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@given(st.integers(0, 10**9), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    power = ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert units.parse_size_bytes(f"{number}{unit}") == number * 1024**power


@given(st.integers(0, 2**60))
def test_a_written_size_is_right_to_half_a_percent(size: int) -> None:
    number, unit = units.format_size(size).split(" ")
    assert abs(units.parse_size_bytes(f"{number}{unit}") - size) <= size * 0.005


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (
        units.parse_duration_seconds,
        units.parse_size_bytes,
        units.parse_rate_bytes_per_second,
        units.parse_share,
    ):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert ";" in str(error)
