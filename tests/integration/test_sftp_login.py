"""Reaching a real OpenSSH server: host keys, user keys, the client's configuration, jump hosts."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.destination.sftp import SftpDestination
from replicator.destination.sftp_connection import SftpConnection
from replicator.destination.sftp_login import log_in
from replicator.destination.sftp_stream import SftpStream
from replicator.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConnectionLostError,
    DestinationTimeoutError,
    HostKeyError,
    NotFoundError,
    PermanentDestinationError,
    ProtocolError,
)
from tests.support.openssh import OpenSshServer, ServerOptions
from tests.support.published import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicator.destination.sftp_route import SftpSettings


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSshServer]:
    with OpenSshServer(ServerOptions(host_key_types=("ed25519", "rsa", "ecdsa"))) as server:
        yield server


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def can_log_in(settings: SftpSettings) -> bool:
    with SftpDestination.connect(settings) as destination:
        return destination.list_folder(PurePosixPath()) == []


def command_in(hint: str) -> str:
    return hint.partition("and then: ")[2]


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


# --- host keys ---------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_what_accepts_it(server: OpenSshServer, tmp_path: Path) -> None:
    settings = replace(server.settings(), known_hosts=tmp_path / "known_hosts")
    with pytest.raises(HostKeyError, match="is not in") as caught:
        SftpDestination.connect(settings)
    assert any(fingerprint(key) in str(caught.value) for key in server.host_keys)
    subprocess.run(command_in(caught.value.hint), shell=True, check=True, capture_output=True)  # noqa: S602 - as an operator would
    assert can_log_in(settings)


def test_a_changed_host_key_is_refused_with_what_accepts_it(server: OpenSshServer, tmp_path: Path) -> None:
    other = server.make_key(f"other_{tmp_path.name}").with_suffix(".pub").read_text()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"# a comment\n\n[127.0.0.1]:{server.port} {other}")
    settings = replace(server.settings(), known_hosts=known_hosts)
    with pytest.raises(HostKeyError, match=f"not the one at {known_hosts}:3 ") as caught:
        SftpDestination.connect(settings)
    assert fingerprint(server.host_keys[0]) in str(caught.value)
    subprocess.run(command_in(caught.value.hint), shell=True, check=True, capture_output=True)  # noqa: S602 - as an operator would
    assert can_log_in(settings)


def test_a_revoked_host_key_is_refused_though_it_is_known(server: OpenSshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    revoked = "".join(f"@revoked * {key.with_suffix('.pub').read_text()}" for key in server.host_keys)
    known_hosts.write_text(server.known_hosts_lines() + revoked)
    with pytest.raises(HostKeyError, match=rf"revoked at {known_hosts}:\d"):
        SftpDestination.connect(replace(server.settings(), known_hosts=known_hosts))


def test_known_hosts_may_be_hashed_and_hold_other_lines(server: OpenSshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    authority = server.host_keys[1].with_suffix(".pub").read_text()
    known_hosts.write_text(f"@cert-authority *.example.org {authority}\n{server.known_hosts_lines()}")
    subprocess.run(["ssh-keygen", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
    assert "[127.0.0.1]" not in known_hosts.read_text()
    assert can_log_in(replace(server.settings(), known_hosts=known_hosts))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_server_is_asked_for_the_key_that_is_known(server: OpenSshServer, tmp_path: Path, number: int) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(server.known_hosts_lines().splitlines()[number])
    assert can_log_in(replace(server.settings(), known_hosts=known_hosts))


def test_known_hosts_that_cannot_be_read(server: OpenSshServer, tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match=f"cannot read {tmp_path}: Is a directory") as caught:
        SftpDestination.connect(replace(server.settings(), known_hosts=tmp_path))
    assert "known_hosts" in caught.value.hint


def test_known_hosts_of_the_user_is_the_default(server: OpenSshServer, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(server.known_hosts_lines())
    assert can_log_in(replace(server.settings(), known_hosts=None))


# --- user keys ---------------------------------------------------------------------------------------


def test_a_key_that_the_server_does_not_know_is_refused(server: OpenSshServer, tmp_path: Path) -> None:
    key = server.make_key(f"stranger_{tmp_path.name}")
    with pytest.raises(AuthenticationError, match=f"refused the user {server.user} with {key}") as caught:
        SftpDestination.connect(replace(server.settings(), identity_file=key))
    assert f"may log in as {server.user}" in caught.value.hint


def test_a_user_that_does_not_exist_is_refused(server: OpenSshServer) -> None:
    with pytest.raises(AuthenticationError, match="refused the user no-such-user"):
        SftpDestination.connect(replace(server.settings(), user="no-such-user"))


def test_a_missing_identity_file(server: OpenSshServer, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match="missing: No such file"):
        SftpDestination.connect(replace(server.settings(), identity_file=tmp_path / "missing"))


def test_an_identity_file_that_is_none(server: OpenSshServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("hello")
    path.chmod(0o600)
    with pytest.raises(AuthenticationError, match=r"/key: it is no private key$"):
        SftpDestination.connect(replace(server.settings(), identity_file=path))


def test_an_identity_file_that_holds_the_public_half(server: OpenSshServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(server.identity_file.with_suffix(".pub").read_bytes())
    path.chmod(0o600)
    with pytest.raises(AuthenticationError, match=r"/key: it is the public key$"):
        SftpDestination.connect(replace(server.settings(), identity_file=path))


def test_an_identity_file_that_is_the_public_half(server: OpenSshServer, tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text("ssh-ed25519 AAAA")
    path.chmod(0o644)
    with pytest.raises(AuthenticationError, match="it is the public key"):
        SftpDestination.connect(replace(server.settings(), identity_file=path))


def test_an_identity_file_that_others_may_read(server: OpenSshServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(server.identity_file.read_bytes())
    path.chmod(0o640)
    with pytest.raises(AuthenticationError, match="others may read") as caught:
        SftpDestination.connect(replace(server.settings(), identity_file=path))
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    assert can_log_in(replace(server.settings(), identity_file=path))


def test_no_key_at_all(server: OpenSshServer) -> None:
    with pytest.raises(AuthenticationError, match="no key to log in"):
        SftpDestination.connect(replace(server.settings(), identity_file=None))


def test_the_usual_keys_are_tried(server: OpenSshServer, tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    for name, key in (("id_ecdsa", server.identity_file), ("id_ed25519", server.host_keys[0])):
        (folder / name).write_bytes(key.read_bytes())
        (folder / name).chmod(0o600)
    assert can_log_in(replace(server.settings(), identity_file=None))


@contextmanager
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it tells its address once it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
    finally:
        process.terminate()
        process.communicate()


def test_the_keys_of_the_agent_are_tried(
    server: OpenSshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(tmp_path, monkeypatch):
        subprocess.run(["ssh-add", str(server.identity_file)], check=True, capture_output=True)
        assert can_log_in(replace(server.settings(), identity_file=None))


def test_a_key_under_a_passphrase_needs_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenSshServer() as server:
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(server.identity_file)],
            check=True,
            capture_output=True,
        )
        with pytest.raises(AuthenticationError, match="protected by a passphrase"):
            SftpDestination.connect(server.settings())
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o700)
        with agent(tmp_path, monkeypatch):
            environment = os.environ | {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(
                ["ssh-add", str(server.identity_file)], check=True, capture_output=True, env=environment
            )
            assert can_log_in(server.settings())


# --- the client's configuration ----------------------------------------------------------------------


def with_config(server: OpenSshServer, tmp_path: Path, text: str, host: str = "standby") -> SftpSettings:
    """Settings that leave everything to an ssh_config of that text."""
    path = tmp_path / "config"
    path.write_text(text.format(port=server.port, user=server.user, key=server.identity_file))
    return replace(server.settings(), host=host, port=None, user=None, identity_file=None, ssh_config=path)


_ALIAS = """
Host standby
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {key}
"""


def test_an_alias_of_the_configuration(server: OpenSshServer, tmp_path: Path) -> None:
    assert can_log_in(with_config(server, tmp_path, _ALIAS))


def test_what_is_given_goes_before_the_configuration(server: OpenSshServer, tmp_path: Path) -> None:
    wrong = "Host *\n    HostName 127.0.0.1\n    Port 9\n    User no-such-user\n"
    settings = with_config(server, tmp_path, wrong)
    assert can_log_in(replace(settings, port=server.port, user=server.user, identity_file=server.identity_file))


def test_a_configuration_that_cannot_be_read(server: OpenSshServer, tmp_path: Path) -> None:
    with pytest.raises(PermanentDestinationError, match="config"):
        SftpDestination.connect(with_config(server, tmp_path, "Host standby\n    Port many\n"))


@pytest.mark.parametrize("jumps", ["standby", "standby,standby", "{user}@127.0.0.1:{port}"])
def test_jump_hosts(server: OpenSshServer, tmp_path: Path, jumps: str) -> None:
    target = f"{_ALIAS}\nHost inner\n    HostName 127.0.0.1\n    Port {{port}}\n    User {{user}}\n"
    target += f"    IdentityFile {{key}}\n    ProxyJump {jumps}\nHost 127.0.0.1\n    IdentityFile {{key}}\n"
    settings = with_config(server, tmp_path, target, host="inner")
    before = server.log().count("Accepted publickey")
    assert can_log_in(settings)
    assert server.log().count("Accepted publickey") - before == 2 + jumps.count(",")


def test_the_host_key_of_a_jump_host_is_checked(server: OpenSshServer, tmp_path: Path) -> None:
    with OpenSshServer() as jump:
        settings = with_config(server, tmp_path, f"{_ALIAS}    ProxyJump {jump.user}@127.0.0.1:{jump.port}\n")
        with pytest.raises(HostKeyError, match=rf"\[127.0.0.1\]:{jump.port} is not in"):
            SftpDestination.connect(settings)


def test_a_jump_host_that_forwards_nothing(server: OpenSshServer, tmp_path: Path) -> None:
    with OpenSshServer(ServerOptions(forwarding=False)) as jump:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(jump.known_hosts_lines())
        text = f"Host standby\n    ProxyJump {jump.user}@127.0.0.1:{jump.port}\n"
        text += f"Host 127.0.0.1\n    IdentityFile {jump.identity_file}\n"
        settings = replace(with_config(server, tmp_path, text), known_hosts=known_hosts)
        with pytest.raises(AccessDeniedError, match="does not forward"):
            SftpDestination.connect(settings)


def test_jump_hosts_in_a_circle(server: OpenSshServer, tmp_path: Path) -> None:
    text = "Host a\n    ProxyJump b\nHost b\n    ProxyJump a\n"
    with pytest.raises(PermanentDestinationError, match="jump"):
        SftpDestination.connect(with_config(server, tmp_path, text, host="a"))


# --- what else may be in the way ---------------------------------------------------------------------


def test_a_port_where_nobody_listens(server: OpenSshServer) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionLostError, match="Connection refused"):
        SftpDestination.connect(replace(server.settings(), port=port))


def test_a_server_that_says_nothing(server: OpenSshServer) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        settings = replace(server.settings(timeout_seconds=0.5), port=silent.getsockname()[1])
        with pytest.raises(DestinationTimeoutError, match=r"nothing came for 0\.5 s"):
            SftpDestination.connect(settings)


def test_a_port_of_something_else(server: OpenSshServer) -> None:
    """Speak to a server that hangs up, as one does that expects another protocol."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:

        def hang_up() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    other.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(ConnectionLostError, match="cannot begin SSH") as caught:
            SftpDestination.connect(replace(server.settings(), port=other.getsockname()[1]))
    assert "port" in caught.value.hint


