"""What libraries load and this program uses seldom or never, which is a third of what there is to load.

All are for the first import of a library, and change nothing of what has been loaded already.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loaded_on_use(name: str) -> Iterator[None]:
    """Within the context, whoever imports the module gets a stand-in, which loads it when something of it is used.

    `from NAME import ...` is such a use, and there must be none of them before the context ends.
    """
    with _in_its_place(name, _StandIn(name)):
        yield


@contextmanager
def missing(name: str) -> Iterator[None]:
    """Within the context, a module that a library can do without seems not to be installed."""
    with _in_its_place(name, None):
        yield


@contextmanager
def replaced(name: str, **attributes: object) -> Iterator[None]:
    """Within the context, the module has nothing but these attributes."""
    other = ModuleType(name)
    vars(other).update(attributes)
    with _in_its_place(name, other):
        yield


@contextmanager
def _in_its_place(name: str, other: ModuleType | None) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    # With None the import fails: section 5.3.1 of the language reference.
    sys.modules[name] = other  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


class _StandIn(ModuleType):
    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(import_module(self.__name__), attribute)
