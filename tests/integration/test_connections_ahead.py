"""Connections of a single pass that are made while the rest of the program is loaded."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.bootstrap.ahead import ConnectionsAhead
from replicator.bootstrap.retries import single_try_destination
from replicator.config.load import load_config
from replicator.errors import ConnectionLostError, NotFoundError
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.program import ConfigFile, run_program
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer(ServerOptions()) as server:
        server.make_folder("account")
        yield server


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    """A configuration with a mirror of a folder."""
    (tmp_path / "media").mkdir()
    return ConfigFile(tmp_path / "replicator.toml").mirror("media", tmp_path / "media")


def ahead_of(file: ConfigFile) -> ConnectionsAhead:
    return ConnectionsAhead.of_mirrors(load_config(file.write()))


def test_a_connection_for_whoever_asks_first(file: ConfigFile, server: OpenSshServer) -> None:
    with ahead_of(file.sftp("standby", server, "account")) as ahead:
        destination = ahead.take("standby")
        assert destination is not None
        assert ahead.take("standby") is None
        assert ahead.take("other") is None
    assert destination.list_folder(PurePosixPath()) == []
    destination.close()


def test_each_mirror_has_its_own(file: ConfigFile, server: OpenSshServer) -> None:
    (file.folder / "more").mkdir()
    file.mirror("more", file.folder / "more")
    with ahead_of(file.sftp("standby", server, "account")) as ahead:
        first, second = ahead.take("standby"), ahead.take("standby")
        assert first is not None
        assert second is not None
        assert first is not second
        first.close()
        assert second.list_folder(PurePosixPath()) == []
        second.close()


def test_an_error_is_that_of_the_first_call_and_the_next_one_connects_anew(
    file: ConfigFile, server: OpenSshServer
) -> None:
    config = load_config(file.sftp("standby", server, "later").write())
    with ConnectionsAhead.of_mirrors(config) as ahead:
        destination = single_try_destination(
            config.destinations[0], None, stop=threading.Event(), first=lambda: ahead.take("standby")
        )
        with pytest.raises(NotFoundError, match="there is no folder"):
            destination.list_folder(PurePosixPath())
        server.make_folder("later")
        assert destination.list_folder(PurePosixPath()) == []
        destination.close()


def test_a_server_that_is_not_there(file: ConfigFile) -> None:
    with OpenSshServer(ServerOptions()) as gone:
        file.sftp("standby", gone, "account")
    with ahead_of(file) as ahead, pytest.raises(ConnectionLostError, match="cannot connect"):
        ahead.take("standby")


def test_what_nobody_took_is_closed(file: ConfigFile, server: OpenSshServer) -> None:
    wait_until(lambda: not server.sessions(), "all sessions have ended")
    with ahead_of(file.sftp("standby", server, "account")):
        wait_until(lambda: bool(server.sessions()), "somebody logged in")
    wait_until(lambda: not server.sessions(), "all sessions have ended")


def test_no_connection_where_none_would_be_made_first_thing(file: ConfigFile, server: OpenSshServer) -> None:
    def takes(more: ConfigFile) -> bool:
        with ahead_of(more) as ahead:
            return ahead.take(more.destinations[0]["name"]) is not None  # type: ignore[arg-type]

    missing = ConfigFile(file.path).mirror("media", file.folder / "missing").sftp("standby", server, "account")
    assert not takes(missing)
    limited = ConfigFile(file.path).mirror("media", file.folder / "media")
    assert not takes(limited.sftp("standby", server, "account", limit="1MiB/s"))
    local = ConfigFile(file.path).mirror("media", file.folder / "media")
    assert not takes(local.directory("here", file.folder / "here"))
    file.sftp("standby", server, "account").database("chat", file.folder / "chat")
    assert not takes(file)


def test_a_pass_logs_in_once(file: ConfigFile, server: OpenSshServer) -> None:
    server.make_folder("once")
    (file.folder / "media" / "file").write_text("content")
    before = server.log().count("Accepted publickey")
    run_program("run", "-c", file.sftp("standby", server, "once").write(), "--once")
    assert (server.local_base / "once" / "media" / "file").read_text() == "content"
    assert server.log().count("Accepted publickey") == before + 1
