"""The configuration's values, with the names, defaults and units that the program uses.

pydantic checks the shape: which keys there are, of what type, in what range. The alias of a field is its key
in the file. What depends on more than one key is checked in `checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from replicator.config.choices import LogFormat, LogLevel, Producer, Verification
from replicator.config.values import (
    DeleteLimit,
    FreeSpaceFloor,
    HeartbeatUrl,
    ListenAddress,
    to_absolute_path,
    to_command,
    to_delete_limit,
    to_free_space_floor,
    to_heartbeat_url,
    to_key_path,
    to_listen_address_or_off,
    to_name,
    to_patterns,
    to_positive_rate,
    to_positive_seconds,
    to_positive_seconds_or_off,
    to_size,
    to_tick_seconds_or_off,
    to_url,
)
from replicator.errors import ConfigError
from replicator.locator import DestinationUrl, DirectoryUrl

#: The second core of a small server takes the second one; more are for long distances.
DEFAULT_CONNECTIONS = 2

_Name = Annotated[str, BeforeValidator(to_name)]
_AbsolutePath = Annotated[Path, BeforeValidator(to_absolute_path)]
_KeyPath = Annotated[Path, BeforeValidator(to_key_path)]
_Seconds = Annotated[float, BeforeValidator(to_positive_seconds)]
_SecondsOrOff = Annotated[float | None, BeforeValidator(to_positive_seconds_or_off)]
_TickOrOff = Annotated[float | None, BeforeValidator(to_tick_seconds_or_off)]
_Size = Annotated[int, BeforeValidator(to_size)]
_Rate = Annotated[int, BeforeValidator(to_positive_rate)]
_FreeSpace = Annotated[FreeSpaceFloor, BeforeValidator(to_free_space_floor)]
_DeleteLimit = Annotated[DeleteLimit, BeforeValidator(to_delete_limit)]
_Patterns = Annotated[tuple[str, ...], BeforeValidator(to_patterns)]
_Listen = Annotated[ListenAddress | None, BeforeValidator(to_listen_address_or_off)]
_Url = Annotated[DestinationUrl, BeforeValidator(to_url)]
_Command = Annotated[tuple[str, ...], BeforeValidator(to_command)]
_HeartbeatUrl = Annotated[HeartbeatUrl, BeforeValidator(to_heartbeat_url)]
_Count = Annotated[int, Field(ge=0, le=100_000)]


class Section(BaseModel):
    """What all sections have in common: no unknown keys, no guessing of types, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DatabaseConfig(Section):
    """One `[[database]]`: what is replicated, how often, and where to."""

    name: _Name = Field(examples=["conduwuit"])
    path: _AbsolutePath = Field(examples=["/var/lib/conduwuit"])
    checkpoint_root: _AbsolutePath = Field(examples=["/var/lib/conduwuit/checkpoints"])
    interval_seconds: _Seconds = Field(alias="interval", default=300.0)
    ship_wal_seconds: _TickOrOff = Field(alias="ship_wal", default=1.0)
    pin_budget_bytes: _Size = Field(alias="pin_budget", default=2 << 30)
    producer: Producer = Field(default=Producer.INTERNAL, strict=False)
    verification: Verification = Field(alias="verify", default=Verification.STRUCTURE, strict=False)
    min_free: _FreeSpace = FreeSpaceFloor(share=0.05)
    destinations: tuple[str, ...] | None = Field(default=None, strict=False)

    @property
    def tick_seconds(self) -> float | None:
        """How often the logs are shipped; None if they are not, as is always so with checkpoints of others."""
        return None if self.producer is Producer.EXTERNAL else self.ship_wal_seconds


class MirrorConfig(Section):
    """One `[[mirror]]`: a plain directory that is kept equal, and where."""

    name: _Name = Field(examples=["media"])
    path: _AbsolutePath = Field(examples=["/var/lib/conduwuit/media"])
    exclude: _Patterns = ()
    quiet_seconds: _Seconds = Field(alias="quiet", default=1.0)
    max_delay_seconds: _Seconds = Field(alias="max_delay", default=10.0)
    rescan_seconds: _Seconds = Field(alias="rescan", default=3600.0)
    delete: bool = True
    max_delete: _DeleteLimit = DeleteLimit(share=0.1)
    destinations: tuple[str, ...] | None = Field(default=None, strict=False)


class KeepConfig(Section):
    """Which generations outlive the next: the newest `last`, and one for each of so many hours, days, weeks."""

    last: int = Field(default=1, ge=1, le=100_000)
    hourly: _Count = 0
    daily: _Count = 0
    weekly: _Count = 0


class DestinationConfig(Section):
    """One `[[destination]]`: a place for replicas. The keys of SSH mean nothing for a `file://` URL."""

    name: _Name = Field(examples=["standby"])
    url: _Url = Field(examples=["sftp://replica@standby.example.org:22/srv/replica"])
    identity_file: _KeyPath | None = None
    known_hosts: _KeyPath | None = None
    limit_bytes_per_second: _Rate | None = Field(alias="limit", default=None)
    connections: int = Field(default=DEFAULT_CONNECTIONS, ge=1, le=16)
    compression: bool = False
    timeout_seconds: _Seconds = Field(alias="timeout", default=30.0)
    keep: KeepConfig = KeepConfig(last=12, hourly=24, daily=7, weekly=4)
    allow_full_upload: bool = Field(alias="reupload", default=False)


class ServiceConfig(Section):
    """`[service]`: what concerns the process as a whole."""

    state_dir: _AbsolutePath = Path("/var/lib/replicator")
    metrics: _Listen = None
    drill_seconds: _SecondsOrOff = Field(alias="drill", default=None)
    drill_folder: _AbsolutePath | None = None
    max_lag_seconds: _SecondsOrOff = Field(alias="max_lag", default=None)
    on_publish: _Command | None = None
    on_failure: _Command | None = None
    hook_timeout_seconds: _Seconds = Field(alias="hook_timeout", default=30.0)
    heartbeat_url: _HeartbeatUrl | None = None
    heartbeat_interval_seconds: _Seconds = Field(alias="heartbeat_interval", default=60.0)
    log_format: LogFormat = Field(default=LogFormat.AUTO, strict=False)
    log_level: LogLevel = Field(default=LogLevel.INFO, strict=False)


class Config(Section):
    """A whole configuration file."""

    databases: tuple[DatabaseConfig, ...] = Field(alias="database", default=(), strict=False)
    mirrors: tuple[MirrorConfig, ...] = Field(alias="mirror", default=(), strict=False)
    destinations: tuple[DestinationConfig, ...] = Field(alias="destination", default=(), strict=False)
    service: ServiceConfig = ServiceConfig()

    def destination(self, name: str) -> DestinationConfig:
        """Return the destination of that name; raises `ConfigError` if there is none."""
        for destination in self.destinations:
            if destination.name == name:
                return destination
        known = ", ".join(destination.name for destination in self.destinations)
        raise ConfigError(f"there is no destination {name!r}", hint=f"the configuration has: {known}")

    def destinations_of(self, source: DatabaseConfig | MirrorConfig) -> tuple[DestinationConfig, ...]:
        """Return where a database or mirror goes: the destinations that it names, or all."""
        if source.destinations is None:
            return self.destinations
        return tuple(self.destination(name) for name in source.destinations)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stands in the file and has no effect, one line for each key."""
        return tuple(
            f"destination[{index}].connections: there are none to a folder of this machine"
            for index, destination in enumerate(self.destinations)
            if "connections" in destination.model_fields_set and isinstance(destination.url, DirectoryUrl)
        )
