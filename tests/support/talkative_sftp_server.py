"""OpenSSH's sftp-server, but after a request that names one of these it says something more. Runs by itself.

`say-unasked`: an answer to a question that nobody asked; `say-garbled`: what is no packet.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

UNASKED, GARBLED = "say-unasked", "say-garbled"

_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
_SAID = {
    UNASKED.encode(): struct.pack(">IBIIII", 17, 101, 0xFFFF_FFF0, 0, 0, 0),
    GARBLED.encode(): struct.pack(">I", 0xFFFF_FFFF) + b"garbled, and more",
}


def main() -> None:
    """Pass everything on, both ways."""
    command = next(path for path in _SFTP_SERVERS if Path(path).exists())
    to_say: list[bytes] = []
    with subprocess.Popen([command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin
        assert server.stdout
        threading.Thread(target=_pass_on, args=(server.stdin.fileno(), to_say), daemon=True).start()
        while head := server.stdout.read(4):
            packet = head + server.stdout.read(int.from_bytes(head, "big"))
            while to_say:  # the other thread may add to it
                packet += to_say.pop(0)
            sys.stdout.buffer.write(packet)
            sys.stdout.buffer.flush()


def _pass_on(server: int, to_say: list[bytes]) -> None:
    while data := os.read(0, 1 << 16):
        to_say += [said for name, said in _SAID.items() if name in data]
        while data:
            data = data[os.write(server, data) :]
    os.close(server)


if __name__ == "__main__":
    main()
