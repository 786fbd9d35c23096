"""The program needs the same little memory whatever the size of a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicator.demo.layout import Layout
from replicator.demo.settings import PrimarySettings
from tests.support.databases import write_batches
from tests.support.primaries import MEBIBYTE
from tests.support.program import ConfigFile, RunningProgram, key_options, sftp_url
from tests.support.published import position_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.openssh import OpenSshServer

BATCHES = 330
MOST_BYTES = 150 * MEBIBYTE
_POLL_SECONDS = 0.02


def peak_memory_bytes(program: RunningProgram) -> int:
    """Return the most memory that the program had, up to a moment before its end."""
    peak_bytes = 0
    while program.process.poll() is None:
        peak_bytes = max(peak_bytes, program.peak_memory_bytes())
        time.sleep(_POLL_SECONDS)
    assert program.wait().code == 0
    return peak_bytes


def test_memory_does_not_grow_with_the_files(
    config: ConfigFile, server: OpenSshServer, account: str, tmp_path: Path
) -> None:
    settings = PrimarySettings(
        layout=Layout(column_families=1, value_bytes=MEBIBYTE),
        write_buffer_bytes=512 * MEBIBYTE,
        compact_every=BATCHES,
        family_options={"target_file_size_base": str(1024 * MEBIBYTE)},
    )
    write_batches(tmp_path / "db", settings, BATCHES)
    assert max(path.stat().st_size for path in (tmp_path / "db").glob("*.sst")) >= 300 * MEBIBYTE

    config.database("app", tmp_path / "db").sftp("standby", server, account)
    with RunningProgram("run", "-c", config.write()) as service:
        service.wait_for("publish.done")
        assert 0 < service.peak_memory_bytes() < MOST_BYTES
        service.stop()
    source, keys = f"{sftp_url(server, account)}/app", key_options(server)
    for command in (["verify", source], ["restore", source, tmp_path / "restored"]):
        with RunningProgram(*command, *keys) as program:
            assert 0 < peak_memory_bytes(program) < MOST_BYTES
    assert position_of(tmp_path / "restored") == BATCHES
