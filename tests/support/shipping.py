"""Shipping step by step: the parts of the service without its threads, and what lies at the destination judged."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from replicator.checkpoint.capture import Capture
from replicator.checkpoint.log_follower import LogFollower
from replicator.checkpoint.pinned import CheckpointPin
from replicator.checkpoint.readings import NEVER
from replicator.checkpoint.rotation import CheckpointRoot
from replicator.config.model import DatabaseConfig
from replicator.demo.oracle import Recovery, judge
from replicator.errors import SourceChangedError
from replicator.replica.layout import ReplicaLayout
from replicator.replica.restore import plan_restore, restore
from replicator.replica.retention import KeepPolicy
from replicator.service.board import StatusBoard
from replicator.service.shipping_line import ShippingLine
from replicator.service.status import Watched
from replicator.service.transfer import Transfer, TransferSettings
from tests.support.captures import paused
from tests.support.observer import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicator.destination.interface import Destination
    from replicator.replica.publish import Published, PublishStep
    from replicator.service.status import PairStatus
    from tests.support.primaries import Primary

DATABASE = "app"
NAME = "standby"
LAYOUT = ReplicaLayout(DATABASE)

_READING_SECONDS = 0.002
_STEPS_OF_A_GENERATION = 6


class Shipping:
    """Ships one database to one destination; `folder` is the base of that as this machine sees it."""

    def __init__(  # noqa: PLR0913 - a database, a destination, and what they are set to
        self,
        database: Path,
        destination: Destination,
        folder: Path,
        *,
        budget_bytes: int = 1 << 30,
        keep: int = 3,
        once: bool = True,
    ) -> None:
        """`once`: every publish makes a generation, also of what is there already."""
        self.destination = destination
        self.replica = folder / DATABASE
        self.wanted: list[str] = []
        self.board = StatusBoard([Watched(DATABASE, (NAME,), shipping=True)])
        self.follower = LogFollower(database, budget_bytes=budget_bytes)
        self.stop = threading.Event()
        self.line = ShippingLine(
            DATABASE, NAME, self.follower, self.board, stop=self.stop, ask_for_checkpoint=self.wanted.append
        )
        self.steps: list[PublishStep] = []
        self._work = database.with_name(f"{database.name}.work")
        root = CheckpointRoot(self._work / "checkpoints")
        self._work.mkdir()
        root.create()
        self._capture = Capture(database, root)
        config = DatabaseConfig.model_validate(
            {"name": DATABASE, "path": str(database), "checkpoint_root": str(root.path)}
        )
        settings = TransferSettings(
            destination_name=NAME,
            keep=KeepPolicy(last=keep),
            reupload=False,
            take_over=False,
            take_over_command="",
        )
        pin = CheckpointPin(root, NAME)
        self.transfer = Transfer(
            config, pin, settings, on_step=self._on_step, board=self.board, line=self.line, once=once
        )
        #: Is called before each step of a publish.
        self.meanwhile: Callable[[PublishStep], None] = lambda _step: None

    @property
    def is_shipping(self) -> bool:
        """Whether there is a generation that can be shipped to."""
        return self.line.next_serial != NEVER

    @property
    def current(self) -> Path:
        """The generation that is current."""
        return (self.replica / "checkpoint_current").resolve(strict=True)

    @property
    def status(self) -> PairStatus:
        """What operators are told."""
        ((pair,),) = (database.destinations for database in self.board.snapshot())
        return pair

    def capture(self) -> None:
        """Make a checkpoint, as a `DatabaseLoop` does."""
        held_log = self.follower.hold()
        try:
            captured = self._capture.make()
            self.line.expect(captured.captured_at_seconds, held_log)
        finally:
            self.follower.end_hold()

    def publish(self) -> Published | None:
        """Bring the checkpoint to the destination; None if it has it."""
        return self.transfer.run(self.destination, RecordingObserver(), planned=lambda _plan: None)

    def read(self) -> list[str]:
        """Take a reading, as a `LogLoop` does; return what calls for a checkpoint."""
        try:
            self.follower.read()
        except SourceChangedError:
            self.follower.read()  # a MANIFEST that went away: the next look finds its successor
        return self.follower.take_seals()

    def ship(self) -> list[str]:
        """Take a reading and ship it, as in one tick of the service; return what calls for a checkpoint."""
        seals = self.read()
        self.line.ship(self.destination)
        asked, self.wanted[:] = list(self.wanted), []
        return seals + asked

    def position(self) -> int:
        """Judge the current generation as it lies there, and as it is restored; return where it is.

        Its logs may have bytes that no line tells of, even half a record, so that only the restored one is held to
        `ABSOLUTE`.
        """
        raw = judge(self.current, recovery=Recovery.POINT_IN_TIME)
        assert raw.exact, f"{self.current.name}: {raw}"
        restored = self.restored_position()
        assert restored <= raw.position
        return restored

    def restored_position(self, generation: str | None = None) -> int:
        """Restore the newest state of a generation, of the current one if None, and judge it."""
        target = self._work / "restored"
        if target.exists():
            shutil.rmtree(target)
        plan = plan_restore(self.destination, LAYOUT, target, wanted=generation)
        restore(plan, self.destination, RecordingObserver())
        verdict = judge(target)
        assert verdict.exact, f"{plan.generation} at {plan.state_at}: {verdict}"
        return verdict.position

    @contextmanager
    def read_meanwhile(self) -> Iterator[None]:
        """Take readings all the time on a thread of their own."""
        stop = threading.Event()

        def read() -> None:
            while not stop.wait(_READING_SECONDS):
                try:
                    self.follower.read()
                except SourceChangedError:
                    continue

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        """Let go of the database."""
        self.follower.close()
        self._capture.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_step(self, step: PublishStep) -> None:
        self.steps.append(step)
        self.meanwhile(step)


def ship_and_judge(primary: Primary, shipping: Shipping, steps: int) -> int:
    """Ship step by step, with a new checkpoint whenever one is called for; return how often something was shipped.

    The primary writes all the time but for when the replica is judged: that must be exact, and not behind what
    had been written when the step began.
    """
    newest = 0
    shipped = 0
    begins = True
    for step in range(steps):
        floor = primary.position
        if begins or step % _STEPS_OF_A_GENERATION == 0:
            shipping.capture()
            with shipping.read_meanwhile():
                shipping.publish()
            # If an event ended the epoch meanwhile, the generation is what its checkpoint was.
            begins = not shipping.is_shipping
        elif shipping.ship():
            # What was written after the event is not shipped.
            begins, floor = True, newest
        else:
            shipped += 1
        with paused(primary):
            position = shipping.position()
        assert position >= max(floor, newest), f"step {step}: {position} < max({floor}, {newest})"
        newest = position
    return shipped
