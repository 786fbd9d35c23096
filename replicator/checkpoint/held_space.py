"""How much space is in use only because of links in certain folders."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BLOCK_BYTES = 512  # the unit of st_blocks


def solely_held_bytes(folders: Iterable[Path]) -> int:
    """Return what removing all of `folders` would free: the files that have no name anywhere else.

    A file that is linked in several of them counts once, and only if these are all the names that it has. Names
    that go away meanwhile are left out. Folders in them are not looked into: checkpoints have none.
    """
    names: Counter[int] = Counter()
    files: dict[int, os.stat_result] = {}
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    # Not `entry.stat()`: the count of names must be that of this moment.
                    status = os.lstat(entry.path)
                    names[status.st_ino] += 1
                    files[status.st_ino] = status
        except FileNotFoundError:
            continue
    return sum(
        status.st_blocks * _BLOCK_BYTES for inode, status in files.items() if status.st_nlink == names[inode]
    )
