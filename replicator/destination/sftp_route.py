"""Where an SFTP account is, and by which servers to get there: settings, and OpenSSH's client configuration.

What `ssh_config` says through HostName, Port, User, IdentityFile and ProxyJump is followed; `Include` is not
known to paramiko.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from replicator.destination.sftp_known_hosts import host_name
from replicator.destination.ssh_library import paramiko
from replicator.errors import PermanentDestinationError

_DEFAULT_PORT = 22
_MOST_JUMPS = 8


@dataclass(frozen=True, slots=True)
class SftpSettings:
    """Where an SFTP account is and how to log in.

    `host` may be an alias of `ssh_config`; what is given here goes before what stands there. `base` is the
    folder below which everything happens, as the account sees it. `timeout_seconds` bounds every wait. With
    `compression` both sides compress what they send, if the server is ready to.
    """

    host: str
    base: PurePosixPath
    label: str
    port: int | None = None
    user: str | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    ssh_config: Path | None = None
    timeout_seconds: float = 30.0
    compression: bool = False

    @property
    def known_hosts_path(self) -> Path:
        """The file that host keys are checked against."""
        return self.known_hosts or Path.home() / ".ssh" / "known_hosts"

    @property
    def ssh_config_path(self) -> Path:
        """The configuration of OpenSSH's client."""
        return self.ssh_config or Path.home() / ".ssh" / "config"


@dataclass(frozen=True, slots=True)
class Hop:
    """One server on the way, with the keys that the configuration names for it."""

    host: str
    port: int
    user: str
    identity_files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """How known_hosts names it."""
        return host_name(self.host, self.port)


def route_to(settings: SftpSettings) -> list[Hop]:
    """Return the servers to go through, the destination last.

    Raises `PermanentDestinationError` if `ssh_config` cannot be used.
    """
    path = settings.ssh_config_path
    try:
        config = paramiko.SSHConfig.from_path(str(path)) if path.exists() else paramiko.SSHConfig()
        return _resolve(config, settings.host, settings.user, settings.port, depth=0)
    except (OSError, ValueError, ImportError, paramiko.SSHException) as error:
        raise PermanentDestinationError(
            f"{settings.label}: cannot use {path}: {error}", hint="correct the file, or give host, user and port"
        ) from error


def _resolve(
    config: paramiko.SSHConfig, host: str, user: str | None, port: int | None, *, depth: int
) -> list[Hop]:
    if depth > _MOST_JUMPS:
        raise ValueError(f"more than {_MOST_JUMPS} jump hosts: does {host} jump through itself?")
    found = config.lookup(host)
    hop = Hop(
        host=found["hostname"],
        port=port or int(found.get("port", _DEFAULT_PORT)),
        user=user or found.get("user") or getpass.getuser(),
        identity_files=tuple(Path(name).expanduser() for name in found.get("identityfile", [])),
    )
    jumps = found.get("proxyjump", "none")
    if jumps.lower() == "none":
        return [hop]
    before: list[Hop] = []
    for number, jump in enumerate(jumps.split(",")):
        jump_user, jump_host, jump_port = _split(jump.strip())
        way = _resolve(config, jump_host, jump_user, jump_port, depth=depth + 1)
        # Only the first of a chain is reached by its own way; the others are reached from the one before.
        before += way if number == 0 else way[-1:]
    return [*before, hop]


def _split(jump: str) -> tuple[str | None, str, int | None]:
    """Take `[user@]host[:port]` or `ssh://...` apart."""
    user, _, address = jump.removeprefix("ssh://").rstrip("/").rpartition("@")
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    else:
        host, port = address, ""
    return user or None, host, int(port) if port else None
