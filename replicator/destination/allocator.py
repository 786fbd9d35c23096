"""Ask glibc to keep the memory of large buffers for the next ones.

A transfer allocates and frees a buffer for each piece of a file. By default glibc takes many of them from the
system and gives them back at once, and then the kernel clears every page anew: a fifth of the CPU time of a
download went there. Other C libraries are left as they are.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3

_KEPT_BYTES = 32 << 20
_AHEAD_BYTES = 4 << 20


@cache
def keep_freed_memory() -> None:
    """Keep up to 32 MiB that were freed, for the whole process."""
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_TOP_PAD, _AHEAD_BYTES)
