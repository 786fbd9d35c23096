"""Every kind of destination, empty, for each test."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.destinations import KINDS, destinations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.destination.interface import Destination

_numbers = count()


@pytest.fixture(params=KINDS, scope="module")
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Path], Destination]]:
    with destinations_of(request.param) as make:
        yield make


@pytest.fixture
def place(make: Callable[[str, Path], Destination], tmp_path: Path) -> Iterator[Destination]:
    folder = tmp_path / "place"
    folder.mkdir()
    with make(f"place{next(_numbers)}", folder) as destination:
        yield destination


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    return folder
