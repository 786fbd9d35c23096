"""The keys that a user may log in with: a given file, those of the configuration, the agent's, the usual ones."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm

from replicator.destination.ssh_library import UnknownKeyType, paramiko
from replicator.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

#: How the line of a public key begins.
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
_USUAL_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


class UserKeys:
    """Iterates over (name, key), the likeliest first. With `only`, over that file's key alone.

    A key under a passphrase is used through the agent. Raises `AuthenticationError` if `only` cannot be used.
    """

    def __init__(self, files: Sequence[Path], *, only: Path | None, label: str) -> None:
        self._files = files
        self._only = only
        self._label = label
        self._agent: paramiko.Agent | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._agent is not None:
            self._agent.close()

    def __iter__(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self._only is not None:
            yield from self._given(self._only)
            return
        usual = [Path.home() / ".ssh" / name for name in _USUAL_NAMES]
        for path in dict.fromkeys([*self._files, *usual]):
            if path.exists() and (key := self._load(path)) is not None:
                yield str(path), key
        yield from self._agent_keys()

    def _given(self, path: Path) -> Iterator[tuple[str, paramiko.PKey]]:
        key = self._load(path)
        if key is not None:
            yield str(path), key
            return
        held = list(self._agent_keys())
        if not held:
            raise AuthenticationError(
                f"{self._label}: {path} is protected by a passphrase, and no agent holds it",
                hint=f"ssh-add {path}, or use a key without a passphrase for this account",
            )
        yield from held

    def _agent_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        try:
            self._agent = self._agent or paramiko.Agent()
            keys = self._agent.get_keys()
        except (OSError, paramiko.SSHException):
            return  # SSH_AUTH_SOCK of an agent that is gone is as good as none
        for key in keys:
            yield f"the agent's {key.comment or key.get_name()}", key

    def _load(self, path: Path) -> paramiko.PKey | None:
        """Return the key, or None if a passphrase protects it."""
        if path.suffix == ".pub":
            raise self._unusable(path, "it is the public key")
        self._check_private(path)
        try:
            return paramiko.PKey.from_path(path)
        except paramiko.PasswordRequiredException:
            return None
        except TypeError as error:  # what the cryptography library says of a missing password
            if "password" in str(error).lower():
                return None
            raise self._unusable(path, str(error)) from error
        except OSError as error:
            raise self._unusable(path, error.strerror or str(error)) from error
        except (ValueError, UnsupportedAlgorithm, paramiko.SSHException, UnknownKeyType) as error:
            raise self._unusable(path, _what_it_is(path)) from error

    def _check_private(self, path: Path) -> None:
        try:
            status = path.stat()
        except OSError as error:
            raise self._unusable(path, error.strerror or str(error)) from error
        # The rule of ssh: keys that belong to somebody else (root's, shared with a group) are their business.
        if status.st_uid == os.geteuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise AuthenticationError(
                f"{self._label}: others may read the private key {path}", hint=f"chmod 600 {path}"
            )

    def _unusable(self, path: Path, reason: str) -> AuthenticationError:
        return AuthenticationError(
            f"{self._label}: cannot use the identity file {path}: {reason}",
            hint="it must exist, be a private key, and be readable for the user that runs this",
        )


def _what_it_is(path: Path) -> str:
    # What the libraries say of it is for programmers.
    with suppress(OSError):
        if path.read_bytes().startswith(_PUBLIC):
            return "it is the public key"
    return "it is no private key"
