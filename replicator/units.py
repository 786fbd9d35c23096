"""Durations, sizes, rates and shares: from the text that people write, and back to text that people read.

Pure. Each `parse_` function raises `ValueError` with a message that begins with what is wrong and goes on with
the accepted forms, fit to stand behind the key of a configuration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KIB_BYTES: Final = 1024

_DURATION_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_BYTES: Final = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
_PERCENT: Final = 100

# The number of digits is bounded so that no text becomes an infinite float.
_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z%]+)", re.ASCII)

_DURATION_FORMS: Final = 'write a number and one of ms, s, m, h, d, such as "100ms", "30s", "5m" or "1d"'
_SIZE_FORMS: Final = 'write a number and one of B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB), such as "2GiB"'
_RATE_FORMS: Final = 'write a size and "/s", such as "20MiB/s"'
_SHARE_FORMS: Final = 'write a number from 0 to 100 and a percent sign, such as "5%"'


def parse_duration_seconds(text: str) -> float:
    """Return the seconds that a text such as `100ms` or `1.5h` stands for."""
    number, unit = _split(text, _DURATION_SECONDS, "duration", _DURATION_FORMS)
    # Rounded so that 100 ms is 0.1 and not the float beside it.
    return round(float(number) * _DURATION_SECONDS[unit], 9)


def parse_size_bytes(text: str) -> int:
    """Return the bytes that a text such as `2GiB` stands for; fractions of a byte are dropped."""
    number, unit = _split(text, _SIZE_BYTES, "size", _SIZE_FORMS)
    if "." in number:
        return int(float(number) * _SIZE_BYTES[unit])
    return int(number) * _SIZE_BYTES[unit]


def parse_rate_bytes_per_second(text: str) -> int:
    """Return the bytes per second that a text such as `20MiB/s` stands for."""
    size, slash, per = text.partition("/")
    if not slash or per.strip() != "s":
        raise ValueError(f"is not a rate; {_RATE_FORMS}")
    try:
        return parse_size_bytes(size.rstrip(" "))
    except ValueError:
        raise ValueError(f"is not a rate; {_RATE_FORMS}") from None


def parse_share(text: str) -> float:
    """Return the fraction, from 0.0 to 1.0, that a text such as `5%` stands for."""
    number, _ = _split(text, {"%": 1}, "share", _SHARE_FORMS)
    share = float(number) / _PERCENT
    if share > 1:
        raise ValueError(f"is more than 100%; {_SHARE_FORMS}")
    return share


def format_size(size_bytes: int) -> str:
    """Write a size with three or four digits: `0 B`, `1023 B`, `1.50 KiB`, `20.0 MiB`, `512 GiB`."""
    if size_bytes < KIB_BYTES:
        return f"{size_bytes} B"
    value, unit = size_bytes / KIB_BYTES, "KiB"
    for larger_unit in ("MiB", "GiB", "TiB"):
        # 1023.5 would be written as 1024.
        if value < KIB_BYTES - 0.5:
            break
        value, unit = value / KIB_BYTES, larger_unit
    return f"{_three_digits(value)} {unit}"


def format_duration(seconds: float) -> str:
    """Write a duration with its two largest units: `12 ms`, `3.2 s`, `5 m 07 s`, `2 h 05 m`, `3 d 04 h`."""
    if seconds < 0.9995:  # noqa: PLR2004 (less than that is not rounded up to 1000 ms)
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:  # noqa: PLR2004 (less than that is not rounded up to 60.0 s)
        return f"{seconds:.1f} s"
    minutes, rest_seconds = divmod(round(seconds), 60)
    hours, rest_minutes = divmod(minutes, 60)
    days, rest_hours = divmod(hours, 24)
    if days:
        return f"{days} d {rest_hours:02d} h"
    if hours:
        return f"{hours} h {rest_minutes:02d} m"
    return f"{minutes} m {rest_seconds:02d} s"


def _split(text: str, units: Mapping[str, float], what: str, forms: str) -> tuple[str, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"is not a {what}; {forms}")
    return match[1], match[2]


def _three_digits(value: float) -> str:
    for digits, below in ((2, 9.995), (1, 99.95)):
        if value < below:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"
