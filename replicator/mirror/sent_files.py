"""Files that were sent lately, so that events which only tell of what was sent already send nothing."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from replicator.mirror.paths import join

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.mirror.plan import LocalEntry

_NANOSECONDS: Final = 1e-9
#: A file that was sent so long after it was changed would show a later change.
_SURE_SECONDS: Final = 0.1
_MOST_REMEMBERED: Final = 10_000
#: Clocks of filesystems tick every few milliseconds.
_TICK_SECONDS: Final = 0.1


class SentFiles:
    """Remembers what files were like when they were sent; `clock` is that of the filesystem."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # No event that is still to come tells of an earlier change.
        self._since_ns = int((clock() - _TICK_SECONDS) / _NANOSECONDS)
        self._files: OrderedDict[str, LocalEntry] = OrderedDict()

    def remember(self, path: str, entry: LocalEntry) -> None:
        """Note a file as it was before it was sent, which is just over."""
        if self._clock() - entry.changed_ns * _NANOSECONDS < _SURE_SECONDS:
            self.forget(path)
            return
        self._files[path] = entry
        self._files.move_to_end(path)
        if len(self._files) > _MOST_REMEMBERED:
            self._files.popitem(last=False)

    def remember_all(self, folder: str, files: Mapping[str, LocalEntry]) -> None:
        """The same for files in one folder, by their names."""
        for name, entry in files.items():
            if entry.changed_ns >= self._since_ns:
                self.remember(join(folder, name), entry)

    def has(self, path: str, entry: LocalEntry) -> bool:
        """Say whether the file lies there as it is here now."""
        return self._files.get(path) == entry

    def forget(self, path: str) -> None:
        """Say that it was removed there."""
        self._files.pop(path, None)

    def clear(self) -> None:
        """Say that much was moved or removed there."""
        self._files.clear()
