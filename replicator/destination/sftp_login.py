"""Reach an SSH server and log in: connections, host keys, user keys.

The result is an authenticated `SshLine`; what is spoken over it is for others. Third-party errors of the whole
SSH stack are translated here, in `SshLine.translated`.
"""

from __future__ import annotations

import logging
import shlex
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from replicator.destination.prompt_socket import PromptSocket
from replicator.destination.sftp_known_hosts import HostKey, Verdict, judge, keys_of
from replicator.destination.sftp_route import Hop, SftpSettings, route_to
from replicator.destination.sftp_user_keys import UserKeys
from replicator.destination.ssh_library import paramiko
from replicator.destination.stall_guard import StallGuard
from replicator.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConnectionLostError,
    DestinationTimeoutError,
    HostKeyError,
    TransientDestinationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG_NAME = "replicator.ssh"
# The errors are raised and told; paramiko's own account of them, tracebacks included, would double that.
logging.getLogger(_LOG_NAME).setLevel(logging.CRITICAL)

# AES-GCM is about twice as fast here as what paramiko puts first.
_FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_UNREACHABLE_HINT = "is the host's name right, does sshd run there on that port, does a firewall let you through?"
_NO_SSH_HINT = "is it sshd that listens on that port? If so, its own log says why it hung up (MaxStartups, a ban?)"
_ALGORITHMS_OF_KEY = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


class SshLine:
    """Authenticated transports, one inside the other, the outermost first. `close` from any thread."""

    def __init__(self, settings: SftpSettings) -> None:
        self.label = settings.label
        self.guard = StallGuard(settings.timeout_seconds, self._cut)
        self._transports: list[paramiko.Transport] = []
        self._sockets: list[socket.socket] = []
        self._closed = False

    @property
    def transport(self) -> paramiko.Transport:
        """The one that ends at the destination."""
        return self._transports[-1]

    @property
    def is_alive(self) -> bool:
        """Whether the server has not hung up yet."""
        return self.transport.is_active()

    @contextmanager
    def translated(self, action: str, *, hint: str = "") -> Iterator[None]:
        """Watch a wait, and turn the errors of sockets and of paramiko into ours; the line is closed then."""
        try:
            with self.guard.waiting():
                yield
        except (EOFError, OSError, paramiko.SSHException) as error:
            was_closed = self._closed
            self.close()
            kind, reason = self._explain(error, was_closed=was_closed)
            raise kind(f"{self.label}: cannot {action}: {reason}", hint=hint) from error

    def _explain(self, error: Exception, *, was_closed: bool) -> tuple[type[TransientDestinationError], str]:
        if self.guard.fired or isinstance(error, TimeoutError):
            return DestinationTimeoutError, f"nothing came for {self.guard.timeout_seconds:g} s"
        if was_closed:
            return ConnectionLostError, "the connection was closed"
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return ConnectionLostError, reason or "the server closed the connection"

    def add_socket(self, sock: socket.socket) -> None:
        """Take over the TCP connection."""
        self._sockets.append(sock)

    def add_transport(self, transport: paramiko.Transport) -> None:
        """Take over the next transport."""
        self._transports.append(transport)

    def close(self) -> None:
        """Close everything; calls under way fail."""
        self._closed = True
        self.guard.stop()
        self._cut()

    def _cut(self) -> None:
        # From the outside in: an inner one says goodbye through the outer, which may be stalled.
        for transport in list(self._transports):
            with suppress(EOFError, OSError, paramiko.SSHException):
                transport.close()
        for sock in list(self._sockets):
            with suppress(OSError):
                sock.close()


def log_in(settings: SftpSettings) -> SshLine:
    """Connect and authenticate, through jump hosts where `ssh_config` names some.

    Raises `ConnectionLostError`, `DestinationTimeoutError`, `HostKeyError`, `AuthenticationError`.
    """
    hops = route_to(settings)
    line = SshLine(settings)
    try:
        for number, hop in enumerate(hops):
            sock = _connect_through(line, hop) if number else _connect(line, hop)
            is_last = number == len(hops) - 1
            # Not for a jump host as well: compressed data does not get smaller.
            _start(line, sock, hop, settings, compression=settings.compression and is_last)
            only = settings.identity_file if is_last else None
            with UserKeys(hop.identity_files, only=only, label=settings.label) as keys:
                _authenticate(line, hop, keys)
    except BaseException:
        line.close()
        raise
    return line


# --- getting there -----------------------------------------------------------------------------------


def _connect(line: SshLine, hop: Hop) -> socket.socket:
    with line.translated(f"connect to {hop.name}", hint=_UNREACHABLE_HINT):
        # Text would have the tables of international names loaded, which takes as long as connecting.
        host = hop.host.encode() if hop.host.isascii() else hop.host
        address = host, hop.port
        sock = PromptSocket(socket.create_connection(address, timeout=line.guard.timeout_seconds))  # type: ignore[arg-type]  # as getaddrinfo, it takes both
        line.add_socket(sock)
        # Small requests are answered 30 ms later without this.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _connect_through(line: SshLine, hop: Hop) -> paramiko.Channel:
    with line.translated(f"connect to {hop.name} through the jump host", hint=_UNREACHABLE_HINT):
        try:
            return line.transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0))
        except paramiko.ChannelException as error:
            if error.code == 1:  # administratively prohibited, RFC 4254 section 5.1
                raise AccessDeniedError(
                    f"{line.label}: the jump host does not forward to {hop.name}",
                    hint="allow it there with AllowTcpForwarding and PermitOpen",
                ) from error
            raise


