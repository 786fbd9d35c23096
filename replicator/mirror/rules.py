"""What is to be mirrored and how, and what a pass came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.mirror.excludes import Excludes
    from replicator.mirror.remove import Refused
    from replicator.mirror.sending import Tally
    from replicator.mirror.staging import MirrorSource


@dataclass(frozen=True, slots=True)
class MirrorRules:
    """What is to be mirrored, and how; `delete` if what is not here is removed there."""

    name: str
    path: Path
    source: MirrorSource
    excludes: Excludes
    delete: bool
    take_over: bool
    take_over_command: str


@dataclass(slots=True)
class Outcome:
    """What a pass came to."""

    tally: Tally
    refused: Refused | None = None
    #: Sockets, pipes and devices.
    special: list[str] = field(default_factory=list)
