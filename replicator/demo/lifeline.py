"""The rule that no process of the demo outlives the one that started it."""

from __future__ import annotations

import os
import threading

_STANDARD_INPUT = 0


def die_with_parent() -> None:
    """Watch standard input, a pipe from the parent, in the background; when it ends, die as if killed.

    Better than Linux's parent-death signal, which comes already when the parent's *thread* ends.
    """

    def watch() -> None:
        while os.read(_STANDARD_INPUT, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