def _start(
    line: SshLine, sock: socket.socket | paramiko.Channel, hop: Hop, settings: SftpSettings, *, compression: bool
) -> None:
    known_path = settings.known_hosts_path
    try:
        text = known_path.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise HostKeyError(
            f"{line.label}: cannot read {known_path}: {error.strerror}",
            hint="known_hosts must name a file that the user that runs this may read",
        ) from error
    known = keys_of(text, hop.name)

    with line.translated(f"begin SSH with {hop.name}", hint=_NO_SSH_HINT):
        transport = paramiko.Transport(sock)
        line.add_transport(transport)
        transport.set_log_channel(_LOG_NAME)
        # The guard ends every wait; these only must not be shorter.
        patience_seconds = 2 * settings.timeout_seconds
        transport.banner_timeout = patience_seconds
        transport.handshake_timeout = patience_seconds
        transport.auth_timeout = patience_seconds
        transport.channel_timeout = patience_seconds
        transport.clear_to_send_timeout = patience_seconds
        options = transport.get_security_options()
        options.ciphers = [
            *(name for name in _FAST_CIPHERS if name in options.ciphers),
            *(name for name in options.ciphers if name not in _FAST_CIPHERS),
        ]
        # Ask for a key that we can check: a server with several offers the one that is asked for first.
        checkable = {
            name for entry in known for name in _ALGORITHMS_OF_KEY.get(entry.key.algorithm, (entry.key.algorithm,))
        }
        options.key_types = sorted(options.key_types, key=lambda name: name not in checkable)
        transport.use_compression(compression)
        transport.start_client()
        transport.set_keepalive(max(1, int(settings.timeout_seconds / 2)))
        offered = transport.get_remote_server_key()
    key = HostKey(offered.get_name(), offered.asbytes())
    judgement = judge(known, key)
    if judgement.verdict is not Verdict.KNOWN:
        raise _host_key_error(line.label, hop, key, judgement.verdict, f"{known_path}:{judgement.line}")


def _host_key_error(label: str, hop: Hop, key: HostKey, verdict: Verdict, place: str) -> HostKeyError:
    path = shlex.quote(place.rpartition(":")[0])
    offer = f"it offers {key.algorithm} {key.fingerprint}"
    compare = "compare the fingerprint with the server's own, as its administrator tells it, and then: "
    scan = f"ssh-keyscan -p {hop.port} {hop.host} >> {path}"
    if verdict is Verdict.REVOKED:
        return HostKeyError(
            f"{label}: the host key of {hop.name} is marked as revoked at {place} ({offer})",
            hint="do not connect; ask the server's administrator for its new key",
        )
    if verdict is Verdict.CHANGED:
        return HostKeyError(
            f"{label}: the host key of {hop.name} is not the one at {place} ({offer}):"
            " the server was set up anew, or somebody sits in between",
            hint=f"{compare}ssh-keygen -R '{hop.name}' -f {path} && {scan}",
        )
    return HostKeyError(f"{label}: the host key of {hop.name} is not in {path} ({offer})", hint=f"{compare}{scan}")


def _authenticate(line: SshLine, hop: Hop, keys: UserKeys) -> None:
    refused: list[str] = []
    for name, key in keys:
        with line.translated(f"log in as {hop.user}"):
            try:
                more = line.transport.auth_publickey(hop.user, key)
            except paramiko.BadAuthenticationType as error:
                raise AuthenticationError(
                    f"{line.label}: {hop.name} takes no public keys, only {', '.join(error.allowed_types)}",
                    hint="allow PubkeyAuthentication on the server",
                ) from error
            except paramiko.AuthenticationException:
                # After too many refused keys the server hangs up: that is no loss of the connection.
                if line.guard.fired or (not line.is_alive and not refused):
                    raise
                refused.append(name)
                if line.is_alive:
                    continue
                break
        if not more:
            return
        raise AuthenticationError(
            f"{line.label}: {hop.name} wants more than the key {name}: {', '.join(more)}",
            hint="let the key alone be enough for this account",
        )
    if not refused:
        raise AuthenticationError(
            f"{line.label}: there is no key to log in to {hop.name} with",
            hint="set identity_file, or start an agent that holds the key",
        )
    raise AuthenticationError(
        f"{line.label}: {hop.name} refused the user {hop.user} with {', '.join(refused)}",
        hint="let the server know the public half of the key (ssh-keygen -y -f FILE shows it) as one that"
        f" may log in as {hop.user}: a line in authorized_keys",
    )
