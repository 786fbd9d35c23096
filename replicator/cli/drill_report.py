"""What `replicator drill` prints. Values in, text or a document out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from replicator.errors import DamageError
from replicator.moments import format_moment
from replicator.reports import align, to_the_second
from replicator.service.drill import Sound
from replicator.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.errors import ReplicatorError
    from replicator.service.drill import Drilled

_HEADING: Final = ("", "DATABASE", "DESTINATION", "GENERATION", "STATE", "LOSS", "TOOK", "FILES", "SIZE", "ENGINE")
_UNKNOWN: Final = "-"


def drills_document(drills: Sequence[Drilled]) -> dict[str, Any]:
    """One object for each pair; null is what a drill that failed did not find out."""
    return {
        "sound": all(isinstance(drilled.outcome, Sound) for drilled in drills),
        "drills": [
            {
                "database": drilled.database,
                "destination": drilled.destination,
                "began_at": format_moment(drilled.began_at),
                "took_seconds": round(drilled.took_seconds, 3),
                **_outcome_document(drilled.outcome),
            }
            for drilled in drills
        ],
    }


def drills_text(drills: Sequence[Drilled]) -> str:
    """One line for each pair, and lines below for what went wrong."""
    rows = [_row(drilled) for drilled in drills]
    remarks = [line for drilled in drills for line in _remarks(drilled)]
    return "\n".join([align([_HEADING, *rows]), *([""] if remarks else []), *remarks])


def _outcome_document(outcome: Sound | ReplicatorError) -> dict[str, Any]:
    sound = outcome if isinstance(outcome, Sound) else None
    error = None if isinstance(outcome, Sound) else outcome
    return {
        "sound": sound is not None,
        "generation": str(sound.restored.generation) if sound else None,
        "state_at": format_moment(sound.restored.state_at) if sound else None,
        "loss_seconds": sound.loss_seconds if sound else None,
        "files": sound.restored.files if sound else None,
        "size_bytes": sound.restored.size_bytes if sound else None,
        "engine_opened": sound.engine.opened if sound else None,
        "engine": sound.engine.text if sound else None,
        "error": str(error) if error else None,
        "hint": error.hint if error else None,
        "damage": list(error.findings) if isinstance(error, DamageError) else [],
    }


def _row(drilled: Drilled) -> tuple[str, ...]:
    names, took = (drilled.database, drilled.destination), format_duration(drilled.took_seconds)
    match drilled.outcome:
        case Sound(restored, loss_seconds, engine):
            return (
                "OK",
                *names,
                str(restored.generation),
                to_the_second(restored.state_at),
                format_duration(loss_seconds),
                took,
                str(restored.files),
                format_size(restored.size_bytes),
                engine.text,
            )
        case _:
            return ("FAILED", *names, _UNKNOWN, _UNKNOWN, _UNKNOWN, took, _UNKNOWN, _UNKNOWN, "")


def _remarks(drilled: Drilled) -> Iterable[str]:
    if not isinstance(drilled.outcome, Sound):
        yield f"{drilled.database} -> {drilled.destination}: {drilled.outcome}"
        if drilled.outcome.hint:
            yield f"  hint: {drilled.outcome.hint}"
