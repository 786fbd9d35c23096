"""What a new configuration changes at once, and what it needs a restart for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.config.changes import changes_between
from replicator.config.model import Config, DatabaseConfig, DestinationConfig, MirrorConfig, ServiceConfig

if TYPE_CHECKING:
    from pydantic import BaseModel


def config(
    *,
    database: dict[str, object] | None = None,
    mirror: dict[str, object] | None = None,
    destination: dict[str, object] | None = None,
    **service: object,
) -> Config:
    return Config.model_validate(
        {
            "database": [{"name": "app", "path": "/db", "checkpoint_root": "/root", **(database or {})}],
            "mirror": [{"name": "media", "path": "/media", **(mirror or {})}],
            "destination": [{"name": "here", "url": "file:///here", **(destination or {})}],
            "service": service,
        }
    )


#: Of every key a value that is not the one of `config`.
OTHER_VALUES: dict[str, dict[str, object]] = {
    "database": {
        "name": "other",
        "path": "/other",
        "checkpoint_root": "/other",
        "interval": "7m",
        "ship_wal": "7s",
        "pin_budget": "7GiB",
        "producer": "external",
        "verify": "off",
        "min_free": "7%",
        "destinations": ["here"],
    },
    "mirror": {
        "name": "other",
        "path": "/other",
        "exclude": ["*.tmp"],
        "quiet": "7s",
        "max_delay": "7m",
        "rescan": "7h",
        "delete": False,
        "max_delete": "7%",
        "destinations": ["here"],
    },
    "destination": {
        "name": "other",
        "url": "file:///other",
        "identity_file": "/other",
        "known_hosts": "/other",
        "limit": "7MiB/s",
        "connections": 7,
        "compression": True,
        "timeout": "7s",
        "keep": {"last": 7},
        "reupload": True,
    },
    "service": {
        "state_dir": "/other",
        "metrics": "127.0.0.1:7",
        "drill": "7d",
        "drill_folder": "/other",
        "max_lag": "7m",
        "on_publish": ["other"],
        "on_failure": ["other"],
        "hook_timeout": "7s",
        "heartbeat_url": "https://other/",
        "heartbeat_interval": "7m",
        "log_format": "json",
        "log_level": "debug",
    },
}
TITLES = {
    "database": "database app",
    "mirror": "mirror media",
    "destination": "destination here",
    "service": "service",
}
SECTIONS: dict[str, type[BaseModel]] = {
    "database": DatabaseConfig,
    "mirror": MirrorConfig,
    "destination": DestinationConfig,
    "service": ServiceConfig,
}


def test_every_key_is_thought_of() -> None:
    keys = {
        section: {field.alias or name for name, field in model.model_fields.items()}
        for section, model in SECTIONS.items()
    }
    assert {section: set(values) for section, values in OTHER_VALUES.items()} == keys
    assert {field.alias or name for name, field in Config.model_fields.items()} == set(SECTIONS)


@pytest.mark.parametrize(
    ("section", "key"),
    [(section, key) for section, values in OTHER_VALUES.items() for key in values if key != "name"],
)
def test_every_key_is_in_force_at_once_or_said_to_need_a_restart(section: str, key: str) -> None:
    values = {key: OTHER_VALUES[section][key]}
    new = config(**values) if section == "service" else config(**{section: values})  # type: ignore[arg-type]
    changes = changes_between(config(), new)
    named = (f"{TITLES[section]}.{key}",)
    if changes.changed:
        assert (changes.config, changes.changed, changes.needs_restart) == (new, named, ())
    else:
        assert (changes.config, changes.changed, changes.needs_restart) == (config(), (), named)


def test_nothing_changes_by_itself() -> None:
    changes = changes_between(config(), config())
    assert (changes.config, changes.changed, changes.needs_restart) == (config(), (), ())


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (config(), config(database={"interval": "1s"}), "database app.interval"),
        (config(), config(database={"ship_wal": "2s"}), "database app.ship_wal"),
        (config(), config(database={"pin_budget": "1GiB"}), "database app.pin_budget"),
        (config(), config(database={"min_free": "1%"}), "database app.min_free"),
        (config(), config(destination={"keep": {"last": 3}}), "destination here.keep"),
        (
            config(destination={"limit": "1MiB/s"}),
            config(destination={"limit": "2MiB/s"}),
            "destination here.limit",
        ),
        (config(), config(max_lag="1m"), "service.max_lag"),
        (config(), config(on_failure=["x"]), "service.on_failure"),
        (config(), config(heartbeat_url="https://x/"), "service.heartbeat_url"),
        (config(), config(log_level="debug"), "service.log_level"),
    ],
)
def test_what_is_changed_at_once(old: Config, new: Config, key: str) -> None:
    changes = changes_between(old, new)
    assert (changes.config, changes.changed, changes.needs_restart) == (new, (key,), ())


@pytest.mark.parametrize(
    ("new", "key"),
    [
        (config(database={"ship_wal": "off"}), "database app.ship_wal"),
        (config(database={"path": "/other"}), "database app.path"),
        (config(database={"verify": "off"}), "database app.verify"),
        (config(destination={"limit": "2MiB/s"}), "destination here.limit"),
        (config(destination={"url": "file:///there"}), "destination here.url"),
        (config(metrics="127.0.0.1:1"), "service.metrics"),
        (config(drill="1d"), "service.drill"),
    ],
)
def test_what_needs_a_restart_stays_as_it_was(new: Config, key: str) -> None:
    changes = changes_between(config(), new)
    assert (changes.config, changes.changed, changes.needs_restart) == (config(), (), (key,))


def test_sections_that_come_and_go_need_a_restart() -> None:
    new = config(
        database={"name": "new", "interval": "1s"}, mirror={"name": "other"}, destination={"keep": {"last": 1}}
    )
    changes = changes_between(config(), new)
    assert changes.config.databases == config().databases
    assert changes.config.mirrors == config().mirrors
    assert changes.changed == ("destination here.keep",)
    assert changes.needs_restart == ("database app", "database new", "mirror media", "mirror other")
