"""Signs of life: a thread that waits as it said is alive, one that is silent for longer is not."""

from __future__ import annotations

import threading

from replicator.liveness import Vitals, beat, own_pulse


class Clock:
    """Stands still."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_silence_is_borne_as_long_as_the_patience_lasts() -> None:
    clock = Clock()
    vitals = Vitals(patience_seconds=10, clock=clock)
    with vitals.watch("worker"):
        clock.seconds += 10
        assert vitals.stuck() == ()
        clock.seconds += 1
        (stuck,) = vitals.stuck()
        assert (stuck.name, stuck.silent_seconds) == ("worker", 11)
        beat()
        assert vitals.stuck() == ()


def test_a_wait_that_was_announced_is_no_silence() -> None:
    clock = Clock()
    vitals = Vitals(patience_seconds=10, clock=clock)
    with vitals.watch("worker"):
        beat(3600)
        clock.seconds += 3610
        assert vitals.stuck() == ()
        clock.seconds += 1
        assert [stuck.name for stuck in vitals.stuck()] == ["worker"]


def test_each_thread_speaks_for_itself() -> None:
    clock = Clock()
    vitals = Vitals(patience_seconds=10, clock=clock)
    with vitals.watch("one"):
        clock.seconds += 11
        other = threading.Thread(target=beat)
        other.start()
        other.join()
        assert [stuck.name for stuck in vitals.stuck()] == ["one"]
        pulse = own_pulse()
        assert pulse is not None
        helper = threading.Thread(target=pulse.beat)
        helper.start()
        helper.join()
        assert vitals.stuck() == ()


def test_who_has_ended_is_not_missed() -> None:
    clock = Clock()
    vitals = Vitals(patience_seconds=10, clock=clock)
    with vitals.watch("worker"):
        pass
    clock.seconds += 11
    assert vitals.stuck() == ()
    assert own_pulse() is None
    beat()
