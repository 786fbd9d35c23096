"""Trees of files as a mirror sees them: looked at, compared, and changed at random by several processes."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT_SECONDS = 120.0
_NAMES = [
    "a",
    "b",
    "c",
    "d",
    "-e",
    "f g",
    "h\ni",
    "\udcff\udcfe",
    "\u00e4",
    "a\u0308",
    "j" * 255,
    "k.txt",
    "l",
    "m",
]

#: What a path is: type, permission bits, modification time in whole seconds, and the digest or text.
Look = tuple[str, int, int, str]


def look_at(top: Path) -> dict[str, Look]:
    """Return what every path below `top` is, and `top` itself."""
    found = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        place = top / path
        entry = place.lstat()
        if stat.S_ISLNK(entry.st_mode):
            found[path] = ("link", 0, 0, str(place.readlink()))
        elif stat.S_ISDIR(entry.st_mode):
            found[path] = ("folder", stat.S_IMODE(entry.st_mode), int(entry.st_mtime), "")
            waiting += [f"{path}/{name}" if path else name for name in os.listdir(place)]  # noqa: PTH208
        elif stat.S_ISREG(entry.st_mode):
            digest = hashlib.sha256(place.read_bytes()).hexdigest()
            found[path] = ("file", stat.S_IMODE(entry.st_mode), int(entry.st_mtime), digest)
    return found


def differences(source: Path, target: Path) -> list[str]:
    """Return a line for each path that is not the same in both trees."""
    ours, theirs = look_at(source), look_at(target)
    return [
        f"{path!r}: {ours.get(path)} here, {theirs.get(path)} there"
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]


def wait_until_equal(
    source: Path, target: Path, *, seconds: float = _WAIT_SECONDS, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Wait until both trees are equal."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = differences(source, target)
        except FileNotFoundError as error:
            found = [str(error)]
        if not found:
            return
        meanwhile()
        assert time.monotonic() < deadline, f"{len(found)} differences, such as:\n" + "\n".join(found[:10])
        time.sleep(0.1)


class Writers:
    """Several processes that change one tree at random, each with a seed of its own."""

    def __init__(self, top: Path, outside: Path, *, seed: int, operations: int, writers: int = 3) -> None:
        self.processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    __file__,
                    str(top),
                    str(outside),
                    str(seed * 1000 + index),
                    str(operations // writers),
                ],
            )
            for index in range(writers)
        ]

    @property
    def are_writing(self) -> bool:
        """Whether any of them goes on."""
        return any(process.poll() is None for process in self.processes)

    def wait(self) -> None:
        """Wait for their ends, which must be good ones."""
        codes = [process.wait(_WAIT_SECONDS * 5) for process in self.processes]
        assert codes == [0] * len(codes)


class _Changes:
    """Random changes of a tree. Another process may be quicker: then a change does not come about."""

    def __init__(self, top: Path, outside: Path, seed: int) -> None:
        self._top = top
        self._outside = outside
        self._random = random.Random(seed)
        self._mine = f"{seed}"
        self._count = 0

    def one(self) -> None:
        """Make one."""
        kinds = (
            [self._create] * 6
            + [self._append] * 4
            + [self._truncate, self._rename, self._rename, self._rename, self._delete, self._delete, self._chmod]
            + [self._set_time, self._symlink, self._hard_link, self._make_folder, self._make_folder]
            + [self._move_out, self._move_in, self._remove_tree, self._replace]
        )
        self._random.choice(kinds)()

    def _folder(self) -> Path:
        folder = self._top
        while self._random.random() < 0.6:
            below = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
            if not below:
                break
            folder = self._random.choice(sorted(below))
        return folder

    def _new(self) -> Path:
        return self._folder() / self._random.choice(_NAMES)

    def _any(self) -> Path:
        return self._random.choice(sorted(self._folder().iterdir()) or [self._new()])

    def _content(self) -> bytes:
        return self._random.randbytes(
            self._random.choice([0, 1, 100, 5_000, 70_000]) + self._random.randrange(997)
        )

    def _write(self, path: Path) -> None:
        """Write a file, never by way of a link: that may lead out of the tree."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._content())

    def _create(self) -> None:
        self._write(self._new())

    def _append(self) -> None:
        path = self._any()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        for _ in range(self._random.randrange(1, 4)):
            os.write(descriptor, self._content())
        os.close(descriptor)

    def _truncate(self) -> None:
        descriptor = os.open(self._any(), os.O_WRONLY | os.O_NOFOLLOW)
        os.truncate(descriptor, self._random.randrange(2_000))
        os.close(descriptor)

    def _replace(self) -> None:
        """Write to a temporary name and rename, as careful programs do."""
        target = self._new()
        temporary = target.with_name(f".tmp-{self._mine}")
        self._write(temporary)
        temporary.rename(target)

    def _rename(self) -> None:
        self._any().rename(self._new())

    def _delete(self) -> None:
        self._any().unlink()

    def _chmod(self) -> None:
        path = self._any()
        if not path.is_symlink():
            modes = [0o755, 0o700, 0o750] if path.is_dir() else [0o600, 0o644, 0o755, 0o640, 0o444]
            path.chmod(self._random.choice(modes))

    def _set_time(self) -> None:
        at = self._random.randrange(1_000_000_000, 1_700_000_000)
        os.utime(self._any(), (at, at), follow_symlinks=False)

    def _symlink(self) -> None:
        self._new().symlink_to(self._random.choice(["a", "../b", "/nonexistent/target", "nowhere", "x" * 200]))

    def _hard_link(self) -> None:
        self._new().hardlink_to(self._any())

    def _make_folder(self) -> None:
        self._new().mkdir()

    def _move_out(self) -> None:
        self._count += 1
        self._any().rename(self._outside / f"{self._mine}-{self._count}")

    def _move_in(self) -> None:
        self._random.choice(sorted(self._outside.iterdir())).rename(self._new())

    def _remove_tree(self) -> None:
        path = self._any()
        if path.is_dir() and not path.is_symlink() and self._random.random() < 0.5:
            for below in sorted(path.rglob("*"), reverse=True):
                if below.is_dir() and not below.is_symlink():
                    below.rmdir()
                else:
                    below.unlink()
            path.rmdir()


if __name__ == "__main__":
    changes = _Changes(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    pauses = random.Random(int(sys.argv[3]))
    for _ in range(int(sys.argv[4])):
        with suppress(OSError, IndexError):
            changes.one()
        if pauses.random() < 0.05:
            time.sleep(pauses.random() * 0.3)
