"""What happens in a service that somebody outside may want to act on, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class EventKind(StrEnum):
    """What happened. A failure happens when it begins: while it lasts, nothing more happens."""

    PUBLISHED = "published"
    PUBLISH_FAILED = "publish_failed"
    SHIPPING_FAILED = "shipping_failed"
    CHECKPOINT_FAILED = "checkpoint_failed"
    DRILL_FAILED = "drill_failed"
    MIRROR_FAILED = "mirror_failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a database or mirror (at a destination); what does not apply is empty."""

    kind: EventKind
    database: str = ""
    destination: str = ""
    generation: str = ""
    error: str = ""
    hint: str = ""
    mirror: str = ""


class Listener(Protocol):
    """Hears of events on the threads that they happen on."""

    def hear(self, event: Event) -> None:
        """Take note; must neither wait nor fail."""


class NoListener:
    """Nobody wants to know."""

    def hear(self, event: Event) -> None:
        """See `Listener`."""
