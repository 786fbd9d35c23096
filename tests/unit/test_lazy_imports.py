"""Modules that are loaded when they are used, or seem not to be there."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from replicator.lazy_imports import loaded_on_use, missing, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

LIBRARY = "library_for_a_test"
PART = "part_for_a_test"


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library that imports a part, which it can do without."""
    (tmp_path / f"{LIBRARY}.py").write_text(
        f"try:\n    import {PART} as part\nexcept ImportError:\n    part = None\n"
    )
    (tmp_path / f"{PART}.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in (LIBRARY, PART):
        sys.modules.pop(name, None)


def test_a_part_is_loaded_when_something_of_it_is_used() -> None:
    with loaded_on_use(PART):
        library = importlib.import_module(LIBRARY)
    assert PART not in sys.modules
    assert library.part.answer == 42
    assert PART in sys.modules
    with pytest.raises(AttributeError):
        _ = library.part.question


def test_a_part_that_seems_to_be_missing_is_there_afterwards() -> None:
    with missing(PART):
        library = importlib.import_module(LIBRARY)
    assert library.part is None
    assert importlib.import_module(PART).answer == 42


def test_another_part_is_there_only_for_a_while() -> None:
    with replaced(PART, answer=43):
        library = importlib.import_module(LIBRARY)
    assert library.part.answer == 43
    assert importlib.import_module(PART).answer == 42


@pytest.mark.parametrize("context", [loaded_on_use, missing, replaced])
def test_what_has_been_loaded_already_stays(context: Callable[[str], AbstractContextManager[None]]) -> None:
    part = importlib.import_module(PART)
    with context(PART):
        library = importlib.import_module(LIBRARY)
    assert library.part is part
    assert sys.modules[PART] is part
