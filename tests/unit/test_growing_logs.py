"""Which logs may still grow."""

from __future__ import annotations

import pytest

from replicator.replica.growing_logs import growing_logs


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, set()),
        ({"000010.sst": 5, "CURRENT": 16}, set()),
        ({"000008.log": 5000}, {"000008.log"}),
        ({"000008.log": 0}, {"000008.log"}),
        ({"000008.log": 5000, "000014.log": 3000, "000020.sst": 1}, {"000014.log"}),
        ({"999999.log": 5000, "1000000.log": 3000}, {"1000000.log"}),
        ({"000008.log": 5000, "000010.log": 1000, "000014.log": 0}, {"000010.log", "000014.log"}),
        # As RocksDB leaves a new log with compression: nothing in it but a record that says so.
        ({"000010.log": 1000, "000014.log": 11}, {"000010.log", "000014.log"}),
    ],
)
def test_the_newest_and_the_one_before_until_the_newest_has_a_batch(
    sizes: dict[str, int], expected: set[str]
) -> None:
    assert growing_logs(sizes) == expected
