"""What a configuration that was read anew changes in a running service, and what needs a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.config.model import Config, Section

#: By the names of the fields. All others need a restart.
_DATABASE: Final = frozenset({"interval_seconds", "ship_wal_seconds", "pin_budget_bytes", "min_free"})
_DESTINATION: Final = frozenset({"keep", "limit_bytes_per_second"})
_SERVICE: Final = frozenset(
    {
        "max_lag_seconds",
        "on_publish",
        "on_failure",
        "hook_timeout_seconds",
        "heartbeat_url",
        "heartbeat_interval_seconds",
        "log_format",
        "log_level",
    }
)
#: What can be changed, but neither begun nor ended: there is a thread for it, or there is none.
_NEEDS_BOTH: Final = frozenset({"ship_wal_seconds", "limit_bytes_per_second"})

_Item = TypeVar("_Item", bound="_Named")
_Values = TypeVar("_Values", bound="Section")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Changes:
    """`config` is what is in force now: the old one, and of the new one what could be changed.

    `changed` are the keys that were, `needs_restart` those that were not, as in `database app.interval`.
    """

    config: Config
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


def changes_between(old: Config, new: Config) -> Changes:
    """Compare two configurations, section by section of the same name."""
    found = _Comparison()
    databases = [
        found.section(f"database {old_one.name}", old_one, new_one or old_one, _DATABASE)
        for old_one in old.databases
        for new_one in [_by_name(new.databases, old_one.name)]
    ]
    destinations = [
        found.section(
            f"destination {item.name}", item, _by_name(new.destinations, item.name) or item, _DESTINATION
        )
        for item in old.destinations
    ]
    service = found.section("service", old.service, new.service, _SERVICE)
    config = old.model_copy(
        update={"databases": tuple(databases), "destinations": tuple(destinations), "service": service}
    )
    come_and_gone = [
        *_come_and_gone("database", old.databases, new.databases),
        *_come_and_gone("destination", old.destinations, new.destinations),
    ]
    return Changes(config, tuple(found.changed), (*found.needs_restart, *come_and_gone))


class _Comparison:
    def __init__(self) -> None:
        self.changed: list[str] = []
        self.needs_restart: list[str] = []

    def section(self, title: str, old: _Values, new: _Values, changeable: frozenset[str]) -> _Values:
        """Return the section that is in force: `old`, with those of the changed values that are `changeable`."""
        updated: dict[str, object] = {}
        for name, field in type(old).model_fields.items():
            before, after = getattr(old, name), getattr(new, name)
            if before == after:
                continue
            key = f"{title}.{field.alias or name}"
            if name in changeable and not (name in _NEEDS_BOTH and None in {before, after}):
                updated[name] = after
                self.changed.append(key)
            else:
                self.needs_restart.append(key)
        return old.model_copy(update=updated)


def _come_and_gone(section: str, old: Sequence[_Named], new: Sequence[_Named]) -> list[str]:
    before, after = {item.name for item in old}, {item.name for item in new}
    return [f"{section} {name}" for name in sorted(before ^ after)]


def _by_name(items: Sequence[_Item], name: str) -> _Item | None:
    return next((item for item in items if item.name == name), None)
