"""All that tells the world how the service fares, put together: metrics, state file, heartbeat, hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.liveness import Vitals
from replicator.service.board import StatusBoard
from replicator.service.dead_mans_switch import DeadMansSwitch
from replicator.service.health import Health
from replicator.service.heartbeat import Heartbeat
from replicator.service.hooks import HookRunner, HookSettings
from replicator.service.lock import hold_state_dir
from replicator.service.mirror_board import MirrorBoard
from replicator.service.state_file import StateWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from replicator.config.model import ServiceConfig
    from replicator.config.values import ListenAddress
    from replicator.service.mirror_status import WatchedMirror
    from replicator.service.status import Watched
    from replicator.service.systemd import ServiceManager


class Reporting:
    """Made of the `[service]` section; `board`, `mirrors` and `vitals` are for those who work."""

    def __init__(
        self,
        config: ServiceConfig,
        watched: Iterable[Watched],
        mirrors: Iterable[WatchedMirror],
        manager: ServiceManager,
    ) -> None:
        self._hooks = HookRunner(_hook_settings(config))
        self.board = StatusBoard(watched, listener=self._hooks)
        self.mirrors = MirrorBoard(mirrors, listener=self._hooks)
        self.vitals = Vitals()
        self._health = Health(
            self.board, self.vitals, max_lag_seconds=config.max_lag_seconds, mirrors=self.mirrors
        )
        self._switch = DeadMansSwitch(
            self._health, url=config.heartbeat_url, interval_seconds=config.heartbeat_interval_seconds
        )
        # Metrics first: if they cannot be served, the service does not start, and the state file is left as it is.
        servers = [self._metrics_server(config.metrics)] if config.metrics else []
        self.companions: tuple[AbstractContextManager[object], ...] = (
            *servers,
            hold_state_dir(config.state_dir),
            self._hooks,
            StateWriter(self.board, config.state_dir, mirrors=self.mirrors, vitals=self.vitals),
            Heartbeat(self.vitals, self.board, manager, mirrors=self.mirrors),
            self._switch,
        )

    def reconfigure(self, config: ServiceConfig) -> None:
        """Go by these settings from now on, as far as they can change; from any thread."""
        self._hooks.settings = _hook_settings(config)
        self._health.max_lag_seconds = config.max_lag_seconds
        self._switch.url = config.heartbeat_url
        self._switch.interval_seconds = config.heartbeat_interval_seconds

    def _metrics_server(self, address: ListenAddress) -> AbstractContextManager[object]:
        # Loaded here because it is not little, and many do without.
        from replicator.service.metrics import Metrics  # noqa: PLC0415
        from replicator.service.metrics_server import MetricsServer  # noqa: PLC0415

        return MetricsServer(Metrics(self.board, mirrors=self.mirrors), self._health, address)


def _hook_settings(config: ServiceConfig) -> HookSettings:
    return HookSettings(config.on_publish, config.on_failure, config.hook_timeout_seconds)
