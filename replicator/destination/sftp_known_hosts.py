"""What a known_hosts file says of a host. Text in, values out: no I/O.

Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

_DEFAULT_PORT = 22


class Verdict(Enum):
    """How a host key stands to what is known."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as it crosses the wire."""

    algorithm: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh shows it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of the file that speaks of the host asked for."""

    line: int
    key: HostKey
    revoked: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of an offered key; `line` is where it stands, or where another one stands in its place."""

    verdict: Verdict
    line: int = 0


def host_name(host: str, port: int) -> str:
    """Return how known_hosts names a server."""
    return host.lower() if port == _DEFAULT_PORT else f"[{host.lower()}]:{port}"


def keys_of(text: str, name: str) -> list[KnownKey]:
    """Return the lines of a known_hosts file that speak of `name` (see `host_name`).

    Lines that cannot be read are skipped, as ssh does. Those of certificate authorities are too: a
    certificate is never asked for, so such a line neither admits nor refuses a plain key.
    """
    found: list[KnownKey] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if marker not in {"", "@revoked"} or len(fields) < 3:  # noqa: PLR2004 - hosts, algorithm, key
            continue
        hosts, algorithm, encoded = fields[:3]
        try:
            blob = base64.b64decode(encoded, validate=True)
        except ValueError:
            continue
        if _matches(hosts, name):
            found.append(KnownKey(number, HostKey(algorithm, blob), revoked=bool(marker)))
    return found


def judge(known: list[KnownKey], offered: HostKey) -> Judgement:
    """Compare the key that a server offers with what is known of it."""
    same = [entry for entry in known if entry.key.blob == offered.blob]
    for entry in same:
        if entry.revoked:
            return Judgement(Verdict.REVOKED, entry.line)
    if same:
        return Judgement(Verdict.KNOWN, same[0].line)
    others = [entry for entry in known if not entry.revoked]
    # Of the same algorithm is the telling one: with several keys a server has one of each.
    others.sort(key=lambda entry: entry.key.algorithm != offered.algorithm)
    return Judgement(Verdict.CHANGED, others[0].line) if others else Judgement(Verdict.UNKNOWN)


def _matches(hosts: str, name: str) -> bool:
    if hosts.startswith("|"):
        return _matches_hash(hosts, name)
    matched = False
    for item in hosts.split(","):
        pattern = item.lower()
        if pattern.startswith("!"):
            if _matches_pattern(pattern[1:], name):
                return False
        elif _matches_pattern(pattern, name):
            matched = True
    return matched


def _matches_pattern(pattern: str, name: str) -> bool:
    # Brackets belong to the name here; only * and ? are wild.
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(hosts: str, name: str) -> bool:
    try:
        _, version, salt, digest = hosts.split("|")
        if version != "1":
            return False
        wanted = base64.b64decode(digest, validate=True)
        found = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    except ValueError:
        return False
    return hmac.compare_digest(wanted, found)
