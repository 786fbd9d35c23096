"""What a check comes to: one value for each precondition, and what to do where an error does not say it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from replicator.errors import (
    AccessDeniedError,
    ConnectionLostError,
    CorruptFileError,
    DestinationError,
    DestinationTimeoutError,
    MissingCapabilityError,
    NoSpaceError,
    ReplicatorError,
    SourceChangedError,
    SourceError,
    UnsupportedFormatError,
)

#: The names of all that a check makes and removes begin so.
PROBE_PREFIX: Final = ".replicator-check-"


class CheckStatus(Enum):
    """How a precondition stands. `WARN` works, at a price that the line tells."""

    OK = "OK"
    WARN = "WARN"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One precondition `what` of `subject`: what was found, and what to do about it (empty if nothing)."""

    status: CheckStatus
    subject: str
    what: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the results are about, such as `database conduwuit`."""

    name: str

    def ok(self, what: str, detail: str) -> CheckResult:
        """All is well."""
        return CheckResult(CheckStatus.OK, self.name, what, detail)

    def warn(self, what: str, detail: str, hint: str) -> CheckResult:
        """It works, at a price."""
        return CheckResult(CheckStatus.WARN, self.name, what, detail, hint)

    def failed(self, what: str, detail: str, hint: str) -> CheckResult:
        """It does not work."""
        return CheckResult(CheckStatus.FAILED, self.name, what, detail, hint)

    def failed_with(self, what: str, error: ReplicatorError | OSError) -> CheckResult:
        """It does not work, for this reason."""
        hint = error.hint if isinstance(error, ReplicatorError) else ""
        return self.failed(what, str(error), hint or _hint_for(error))


#: The first class that fits counts.
_HINTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ConnectionLostError, "is the host up, are host and port of the URL right, does a firewall let it through?"),
    (
        DestinationTimeoutError,
        "does a firewall drop packets, does the host hang? a slow line needs a longer timeout",
    ),
    (
        AccessDeniedError,
        "let the account do that: owner and mode of the folder, a read-only mount, a filesystem without links",
    ),
    (NoSpaceError, "make room there"),
    (MissingCapabilityError, "use a server (such as OpenSSH) or filesystem that has it"),
    (DestinationError, "the log of the server may say more"),
    (SourceChangedError, "the database changed at each look: try again"),
    (CorruptFileError, "the database's own files look damaged: check its disk before it is started again"),
    (UnsupportedFormatError, "report this, with the version of RocksDB that the application uses"),
    (SourceError, "run as the application's user, or grant the service's user access"),
    (OSError, "run as the application's user, or grant the service's user access"),
)


def _hint_for(error: Exception) -> str:
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
