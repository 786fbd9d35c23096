"""pydantic, without its search for plugins, which reads what every installed package says of itself."""

from __future__ import annotations

from replicator.lazy_imports import replaced

with replaced("importlib.metadata", entry_points=lambda **_wanted: ()):
    import pydantic

    # The first validator of a process looks for them.
    pydantic.TypeAdapter(bool)

__all__ = ["pydantic"]
