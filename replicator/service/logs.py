"""Logs: events with a constant name and values beside it, on standard error.

Console lines on a terminal, one JSON document a line elsewhere. An `error=` value that is an exception is
taken apart into its text, its class and its hint. Libraries that use the standard `logging` are heard from
WARNING on. Passwords in URLs, and values under names that speak of secrets, never come out.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from replicator.config.choices import LogFormat, LogLevel
from replicator.errors import ReplicatorError
from replicator.lazy_imports import loaded_on_use, missing
from replicator.locator import hide_password

# Rich draws tracebacks that are not wanted here, asyncio is for loggers of coroutines. Whoever logs comes later.
with missing("rich"), loaded_on_use("asyncio"):
    import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_LEVELS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
_SECRET_NAMES: Final = re.compile(r"passw|passphrase|secret|token|private_?key", re.IGNORECASE)


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Set up all logging of the process; may be called again, which replaces what was set before.

    Loggers are had from `structlog.get_logger()`.
    """
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _take_error_apart,
            *(_console_processors() if console else _json_processors()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_CurrentStandardError()),  # type: ignore[arg-type]  # write and flush are all that it uses
        # A reload may change the level.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _console_processors() -> list[Processor]:
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    # The plain formatter: the others show local variables, which may be secret.
    plain = structlog.dev.plain_traceback
    return [_hide_secrets, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


def _json_processors() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _hide_secrets,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


class _CurrentStandardError:
    """Writes to what is standard error at that moment: a progress display replaces it for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _ToStructlog(logging.Handler):
    """Passes the records of libraries on."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _take_error_apart(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = event.get("error")
    if isinstance(error, BaseException):
        event["error"] = str(error) or type(error).__name__
        event["error_type"] = type(error).__name__
        if isinstance(error, ReplicatorError) and error.hint:
            event["hint"] = error.hint
    return event


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = "***"
        elif isinstance(value, str):
            event[name] = hide_password(value)
    return event
