"""Making a running service go by another configuration, part by part; what can change: `config.changes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicator.replica.retention import KeepPolicy
from replicator.service.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.config.model import Config, DatabaseConfig
    from replicator.service.reporting import Reporting
    from replicator.service.transfer import Transfer


class Reconfigurable(Protocol):
    """Works on one database."""

    name: str

    def reconfigure(self, database: DatabaseConfig) -> None:
        """Go by these settings from now on, as far as they can change; from any thread."""


class Limiter(Protocol):
    """Holds a destination's connections down to a rate."""

    def change(self, bytes_per_second: float) -> None:
        """Hold them down to this from now on; from any thread."""


@dataclass(frozen=True, slots=True)
class Reconfiguration:
    """The parts that settings reach: of databases, and by destination."""

    reporting: Reporting
    parts: Sequence[Reconfigurable]
    transfers: Mapping[str, Sequence[Transfer]]
    limiters: Mapping[str, Limiter | None]

    def apply(self, config: Config) -> None:
        """Hand each part its settings; from any thread."""
        configure_logging(config.service.log_format, config.service.log_level)
        self.reporting.reconfigure(config.service)
        databases = {database.name: database for database in config.databases}
        for part in self.parts:
            part.reconfigure(databases[part.name])
        for destination in config.destinations:
            limiter, limit = self.limiters[destination.name], destination.limit_bytes_per_second
            if limiter and limit:
                limiter.change(limit)
            for transfer in self.transfers.get(destination.name, ()):
                transfer.keep(KeepPolicy(**destination.keep.model_dump()))
