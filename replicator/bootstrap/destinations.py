"""From a destination's configuration to its adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.config.credential import passed_on
from replicator.config.model import DEFAULT_CONNECTIONS
from replicator.destination.rate_limit import RateLimiter
from replicator.locator import DirectoryUrl

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.config.model import DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.locator import DestinationUrl, SftpUrl


def rate_limiter(config: DestinationConfig) -> RateLimiter | None:
    """Return what holds all connections to a destination that share it down to its limit; None without one."""
    return RateLimiter(config.limit_bytes_per_second) if config.limit_bytes_per_second else None


def connect(
    url: DestinationUrl,
    *,
    config: DestinationConfig | None = None,
    limiter: RateLimiter | None = None,
    identity_file: Path | None = None,
    known_hosts: Path | None = None,
) -> Destination:
    """Open the destination behind a URL, once. What `config` says of keys goes before the other arguments.

    Raises `DestinationError`.
    """
    if isinstance(url, DirectoryUrl):
        from replicator.destination.directory import DirectoryDestination

        return DirectoryDestination(url.base, label=str(url), limiter=limiter)
    return _connect_by_ssh(url, config, limiter, identity_file, known_hosts)


def _connect_by_ssh(
    url: SftpUrl,
    config: DestinationConfig | None,
    limiter: RateLimiter | None,
    identity_file: Path | None,
    known_hosts: Path | None,
) -> Destination:
    from replicator.destination.sftp_connection import SftpConnection
    from replicator.destination.sftp_route import SftpSettings

    settings = SftpSettings(
        host=url.host,
        port=url.port,
        user=url.user,
        base=url.base,
        label=str(url),
        identity_file=passed_on(config.identity_file) if config else identity_file,
        known_hosts=config.known_hosts if config else known_hosts,
    )
    if config:
        settings = replace(settings, timeout_seconds=config.timeout_seconds, compression=config.compression)
    connection = SftpConnection.open(settings)
    # Not needed to log in: `ahead` loads it meanwhile.
    from replicator.destination.sftp import SftpDestination
    from replicator.destination.sftp_helpers import Sharing

    connections = config.connections if config else DEFAULT_CONNECTIONS
    return SftpDestination.over(connection, settings, limiter, Sharing(connections))
