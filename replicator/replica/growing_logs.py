"""Which write-ahead logs of a database may still have grown after their lengths were read. Pure.

Only the newest log grows, but for one moment: RocksDB creates the next log before it writes out the last buffer
of the one before. Until the newer one has its first batch, the older one may not be complete.

Source: RocksDB `db/db_impl/db_impl_write.cc` (`SwitchMemtable`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.replica.layout import wal_number

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A log that is shorter may hold nothing yet but records about itself: its compression, its predecessor.
_FIRST_BATCH_BYTES = 64


def growing_logs(sizes: Mapping[str, int]) -> frozenset[str]:
    """Return the logs that may grow; `sizes` are the lengths in bytes of files by name, logs among them."""
    logs = [name for name in sizes if wal_number(name) is not None]
    newest_first = sorted(logs, key=lambda name: wal_number(name) or 0, reverse=True)
    count = 2 if newest_first and sizes[newest_first[0]] < _FIRST_BATCH_BYTES else 1
    return frozenset(newest_first[:count])
