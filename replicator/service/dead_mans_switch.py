"""The dead man's switch: a URL is fetched again and again for as long as all is well.

Who serves it raises the alarm when that ends, whatever the reason: also when this host is gone. The URL often
holds a token, so it is never logged.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from replicator.config.values import HeartbeatUrl
    from replicator.service.health import Health

_FETCH_SECONDS: Final = 10.0

_log = structlog.get_logger()


class DeadMansSwitch:
    """Fetches `url` every `interval_seconds` from entry into the `with` block to its end, while all is well.

    Both may be replaced at any time; without a URL nothing happens.
    """

    def __init__(self, health: Health, *, url: HeartbeatUrl | None, interval_seconds: float) -> None:
        self._health = health
        self.url = url
        self.interval_seconds = interval_seconds
        self._stop = threading.Event()
        # A name service that does not answer must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="dead man's switch", daemon=True)
        self._is_failing = False
        self._is_silent = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_FETCH_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_seconds):
            if url := self.url:
                self._beat(url)

    def _beat(self, url: HeartbeatUrl) -> None:
        if problems := self._health.all_problems():
            if not self._is_silent:
                self._is_silent = True
                _log.warning("heartbeat.silent", reasons=problems)
            return
        self._is_silent = False
        reason = fetch(url.text)
        if reason and not self._is_failing:
            _log.warning(
                "heartbeat.failed",
                host=urlsplit(url.text).hostname,
                error=reason,
                hint="whoever serves service.heartbeat_url will take this host for dead",
            )
        self._is_failing = bool(reason)


def fetch(url: str) -> str:
    """Fetch a URL, whatever it returns; return what went wrong, without a word of the URL."""
    # Loaded by those who have such a URL: TLS alone is a hundredth of a second.
    import http.client  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    try:
        # The configuration lets http and https pass, nothing else.
        with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:  # noqa: S310
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answered {error.code}"
    except urllib.error.URLError as error:
        return (isinstance(error.reason, OSError) and error.reason.strerror) or type(error.reason).__name__
    except (OSError, ValueError, http.client.HTTPException) as error:
        return type(error).__name__
    return ""
