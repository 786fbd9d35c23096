"""Ids, links and names that come from a destination are read strictly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.replica.layout import (
    GenerationId,
    ReplicaLayout,
    link_text,
    parse_database_file,
    parse_id,
    parse_link_text,
)

LAST_MILLISECONDS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
ids = st.builds(GenerationId, st.integers(0, LAST_MILLISECONDS))


def test_an_id_is_the_utc_time_in_milliseconds() -> None:
    moment = datetime(2026, 11, 22, 16, 30, 0, 123999, tzinfo=timezone(timedelta(hours=1)))
    assert str(GenerationId.at(moment)) == "20261122T153000.123Z"
    assert GenerationId.parse("20261122T153000.123Z").time == datetime(2026, 11, 22, 15, 30, 0, 123000, tzinfo=UTC)


@given(ids)
def test_an_id_comes_back_from_its_text(generation: GenerationId) -> None:
    assert GenerationId.parse(str(generation)) == generation
    assert parse_link_text(link_text(generation)) == generation


@given(ids, ids)
def test_ids_order_as_their_texts(first: GenerationId, second: GenerationId) -> None:
    assert (first < second) == (str(first) < str(second))


@given(st.text() | st.from_regex(r"\A\d{8}T\d{6}\.\d{3}Z\Z"))
def test_whatever_parses_is_written_in_the_same_way(text: str) -> None:
    generation = parse_id(text)
    assert generation is None or str(generation) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20261122T153000Z",
        "20261122T153000.123",
        "20261122T153000.123Z\n",
        " 20261122T153000.123Z",
        "20261322T153000.123Z",
        "20261122T153060.123Z",
        "19691231T235959.999Z",
        "٢0261122T153000.123Z",
        "20261122T153000.123Z/..",
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert parse_id(text) is None


@given(ids, st.none() | ids)
def test_after_is_strictly_above_the_previous(generation: GenerationId, previous: GenerationId | None) -> None:
    if previous == GenerationId(LAST_MILLISECONDS):
        with pytest.raises(ValueError, match="outside the years"):
            generation.after(previous)
        return
    following = generation.after(previous)
    assert following >= generation
    assert previous is None or following > previous
    if previous is None or previous < generation:
        assert following == generation


@pytest.mark.parametrize(
    "text",
    [
        "generations",
        "generations/",
        "generations/../../etc",
        "/srv/generations/20261122T153000.123Z",
        "./generations/20261122T153000.123Z",
        "generations/20261122T153000.123Z/",
        "generations//20261122T153000.123Z",
        "incoming/20261122T153000.123Z",
    ],
)
def test_a_link_elsewhere_names_no_generation(text: str) -> None:
    assert parse_link_text(text) is None


def test_paths_are_those_that_are_documented() -> None:
    layout = ReplicaLayout("chat")
    generation = GenerationId.parse("20261122T153000.123Z")
    assert str(layout.generation(generation)) == "chat/generations/20261122T153000.123Z"
    assert str(layout.upload(generation)) == "chat/incoming/20261122T153000.123Z"
    assert str(layout.current_link) == "chat/checkpoint_current"
    assert str(layout.previous_link) == "chat/checkpoint_prev"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_a_database_is_one_folder(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        ReplicaLayout(name)


@pytest.mark.parametrize("name", ["../000001.sst", "/000001.sst", "000001.sst/", "LOCK", "9" * 5000 + ".sst", ""])
def test_unsafe_names_are_no_database_files(name: str) -> None:
    assert parse_database_file(name) is None
