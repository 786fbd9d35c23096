"""A minute of `tests/e2e/test_replica_under_load.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_replica_under_load import replicate_under_load
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.program import ConfigFile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(600)]


def test_a_minute_of_looks(tmp_path: Path) -> None:
    with OpenSshServer(ServerOptions(chroot=True, forwarding=False)) as server:
        server.make_folder("account")
        config = ConfigFile(tmp_path / "replicator.toml")
        assert len(replicate_under_load(config, server, "account", seconds=60)) > 10
