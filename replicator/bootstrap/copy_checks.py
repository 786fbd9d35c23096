"""From the configured thoroughness to the check that each new checkpoint must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.checkpoint.verification import check_nothing, check_structure, check_with_engine
from replicator.config.choices import Verification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.checkpoint.verification import CopyCheck

COPY_CHECKS: Mapping[Verification, CopyCheck] = {
    Verification.OFF: check_nothing,
    Verification.STRUCTURE: check_structure,
    Verification.ENGINE: check_with_engine,
}
