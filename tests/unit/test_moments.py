"""Instants as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.moments import format_moment, parse_moment

NOW = datetime(2026, 11, 24, 22, 1, 2, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T22:01:02Z", datetime(2026, 11, 24, 22, 1, 2, tzinfo=UTC)),
        ("2026-11-24t22:01:02z", datetime(2026, 11, 24, 22, 1, 2, tzinfo=UTC)),
        ("2026-11-24 22:01:02Z", datetime(2026, 11, 24, 22, 1, 2, tzinfo=UTC)),
        ("2026-11-24T22:01:02.5Z", datetime(2026, 11, 24, 22, 1, 2, 500000, tzinfo=UTC)),
        ("2026-11-24T22:01:02.123456789Z", datetime(2026, 11, 24, 22, 1, 2, 123456, tzinfo=UTC)),
        ("2026-11-25T00:01:02+02:00", datetime(2026, 11, 24, 22, 1, 2, tzinfo=UTC)),
        ("2026-11-24T16:31:02-05:30", datetime(2026, 11, 24, 22, 1, 2, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    found = parse_moment(text, NOW)
    assert found == expected
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("10 minutes ago", timedelta(minutes=10)),
        ("1 minute ago", timedelta(minutes=1)),
        ("1 second ago", timedelta(seconds=1)),
        ("1.5 hours ago", timedelta(minutes=90)),
        ("2 days ago", timedelta(days=2)),
        ("1 week ago", timedelta(weeks=1)),
        ("3weeks ago", timedelta(weeks=3)),
        ("90s ago", timedelta(seconds=90)),
        ("100 ms ago", timedelta(milliseconds=100)),
        ("1d  ago", timedelta(days=1)),
        ("0s ago", timedelta(0)),
    ],
)
def test_how_long_ago(text: str, ago: timedelta) -> None:
    assert parse_moment(text, NOW) == NOW - ago


@pytest.mark.parametrize("text", ["2026-11-24T22:01:02", "2026-11-24 22:01:02.5"])
def test_a_time_without_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no time zone: put Z behind it .*\+02:00"):
        parse_moment(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "now",
        "10 minutes",
        "minutes ago",
        "-10 minutes ago",
        "10 parsecs ago",
        "ago",
        "1 month ago",
        "999999999999999 weeks ago",
        "2026-11-24",
        "2026-11-24T22:01Z",
        "2026-11-24T22:01:02Z ",
        "2026-13-24T22:01:02Z",
        "2026-11-24T22:01:61Z",
        "2026-11-24T22:01:02+99:00",
        "0001-01-01T00:00:00+23:00",
        "1764021662",
        "\u0662026-11-24T22:01:02Z",
    ],
)
def test_anything_else_tells_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r'; write a time such as "2026-11-24T22:01:02Z", or .*"10 minutes ago"'):
        parse_moment(text, NOW)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_can_be_given_again(moment: datetime) -> None:
    assert parse_moment(format_moment(moment), NOW) == moment


def test_it_is_written_in_utc() -> None:
    zone = timezone(timedelta(hours=2))
    assert format_moment(datetime(2026, 11, 25, 0, 1, 2, 123456, tzinfo=zone)) == "2026-11-24T22:01:02.123456Z"


@given(st.text() | st.from_regex(r"[0-9]{1,20} ?[a-z]{1,7} ago"))
def test_any_text_is_an_instant_or_a_value_error(text: str) -> None:
    try:
        assert parse_moment(text, NOW) <= NOW
    except ValueError as error:
        assert ";" in str(error)
