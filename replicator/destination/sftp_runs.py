"""Runs of requests over an SFTP session, several of them on their way at a time.

For requests that come by the hundred thousand. The answers are let in a run at a time, so that those to the runs
behind it gather at the server; not so if it is far away, where that would cost a round trip for each.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from replicator.destination.sftp_packets import PacketRun, take_plain_answers
from replicator.errors import ProtocolError

if TYPE_CHECKING:
    from replicator.destination.sftp_packets import PlainAnswer
    from replicator.destination.sftp_stream import SftpStream

_FIRST_NUMBER: Final = 1
_LAST_NUMBER: Final = 0xFFFF_FFFF - (1 << 20)
# What OpenSSH says to a request that worked; others are not much longer.
_ANSWER_BYTES: Final = 28
_MORE_BYTES: Final = 512


class PacketRuns:
    """Belongs to one thread. While a run is not answered nothing else may be sent."""

    def __init__(self, stream: SftpStream) -> None:
        self._stream = stream
        self._next = _FIRST_NUMBER
        self._inbox = bytearray()
        self._answers: dict[int, PlainAnswer] = {}
        self._awaited = 0

    def begin(self) -> PacketRun:
        """Return an empty run, to be sent before another one is begun."""
        if self._next > _LAST_NUMBER:
            self._next = _FIRST_NUMBER
        return PacketRun(self._next)

    def send(self, run: PacketRun) -> None:
        """Send all requests of a run."""
        self._next += len(run)
        self._awaited += len(run)
        self._stream.send(memoryview(run.data()))

    def answers_to(self, run: PacketRun) -> list[PlainAnswer]:
        """Wait for the answers to a run that was sent, and return them in its order."""
        numbers = range(run.first, run.first + len(run))
        if numbers and not self._has(numbers):
            self._let_in(len(numbers))
        while not self._has(numbers):
            self._take(self._stream.receive_allowed(_MORE_BYTES))
        self._awaited -= len(run)
        found = list(map(self._answers.pop, numbers))
        if len(self._answers) > self._awaited or (self._inbox and not self._awaited):
            raise self._unasked()
        return found

    def _has(self, numbers: range) -> bool:
        # Most servers answer in order: the last one is asked for first.
        answers = self._answers
        return not numbers or (numbers[-1] in answers and all(map(answers.__contains__, numbers)))

    def _let_in(self, count: int) -> None:
        if not self._stream.is_near:
            count = self._awaited
        was_allowed_nothing = not self._stream.may_send
        self._stream.allow(count * _ANSWER_BYTES - len(self._inbox))
        began = time.monotonic()
        self._take(self._stream.receive_allowed(_MORE_BYTES))
        if was_allowed_nothing:  # else it was on its way already
            self._stream.note_round_trip(time.monotonic() - began)

    def _take(self, data: bytes) -> None:
        self._inbox += data
        del self._inbox[: take_plain_answers(self._inbox, self._answers)]
        if len(self._answers) > self._awaited:
            raise self._unasked()

    def _unasked(self) -> ProtocolError:
        return ProtocolError(f"{self._stream.label}: the SFTP server answered a question nobody asked")
