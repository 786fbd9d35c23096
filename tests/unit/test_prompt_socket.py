"""Connections that acknowledge at once what comes first."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from replicator.destination.prompt_socket import PROMPT_BYTES, PromptSocket

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def both_ends(server: socket.socket) -> Iterator[tuple[PromptSocket, socket.socket]]:
    with PromptSocket(socket.create_connection(server.getsockname(), timeout=5)) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def receive_all(ours: PromptSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += ours.recv(count - len(data))
    return data


def acknowledges_at_once(ours: PromptSocket, theirs: socket.socket) -> bool:
    """Say whether it does after it was told not to, and received something."""
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
    return bool(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))


def test_the_first_bytes_are_acknowledged_at_once(both_ends: tuple[PromptSocket, socket.socket]) -> None:
    ours, theirs = both_ends
    assert acknowledges_at_once(ours, theirs)
    assert acknowledges_at_once(ours, theirs)
    content = bytes(range(256)) * (PROMPT_BYTES // 256)
    theirs.sendall(content)
    assert receive_all(ours, len(content)) == content
    assert not acknowledges_at_once(ours, theirs)


def test_it_takes_over_the_connection_and_its_timeout(server: socket.socket) -> None:
    connected = socket.create_connection(server.getsockname(), timeout=5)
    with PromptSocket(connected) as ours:
        assert connected.fileno() == -1
        assert ours.gettimeout() == 5
        assert ours.getpeername() == server.getsockname()
        server.accept()[0].close()
        assert ours.recv(1) == b""
