"""Which databases the engine can open, and so when its failure says something."""

from __future__ import annotations

import pytest

from replicator.checkpoint.engine_reach import (
    BYTEWISE,
    ENGINE_VERSION,
    REVERSE_BYTEWISE,
    EngineReach,
    engine_reach,
    unknown_comparators,
)


@pytest.mark.parametrize("version", [ENGINE_VERSION, "9.8.0", "9.8.99", "9.8", "9.7.4", "6.29.5", "", "unknown"])
def test_what_it_opens(version: str) -> None:
    assert engine_reach(version, [BYTEWISE]) is EngineReach.OPENS
    assert engine_reach(version, [BYTEWISE, REVERSE_BYTEWISE]) is EngineReach.OPENS


@pytest.mark.parametrize("version", ["9.9.0", "9.10.0", "10.0.1", "10.7.5", "11.9.0", "100.1"])
def test_a_newer_version_may_be_beyond_it(version: str) -> None:
    assert engine_reach(version, [BYTEWISE]) is EngineReach.MAY_OPEN


@pytest.mark.parametrize("version", ["6.29.5", "9.8.4", "11.9.0"])
@pytest.mark.parametrize("comparator", ["idx-comparator", "leveldb.BytewiseComparator.u64ts", ""])
def test_an_order_that_only_the_application_knows_is_beyond_it(version: str, comparator: str) -> None:
    assert engine_reach(version, [BYTEWISE, comparator]) is EngineReach.NEVER_OPENS


def test_comparators_are_named_once() -> None:
    assert unknown_comparators(["z", BYTEWISE, "a", "z", REVERSE_BYTEWISE]) == ("a", "z")
