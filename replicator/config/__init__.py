"""The configuration file: its shape, its values, its checks.

`load_config` is the way in. What the values lead to is decided elsewhere (`bootstrap`).
"""

from __future__ import annotations

from replicator.config.credential import passed_on
from replicator.config.load import load_config
from replicator.config.model import (
    DEFAULT_CONNECTIONS,
    Config,
    DatabaseConfig,
    DestinationConfig,
    KeepConfig,
    LogFormat,
    LogLevel,
    MirrorConfig,
    Producer,
    ServiceConfig,
    Verification,
)
from replicator.config.values import DeleteLimit, FreeSpaceFloor, HeartbeatUrl, ListenAddress

__all__ = [
    "DEFAULT_CONNECTIONS",
    "Config",
    "DatabaseConfig",
    "DeleteLimit",
    "DestinationConfig",
    "FreeSpaceFloor",
    "HeartbeatUrl",
    "KeepConfig",
    "ListenAddress",
    "LogFormat",
    "LogLevel",
    "MirrorConfig",
    "Producer",
    "ServiceConfig",
    "Verification",
    "load_config",
    "passed_on",
]
