"""Checkpoint roots in the hands of the service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.checkpoint.pinned import discard_pinned
from replicator.service.lock import hold_checkpoint_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.checkpoint.rotation import CheckpointRoot


@contextmanager
def hold_mended(root: CheckpointRoot) -> Iterator[None]:
    """Hold a checkpoint root for as long as the context lasts; it is made, or mended after a crash.

    Raises `LockedError` and `CheckpointError` if it cannot be had.
    """
    root.create()
    with hold_checkpoint_root(root.path):
        root.recover()
        discard_pinned(root)
        try:
            yield
        finally:
            discard_pinned(root)
