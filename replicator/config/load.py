"""Read a configuration file: all that is wrong with it is reported at once."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from replicator.config.checks import cross_problems
from replicator.config.model import Config
from replicator.config.problems import shape_problems
from replicator.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def load_config(path: Path) -> Config:
    """Return the configuration in `path`. Raises `ConfigError`, with every problem on a line of its own."""
    document = _read(path)
    try:
        config = Config.model_validate(document)
        problems = []
    except ValidationError as error:
        config = None
        problems = shape_problems(error)
    problems += cross_problems(document)
    if config is None or problems:
        # Without the ValidationError as its cause: that one shows values, passwords among them.
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path}: {count}", problems=tuple(problems)) from None
    return config


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        hint = "name a file that this user may read" if isinstance(error, PermissionError) else "name the file"
        raise ConfigError(message, problems=(message,), hint=f"{hint} with -c FILE") from error
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise ConfigError(message, problems=(message,)) from None
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: is not TOML: {error}"
        raise ConfigError(message, problems=(message,)) from None
