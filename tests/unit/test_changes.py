"""What a new configuration changes at once, and what it needs a restart for."""

from __future__ import annotations

import pytest

from replicator.config import Config
from replicator.config.changes import changes_between


def config(
    *, database: dict[str, object] | None = None, destination: dict[str, object] | None = None, **service: object
) -> Config:
    return Config.model_validate(
        {
            "database": [{"name": "app", "path": "/db", "checkpoint_root": "/root", **(database or {})}],
            "destination": [{"name": "here", "url": "file:///here", **(destination or {})}],
            "service": service,
        }
    )


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
    new = config(database={"name": "new", "interval": "1s"}, destination={"keep": {"last": 1}})
    changes = changes_between(config(), new)
    assert changes.config.databases == config().databases
    assert changes.changed == ("destination here.keep",)
    assert changes.needs_restart == ("database app", "database new")
