"""Running `replicator check` on configurations written for a test."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.bootstrap.destinations import connect
from replicator.config.load import load_config
from replicator.service.check import CheckStatus, check_all
from tests.support.openssh import UNPRIVILEGED_USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.config.model import Config, DestinationConfig
    from replicator.destination.interface import Destination
    from replicator.service.check import CheckResult

OK, WARN, FAILED = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAILED


class Checked:
    """The results of one run, in order."""

    def __init__(self, results: list[CheckResult]) -> None:
        self.results = results

    def __getitem__(self, line: tuple[str, str]) -> CheckResult:
        """Return the one line of a subject on a precondition."""
        (found,) = [result for result in self.results if (result.subject, result.what) == line]
        return found

    def of(self, subject: str) -> dict[str, CheckStatus]:
        """What was found of a subject."""
        return {result.what: result.status for result in self.results if result.subject == subject}

    def wrong(self) -> list[CheckResult]:
        """All that is not well; each of these says what to do about it."""
        found = [result for result in self.results if result.status is not OK]
        assert all(result.hint for result in found), found
        return found


def database_toml(path: Path, root: Path, more: str = "") -> str:
    return f'[[database]]\nname = "chat"\npath = "{path}"\ncheckpoint_root = "{root}"\nmin_free = "0%"\n{more}\n'


def directory_toml(base: Path) -> str:
    return f'[[destination]]\nname = "disk"\nurl = "file://{base}"\n'


def configuration(folder: Path, *sections: str) -> Config:
    """Load a configuration as the command does."""
    path = folder / "replicator.toml"
    path.write_text("\n".join(sections))
    return load_config(path)


def connect_as_configured(chosen: DestinationConfig) -> Destination:
    """Do as the command does."""
    return connect(chosen.url, config=chosen)


def check(
    config: Config, connect_to: Callable[[DestinationConfig], Destination] = connect_as_configured
) -> Checked:
    """Check everything."""
    return Checked(list(check_all(config, connect_to=connect_to)))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Do without root's powers for a while; without them anyway, nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam(UNPRIVILEGED_USER).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
