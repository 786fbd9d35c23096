"""What the end-to-end tests share: one real server, and one database at two times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.databases import TwoStates, make_two_states
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.program import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def server() -> Iterator[OpenSshServer]:
    """As an operator would set it up: an unprivileged account in a chroot that may do nothing but SFTP."""
    with OpenSshServer(ServerOptions(chroot=True, forwarding=False)) as started:
        yield started


@pytest.fixture(scope="package")
def states(tmp_path_factory: pytest.TempPathFactory) -> TwoStates:
    return make_two_states(tmp_path_factory.mktemp("states"))


@pytest.fixture
def account(server: OpenSshServer, tmp_path: Path) -> str:
    """Return the name of a folder of the account for this test alone."""
    name = tmp_path.name
    server.make_folder(name)
    return name


@pytest.fixture
def config(tmp_path: Path) -> ConfigFile:
    return ConfigFile(tmp_path / "replicator.toml")
