"""Log lines: their form, their levels, and what must never be in them."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from replicator.config.choices import LogFormat, LogLevel
from replicator.errors import ConnectionLostError
from replicator.service.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_are_json_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogFormat.AUTO, LogLevel.INFO)
    structlog.get_logger().info("generation_published", database="db", size_bytes=3)
    (line,) = lines(capsys.readouterr().err)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {"event": "generation_published", "level": "info", "database": "db", "size_bytes": 3}


def test_lines_are_for_people_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure_logging(LogFormat.AUTO, LogLevel.INFO)
    structlog.get_logger().info("generation_published", database="db")
    assert "\x1b[" in terminal.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.search(r"\[info *\] generation_published +database=db\n", plain)


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    configure_logging(LogFormat.CONSOLE, LogLevel.INFO)
    structlog.get_logger().info("generation_published")
    assert "\x1b[" not in terminal.getvalue()


def test_json_can_be_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    structlog.get_logger().info("generation_published")
    assert lines(terminal.getvalue())[0]["event"] == "generation_published"


def test_the_level_can_be_changed_for_loggers_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger()
    configure_logging(LogFormat.JSON, LogLevel.WARNING)
    log.info("unheard")
    log.warning("heard")
    configure_logging(LogFormat.JSON, LogLevel.DEBUG)
    log.debug("heard_too")
    assert [line["event"] for line in lines(capsys.readouterr().err)] == ["heard", "heard_too"]


def test_an_error_is_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    structlog.get_logger().error("publish_failed", error=ConnectionLostError("host is gone", hint="start it"))
    (line,) = lines(capsys.readouterr().err)
    assert (line["error"], line["error_type"], line["hint"]) == ("host is gone", "ConnectionLostError", "start it")


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    def fail(secret: str) -> None:
        raise RuntimeError("broken " * (len(secret) // 100))

    configure_logging(log_format, LogLevel.INFO)
    try:
        fail("hunter2" * 20)
    except RuntimeError:
        structlog.get_logger().exception("unexpected_error")
    error = capsys.readouterr().err
    assert "RuntimeError: broken" in error
    assert "hunter2hunter2" not in error


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_secrets_do_not_come_out(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    configure_logging(log_format, LogLevel.INFO)
    log = structlog.get_logger()
    log.info("login", passphrase="hunter2", password_file="hunter2", auth_token="hunter2")  # noqa: S106 (no real ones)
    log.info("login", url="sftp://u:hunter2@host/srv")
    log.info(
        "login", error=ConnectionLostError("sftp://u:hunter2@host/srv: no", hint="not sftp://u:hunter2@host/")
    )
    logging.getLogger("library").warning("at %s", "sftp://u:hunter2@host/srv")
    error = capsys.readouterr().err
    assert error.count("\n") == 4
    assert "hunter2" not in error


def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    library = logging.getLogger("paramiko.transport")
    library.info("chatter")
    library.warning("lost %d packets", 3)
    (line,) = lines(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("library_message", "warning")
    assert (line["library"], line["message"]) == ("paramiko.transport", "lost 3 packets")


def test_warnings_of_python_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("something is old", DeprecationWarning, stacklevel=1)
    assert "something is old" in lines(capsys.readouterr().err)[0]["message"]


def test_lines_go_to_what_standard_error_is_now(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO)
    bound = structlog.get_logger().bind(database="db")
    display = io.StringIO()
    monkeypatch.setattr(sys, "stderr", display)
    bound.info("during_a_progress_display")
    assert capsys.readouterr().err == ""
    assert lines(display.getvalue())[0]["database"] == "db"
