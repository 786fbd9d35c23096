"""What the configuration and the options of commands choose from."""

from __future__ import annotations

from enum import StrEnum


class Producer(StrEnum):
    """Who makes the checkpoints."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Verification(StrEnum):
    """How a new checkpoint is verified before anything is done with it."""

    OFF = "off"
    STRUCTURE = "structure"
    ENGINE = "engine"


class LogFormat(StrEnum):
    """How log lines look; `AUTO` is console on a terminal and JSON elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least urgent lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
