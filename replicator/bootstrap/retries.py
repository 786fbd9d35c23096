"""From a destination's configuration to one that connects when it is used, and may try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from replicator.bootstrap.destinations import connect
from replicator.destination.retrying import RetryingDestination, RetryPolicy
from replicator.units import format_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from replicator.config.model import DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.destination.rate_limit import RateLimiter
    from replicator.errors import DestinationError
    from replicator.service.reporter import Reporter

_log = structlog.get_logger()


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
