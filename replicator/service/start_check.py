"""All preconditions are tried when the service starts, as by `replicator check`; what is wrong is logged.

Nothing of it ends the service: most of it heals, and who needs it tries again and says so. It has a thread of its
own, so that the work begins at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from replicator.service.check_result import CheckResult

_log = structlog.get_logger()


class StartCheck:
    """Goes through what `check` yields, once, from entry into the `with` block on."""

    def __init__(self, check: Callable[[], Iterable[CheckResult]]) -> None:
        self._check = check
        self._stop = threading.Event()
        # A destination that does not answer must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="start check", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def _run(self) -> None:
        # Loaded here because a single pass does without.
        from replicator.service.check_result import CheckStatus  # noqa: PLC0415

        found = Counter[CheckStatus]()
        for result in self._check():
            if self._stop.is_set():
                return
            found[result.status] += 1
            values = {
                "subject": result.subject,
                "what": result.what,
                "detail": result.detail,
                "hint": result.hint,
            }
            if result.status is CheckStatus.WARN:
                _log.warning("check.warning", **values)
            elif result.status is CheckStatus.FAILED:
                _log.error("check.failed", **values)
        _log.info("check.done", **{status.value.lower(): found[status] for status in CheckStatus})
