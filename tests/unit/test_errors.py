"""What an operator is told of a local folder that cannot be written to."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from replicator.errors import target_error


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EACCES, "as a user that may write there"),
        (errno.EPERM, "as a user that may write there"),
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "another disk"),
        (errno.ENOTDIR, ""),
    ],
)
def test_the_remedy_goes_by_the_kind_of_the_failure(code: int, remedy: str) -> None:
    error = target_error("write to", Path("/target"), OSError(code, os.strerror(code)))
    assert str(error) == f"cannot write to /target: {os.strerror(code)}"
    assert bool(error.hint) == bool(remedy)
    assert remedy in error.hint
