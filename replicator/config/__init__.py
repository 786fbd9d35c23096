"""The configuration file: its shape, its values, its checks.

`load_config` is the way in. What the values lead to is decided elsewhere (`bootstrap`).
"""

from __future__ import annotations

from replicator.config.load import load_config
from replicator.config.model import (
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
from replicator.config.values import DeleteLimit, FreeSpaceFloor, ListenAddress

__all__ = [
    "Config",
    "DatabaseConfig",
    "DeleteLimit",
    "DestinationConfig",
    "FreeSpaceFloor",
    "KeepConfig",
    "ListenAddress",
    "LogFormat",
    "LogLevel",
    "MirrorConfig",
    "Producer",
    "ServiceConfig",
    "Verification",
    "load_config",
]
