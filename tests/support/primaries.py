"""Primaries for the tests: real engines in processes of their own, under load.

`Primary` runs the demo's writer (RocksDB 9.8) or, if asked, an older or newer engine; `STORMS` are settings that
make it hard for a capture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.demo.layout import Layout
from replicator.demo.oracle import Verdict
from replicator.demo.settings import PrimarySettings, Progress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_PROJECT = Path(__file__).parents[2]
_POLL_SECONDS = 0.005
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0

MEBIBYTE = 1024 * 1024

#: Each makes one thing hard; all are judged exactly.
STORMS: dict[str, PrimarySettings] = {
    "small_memtables": PrimarySettings(),
    "large_memtables": PrimarySettings(write_buffer_bytes=64 * MEBIBYTE),
    "compaction": PrimarySettings(compact_every=2000, family_options={"level0_file_num_compaction_trigger": "2"}),
    "delete_range": PrimarySettings(layout=Layout(delete_range_every=50)),
    "ingest": PrimarySettings(layout=Layout(ingest_every=200)),
    "churn": PrimarySettings(layout=Layout(churn_every=200)),
    "blob_files": PrimarySettings(
        family_options={
            "enable_blob_files": "true",
            "min_blob_size": "32",
            "enable_blob_garbage_collection": "true",
            "blob_garbage_collection_age_cutoff": "1.0",
        }
    ),
    "manual_wal_flush": PrimarySettings(flush_wal_every=50),
    "manifest_rollover": PrimarySettings(database_options={"max_manifest_file_size": "1024"}),
    "wal_compression": PrimarySettings(database_options={"wal_compression": "kZSTD"}),
    "recycled_wals": PrimarySettings(
        database_options={"recycle_log_file_num": "4", "wal_recovery_mode": "kPointInTimeRecovery"}
    ),
    "tracked_wals": PrimarySettings(database_options={"track_and_verify_wals_in_manifest": "true"}),
    "wal_archive": PrimarySettings(database_options={"WAL_size_limit_MB": "4", "WAL_ttl_seconds": "5"}),
    "max_total_wal_size": PrimarySettings(
        write_buffer_bytes=4 * MEBIBYTE, database_options={"max_total_wal_size": str(MEBIBYTE)}
    ),
    "atomic_flush": PrimarySettings(database_options={"atomic_flush": "true"}),
    "everything": PrimarySettings(
        layout=Layout(delete_range_every=50, ingest_every=300, churn_every=700),
        compact_every=5000,
        family_options={"enable_blob_files": "true", "min_blob_size": "64"},
        database_options={
            "max_manifest_file_size": "16384",
            "wal_compression": "kZSTD",
            "track_and_verify_wals_in_manifest": "true",
            "max_total_wal_size": str(MEBIBYTE),
        },
    ),
}


class Engine(Enum):
    """The versions of RocksDB that can write as a primary; the values are the modules that run them."""

    ROCKSDB_6 = "tests.support.rocksdb_6"
    ROCKSDB_9 = "replicator.demo.primary"
    ROCKSDB_10 = "tests.support.rocksdb_10"


class Primary:
    """A primary at `path` in a process of its own, which dies with this one.

    Use it as a context manager, or call `start`. It can be started again after `kill` or `stop`.
    """

    def __init__(
        self, path: Path, settings: PrimarySettings | None = None, *, engine: Engine = Engine.ROCKSDB_9
    ) -> None:
        self.path = path
        self._engine = engine
        self.settings = settings or PrimarySettings()
        # beside the database, never in it: tests prove that nothing else is written there
        self._progress_path = path.with_name(f"{path.name}.progress")
        self._progress: Progress | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def position(self) -> int:
        """The last batch that surely is in the database's files, at this instant."""
        return self._progress.position if self._progress else 0

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself, as after an error of its engine."""
        return self._running().poll() is not None

    @property
    def pid(self) -> int:
        """The process id of the running primary."""
        return self._running().pid

    def start(self, settings: PrimarySettings | None = None) -> Self:
        """Start it and wait until its database is open; the layout of `settings` cannot be changed later."""
        self.settings = settings or self.settings
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", self._engine.value, os.fspath(self.path.absolute())),
                *("--progress", os.fspath(self._progress_path.absolute()), "--settings", self.settings.to_json()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_PROJECT,  # where `python -m` finds the tests' own modules
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "ready\n", f"the primary at {self.path} did not start: see its standard error"
        if self._progress is None:
            self._progress = Progress(self._progress_path)
        return self

    def wait_for(self, position: int, timeout_seconds: float = 60.0) -> int:
        """Wait until batch `position` is in the files; return the position then."""
        deadline = time.monotonic() + timeout_seconds
        while self.position < position:
            code = self._running().poll()
            assert code is None, f"the primary at {self.path} ended with {code} at batch {self.position}"
            assert time.monotonic() < deadline, f"still at batch {self.position}, waiting for {position}"
            time.sleep(_POLL_SECONDS)
        return self.position

    def wait_for_more(self, batches: int, timeout_seconds: float = 60.0) -> int:
        """Wait until `batches` more are written than now; return the position then."""
        return self.wait_for(self.position + batches, timeout_seconds)

    def kill(self) -> int:
        """SIGKILL; return the last position that was published."""
        process = self._running()
        process.kill()
        self._reap()
        return self.position

    def stop(self) -> int:
        """SIGTERM: let it close its database in order; return the final position."""
        process = self._running()
        process.terminate()
        code = self._reap()
        assert code == 0, f"the primary at {self.path} ended with {code}"
        return self.position

    def restart(self, settings: PrimarySettings | None = None) -> Self:
        """Kill it and start it again."""
        self.kill()
        return self.start(settings)

    def close(self) -> None:
        """Kill it if it runs, and forget it."""
        if self._process is not None:
            self.kill()
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"the primary at {self.path} is not running"
        return self._process

    def _reap(self) -> int:
        process = self._running()
        code = process.wait(_STOP_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
        return code


def judge_apart(path: Path) -> Verdict:
    """Judge in a process of its own, for what may crash the engine; a crash is a verdict too."""
    done = subprocess.run(
        [sys.executable, "-m", "replicator.demo.oracle", os.fspath(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout:
        return Verdict(opened=False, details=(f"the engine ended with {done.returncode}: {done.stderr[-500:]}",))
    return Verdict.from_json(done.stdout)
