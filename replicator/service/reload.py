"""SIGHUP: the configuration is read anew. What can be changed is changed, of the rest it is said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from replicator.config.changes import changes_between
from replicator.config.load import load_config
from replicator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicator.config.model import Config
    from replicator.service.systemd import ServiceManager

_log = structlog.get_logger()


class Reloader:
    """Holds what is in force. `reload` is for one thread at a time."""

    def __init__(
        self,
        config: Config,
        path: Path,
        *,
        apply: Callable[[Config], None],
        manager: ServiceManager,
    ) -> None:
        self._config = config
        self._path = path
        self._apply = apply
        self._manager = manager

    def reload(self) -> None:
        """Read the file. One with problems changes nothing: they are logged, all of them."""
        self._manager.reloading()
        try:
            changes = changes_between(self._config, load_config(self._path))
        except ConfigError as error:
            _log.error(
                "reload.refused",
                error=error,
                problems=list(error.problems),
                hint="the configuration from before is still in force",
            )
        else:
            self._config = changes.config
            self._apply(changes.config)
            _log.info("reload.done", changed=list(changes.changed))
            for key in changes.needs_restart:
                _log.warning("reload.needs_restart", key=key, hint="restart the service to change this")
        finally:
            self._manager.ready()
