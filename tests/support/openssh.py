"""A real OpenSSH server on loopback with keys, configuration and account folder of its own.

It runs as an unprivileged account of Debian's base system when the tests run as root (as in a container), else
as whoever runs them; a chroot needs root.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import psutil

from replicator.destination.sftp_route import SftpSettings
from tests.support import talkative_sftp_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

UNPRIVILEGED_USER = "nobody"
_START_SECONDS = 20.0
_END_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server is set up.

    `denied` are requests of sftp-server's option -P; `prints` is what an account says that lets nobody in.
    `talkative`: it says what nobody asked for, see `talkative_sftp_server`; its user needs a shell.
    `tools` is a folder whose commands the account's shell finds first; `most_sessions` is for each connection.
    `place` is where its folder is made; below a place that everybody may write to there is no `chroot`.
    """

    chroot: bool = False
    denied: tuple[str, ...] = ()
    sftp: bool = True
    prints: str = ""
    talkative: bool = False
    forwarding: bool = True
    host_key_types: tuple[str, ...] = ("ed25519",)
    tools: Path | None = None
    most_sessions: int = 10
    place: Path | None = field(default_factory=lambda: Path("/srv") if os.geteuid() == 0 else None)
    user: str = field(default_factory=lambda: UNPRIVILEGED_USER if os.geteuid() == 0 else getpass.getuser())


def with_shell(*, tools: Path | None = None, most_sessions: int = 10) -> ServerOptions:
    """Return options for an account that has a shell: the one that runs the tests."""
    return ServerOptions(user=getpass.getuser(), tools=tools, most_sessions=most_sessions)


class OpenSshServer:
    """Runs from `__enter__` to `__exit__`. `local_base` is the account's folder as this machine sees it."""

    def __init__(self, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self.user = self.options.user
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # Not below pytest's folder: that one is closed to other users, and a chroot must be root's all the way.
        self.folder = Path(tempfile.mkdtemp(prefix="replicator-sshd-", dir=self.options.place))
        self.folder.chmod(0o755)
        self.host_keys = [self.make_key(f"host_{kind}", kind=kind) for kind in self.options.host_key_types]
        self.identity_file = self.make_key("user_key")
        self.known_hosts = self.folder / "known_hosts"
        if self.options.chroot:
            root = self.folder / "chroot"
            root.mkdir(mode=0o755)
            self.local_base, self.base = root / "replica", PurePosixPath("/replica")
        else:
            self.local_base = self.folder / "replica"
            self.base = PurePosixPath(self.local_base)
        self.local_base.mkdir()
        self.give(self.local_base)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    # --- running -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start listening; on the port of last time if there was one."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.port = self.port or _free_port()
        config = self.folder / "sshd_config"
        config.write_text(self._config())
        self.known_hosts.write_text(self.known_hosts_lines())
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start:\n{self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server and every session."""
        if self._process is None:
            return
        self.resume_sessions()
        sessions = self.sessions()
        self._process.terminate()
        self._process.wait()
        self._process = None
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.kill()
        wait_for_end(sessions)

    def sessions(self) -> list[psutil.Process]:
        """All processes of sessions."""
        if self._process is None:
            return []
        return psutil.Process(self._process.pid).children(recursive=True)

    def kill_sessions(self) -> int:
        """Kill every session with SIGKILL; the server goes on. Returns how many processes that were."""
        return self._signal(signal.SIGKILL)

    def stall_sessions(self) -> int:
        """Make every session hang, connections open."""
        return self._signal(signal.SIGSTOP)

    def resume_sessions(self) -> int:
        """Undo `stall_sessions`."""
        return self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> int:
        sessions = self.sessions()
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.send_signal(number)
        return len(sessions)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    # --- what a client needs -------------------------------------------------------------------------

    def settings(self, folder: str = "", *, timeout_seconds: float = 20.0) -> SftpSettings:
        """How to log in, to a folder below the account's."""
        return SftpSettings(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            base=self.base / folder,
            label=f"sftp://{self.user}@127.0.0.1:{self.port}{self.base / folder}",
            identity_file=self.identity_file,
            known_hosts=self.known_hosts,
            ssh_config=self.folder / "no_ssh_config",
            timeout_seconds=timeout_seconds,
        )

    def make_folder(self, name: str) -> Path:
        """Create a folder that belongs to the account."""
        folder = self.local_base / name
        folder.mkdir()
        self.give(folder)
        return folder

    @contextmanager
    def small_disk(self, name: str, options: str = "size=3m") -> Iterator[Path]:
        """Give a folder below the account's a filesystem of its own."""
        folder = self.local_base / name
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(folder)], check=True)
        try:
            self.give(folder)
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    def give(self, path: Path) -> None:
        """Make a file or folder the account's."""
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def make_key(self, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
        """Create a private key, and NAME.pub beside it."""
        path = self.folder / name
        command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", str(path)]
        subprocess.run(command, check=True)
        return path

    def known_hosts_lines(self) -> str:
        """What a known_hosts file should say of this server."""
        return "".join(f"[127.0.0.1]:{self.port} {key.with_suffix('.pub').read_text()}" for key in self.host_keys)

    # --- parts ---------------------------------------------------------------------------------------

    def _config(self) -> str:
        internal = "internal-sftp"
        if self.options.denied:
            internal += f" -P {','.join(self.options.denied)}"
        if self.options.talkative:
            internal = f"{sys.executable} {Path(talkative_sftp_server.__file__)}"
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *(f"HostKey {key}" for key in self.host_keys),
            f"AuthorizedKeysFile {self.identity_file}.pub",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            f"AllowTcpForwarding {'yes' if self.options.forwarding else 'no'}",
            "MaxStartups 100",
            f"MaxSessions {self.options.most_sessions}",
        ]
        # What the account's owner has in his start files is none of a test's business.
        environment = f"HOME={self.folder}"
        if self.options.tools:
            environment += f" PATH={self.options.tools}:/usr/bin:/bin"
        lines.append(f"SetEnv {environment}")
        if self.options.sftp:
            lines.append(f"Subsystem sftp {internal}")
        if self.options.prints:
            lines.append(f"ForceCommand echo {shlex.quote(self.options.prints)}")
        if self.options.chroot:
            lines += [f"ChrootDirectory {self.folder / 'chroot'}", f"ForceCommand {internal}"]
        return "\n".join([*lines, ""])


def wait_for_end(processes: list[psutil.Process]) -> None:
    """Wait until none of them does anything any more; whether somebody has reaped them does not matter."""
    deadline = time.monotonic() + _END_SECONDS
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{process} does not end")
                time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
