"""The progress of transfers: drawn on a terminal, silent elsewhere, and passed on in any case."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.progress import ProgressDisplay

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.destination.interface import TransferObserver
    from replicator.errors import SourceError
    from replicator.progress import TransferLine


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


def plain(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def wait_for(terminal: Terminal, pattern: str) -> None:
    """Return when the display has drawn it; the limit on a test's time ends a vain wait."""
    while not re.search(pattern, plain(terminal)):
        time.sleep(0.02)


class Recorder:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.bytes_moved_total = 0
        self.files: list[tuple[str, str]] = []
        self.stopping = False

    def bytes_moved(self, count: int) -> None:
        self.bytes_moved_total += count

    def file_done(self, target: PurePosixPath | Path, sha256: str) -> None:
        self.files.append((str(target), sha256))

    def file_skipped(self, target: PurePosixPath, error: SourceError) -> None:
        raise AssertionError(target) from error

    def stop_requested(self) -> bool:
        return self.stopping


def transfer_two_files(line: TransferLine) -> None:
    observer: TransferObserver = line
    line.expect(files=2, size_bytes=4096)
    for name in ("a", "b"):
        observer.bytes_moved(2048)
        observer.file_done(PurePosixPath(name), "00")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_the_observer_behind_it_is_told_everything(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    recorder = Recorder()
    with ProgressDisplay() as display, display.transfer("db to standby", recorder) as line:
        transfer_two_files(line)
        assert not line.stop_requested()
        recorder.stopping = True
        assert line.stop_requested()
    assert recorder.bytes_moved_total == 4096
    assert recorder.files == [("a", "00"), ("b", "00")]


def test_nothing_is_drawn_into_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay() as display, display.transfer("db to standby", Recorder()) as line:
        transfer_two_files(line)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("wide_terminal")
def test_a_terminal_shows_files_bytes_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressDisplay() as display, display.transfer("[db] to standby", Recorder()) as line:
        transfer_two_files(line)
        wait_for(terminal, r"\[db\] to standby .* 2/2 files .*4\.0/4\.0 KiB .*/s")


@pytest.mark.usefixtures("wide_terminal")
def test_a_line_without_an_expectation_counts_files(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressDisplay() as display, display.transfer("db", Recorder()) as line:
        line.file_done(PurePosixPath("a"), "00")
        wait_for(terminal, r"db .* 1 files ")


@pytest.mark.usefixtures("wide_terminal")
def test_several_transfers_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressDisplay() as display, display.transfer("one", Recorder()), display.transfer("two", Recorder()):
        wait_for(terminal, r"one .*\n.*two ")


@pytest.mark.usefixtures("wide_terminal")
def test_log_lines_stay_whole_and_the_display_leaves_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressDisplay() as display, display.transfer("db", Recorder()):
        sys.stderr.write("a log line\n")
    assert sys.stderr is terminal
    assert "a log line\n" in plain(terminal)
    assert terminal.getvalue().endswith("\x1b[2K") or terminal.getvalue().endswith("\r")
