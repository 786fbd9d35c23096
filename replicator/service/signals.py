"""Turning signals into an orderly end: the first one asks, the second one does not.

Signals are waited for on a thread of their own rather than handled wherever they happen to arrive: a handler
may interrupt the holder of the very lock that it needs.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM})
_WATCHED = _ENDING | {signal.SIGHUP}


class SignalWatcher:
    """Calls `on_stop` at the first SIGINT or SIGTERM and ends the process at once at the second.

    SIGHUP calls `on_reload`.

    Has to be made on the main thread, before any other thread is started.
    """

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        #: What SIGHUP leads to; nothing, but for a word, if that is None.
        self.on_reload: Callable[[], None] | None = None
        self.received: signal.Signals | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        while True:
            received = signal.Signals(signal.sigwait(_WATCHED))
            if received not in _ENDING:
                if self.on_reload:
                    self.on_reload()
                else:
                    _log.warning("reload.unavailable", hint="only a running service reads its configuration anew")
            elif self.received is None:
                self.received = received
                _log.info("service.stopping", signal=received.name, hint="send it again to stop at once")
                self._on_stop()
            else:
                os._exit(128 + received)