def test_a_base_folder_that_is_missing(server: OpenSshServer) -> None:
    with pytest.raises(NotFoundError, match=r"no folder .*/missing"):
        SftpDestination.connect(server.settings("missing"))
    assert not (server.local_base / "missing").exists()


def test_a_base_folder_that_is_a_file(server: OpenSshServer) -> None:
    path = server.folder / "file"
    path.write_text("")
    with pytest.raises(NotFoundError, match="no folder"):
        SftpDestination.connect(replace(server.settings(), base=PurePosixPath(path)))


def test_a_server_without_sftp() -> None:
    with OpenSshServer(ServerOptions(sftp=False)) as server, pytest.raises(ProtocolError, match="SFTP"):
        SftpDestination.connect(server.settings())


def test_an_account_that_prints_text_instead_of_speaking_sftp() -> None:
    with OpenSshServer(ServerOptions(prints="This account is currently not available.")) as server:
        with pytest.raises(ProtocolError, match="'This account is currently not available") as caught:
            SftpDestination.connect(server.settings())
        assert "internal-sftp" in caught.value.hint


def test_text_of_an_account_that_hung_up_already_is_told_too() -> None:
    with OpenSshServer(ServerOptions(prints="This account is currently not available.")) as server:
        settings = server.settings()
        stream = SftpStream.open(log_in(settings), settings.timeout_seconds)
        wait_until(lambda: stream._channel.closed, "the end of the session")  # noqa: SLF001 - what is raced with
        with pytest.raises(ProtocolError, match="'This account is currently not available"):
            SftpConnection(stream)
