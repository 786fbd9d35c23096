"""What a configuration that was read anew changes in a running service, and what needs a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.config.model import Config, DatabaseConfig, DestinationConfig, MirrorConfig, Section

#: By the names of the fields. All others need a restart.
_DATABASE: Final = frozenset({"interval_seconds", "ship_wal_seconds", "pin_budget_bytes", "min_free"})
_MIRROR: Final[frozenset[str]] = frozenset()
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

_Item = TypeVar("_Item", "DatabaseConfig", "MirrorConfig", "DestinationConfig")
_Values = TypeVar("_Values", bound="Section")


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
    config = old.model_copy(
        update={
            "databases": found.sections("database", old.databases, new.databases, _DATABASE),
            "mirrors": found.sections("mirror", old.mirrors, new.mirrors, _MIRROR),
            "destinations": found.sections("destination", old.destinations, new.destinations, _DESTINATION),
            "service": found.section("service", old.service, new.service, _SERVICE),
        }
    )
    return Changes(config, tuple(found.changed), (*found.needs_restart, *found.come_and_gone))


class _Comparison:
    def __init__(self) -> None:
        self.changed: list[str] = []
        self.needs_restart: list[str] = []
        self.come_and_gone: list[str] = []

    def sections(
        self, kind: str, old: Sequence[_Item], new: Sequence[_Item], changeable: frozenset[str]
    ) -> tuple[_Item, ...]:
        """Return the sections of a kind that are in force: those of `old`, as `section` says."""
        before, after = {item.name: item for item in old}, {item.name: item for item in new}
        self.come_and_gone += [f"{kind} {name}" for name in sorted(before.keys() ^ after.keys())]
        return tuple(
            self.section(f"{kind} {name}", item, after.get(name, item), changeable)
            for name, item in before.items()
        )

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
