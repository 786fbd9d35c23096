"""From a destination's configuration to its adapter, and to what tries again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from replicator.config.credential import passed_on
from replicator.config.model import DEFAULT_CONNECTIONS
from replicator.destination.rate_limit import RateLimiter
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.locator import DirectoryUrl
from replicator.units import format_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from replicator.config.model import DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.errors import DestinationError
    from replicator.locator import DestinationUrl, SftpUrl
    from replicator.service.reporter import Reporter

_log = structlog.get_logger()


def rate_limiter(config: DestinationConfig) -> RateLimiter | None:
    """Return what holds all connections to a destination that share it down to its limit; None without one."""
    return RateLimiter(config.limit_bytes_per_second) if config.limit_bytes_per_second else None


def single_try_destination(
    config: DestinationConfig,
    limiter: RateLimiter | None,
    *,
    stop: threading.Event,
    first: Callable[[], Destination | None] = lambda: None,
) -> Destination:
    """Return the configured destination, which connects when it is used, and leaves trying again to its user.

    `first` may have a connection already.
    """
    return RetryingDestination(
        lambda: first() or connect(config.url, config=config, limiter=limiter),
        label=str(config.url),
        policy=RetryPolicy(attempts=1),
        stop=stop,
    )


def retrying_destination(
    config: DestinationConfig, limiter: RateLimiter | None, *, stop: threading.Event, reporter: Reporter
) -> RetryingDestination:
    """Return the configured destination, which connects when it is first used and tries again what may heal."""

    def tell_retry(error: DestinationError, attempt: int, wait_seconds: float) -> None:
        reporter.failed(error, next_try_in_seconds=wait_seconds, will_heal=True)
        _log.warning(
            "destination.retry",
            destination=config.name,
            error=error,
            attempt=attempt,
            next_try_in=format_duration(wait_seconds),
        )

    return RetryingDestination(
        lambda: connect(config.url, config=config, limiter=limiter),
        label=str(config.url),
        stop=stop,
        on_retry=tell_retry,
    )


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
