"""What is looked at again, and when: events in, work out."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.mirror.coalesce import Coalescer, Doubt, Move

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET, DELAY = 1.0, 10.0
PATHS = st.sampled_from(["a", "b", "a/b", "a/b/c", "a/d", "b/a", "c"])


def coalescer(most_paths: int = 1000) -> Coalescer:
    return Coalescer(QUIET, DELAY, most_paths=most_paths)


def test_a_path_is_looked_at_once_it_has_been_quiet() -> None:
    found = coalescer()
    found.touch("a", 0.0, fresh=True)
    found.touch("a", 0.9)
    assert not found.take(1.8, most=9)
    assert found.next_due() == 1.9
    assert found.take(1.9, most=9).doubts == (Doubt("a", tree=False, fresh=True, since_seconds=0.0),)
    assert found.next_due() is None


def test_what_never_rests_is_looked_at_all_the_same() -> None:
    found = coalescer()
    taken = []
    for tenth in range(1, 305):
        found.touch("a", tenth / 10)
        taken += [tenth for _ in found.take(tenth / 10, most=9).doubts]
        found.release(["a"], tenth / 10)
    assert taken == [101, 202, 303]


@given(st.lists(st.tuples(st.floats(0, 30), PATHS, st.booleans(), st.booleans()), max_size=40))
def test_nothing_is_lost_nor_too_early_nor_too_late(events: list[tuple[float, str, bool, bool]]) -> None:
    found = coalescer()
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    said: dict[str, tuple[bool, bool]] = {}

    def look(now: float) -> None:
        for doubt in found.take(now, most=99).doubts:
            assert now >= min(last[doubt.path] + QUIET, first[doubt.path] + DELAY)
            assert said.pop(doubt.path) == (doubt.tree, doubt.fresh)
            assert doubt.since_seconds == first.pop(doubt.path)
        found.release(list(last), now)
        for path, since in first.items():
            assert now < min(last[path] + QUIET, since + DELAY)

    for now, path, tree, fresh in sorted(events):
        look(now)
        found.touch(path, now, tree=tree, fresh=fresh)
        first.setdefault(path, now)
        last[path] = now
        before = said.get(path, (False, False))
        said[path] = (tree or before[0], fresh or before[1])
    look(100.0)
    assert not said


def test_a_settled_file_moves() -> None:
    found = coalescer()
    found.move("a", "b", 5.0, is_folder=False)
    assert found.next_due() == 0.0
    assert found.take(5.0, most=9).moves == (Move("a", "b"),)


def test_what_was_just_written_does_not_move_but_is_sent() -> None:
    found = coalescer()
    found.touch("a", 5.0, fresh=True, born=True)
    found.move("a", "b", 5.1, is_folder=False)
    work = found.take(9.0, most=9)
    assert work.moves == ()
    assert {doubt.path: (doubt.fresh, doubt.born) for doubt in work.doubts} == {
        "a": (True, True),
        "b": (True, False),
    }


def test_what_is_being_sent_or_was_just_now_does_not_move() -> None:
    found = coalescer()
    found.touch("a", 0.0)
    found.take(2.0, most=9)
    found.move("a", "b", 3.0, is_folder=False)
    assert not found.take(3.0, most=9).moves
    found.release(["a"], 3.5)
    found.move("a", "c", 4.0, is_folder=False)
    assert not found.take(4.0, most=9).moves


def test_what_is_noted_below_a_folder_moves_with_it() -> None:
    found = coalescer()
    found.touch("a/b/c", 5.0, fresh=True)
    found.move("a", "d", 5.1, is_folder=True)
    work = found.take(9.0, most=9)
    assert work.moves == (Move("a", "d"),)
    assert [doubt.path for doubt in work.doubts] == ["d/b/c"]


def test_a_folder_that_is_new_does_not_move_nor_what_is_in_it() -> None:
    found = coalescer()
    found.touch("a", 5.0, tree=True)
    found.move("a/b", "c", 5.1, is_folder=False)
    assert not found.take(5.2, most=9).moves


def test_what_shared_a_file_says_so_though_it_was_renamed_or_replaced() -> None:
    found = coalescer()
    for path, inode in (("a", 7), ("a", 8), ("b/c", 9)):
        found.touch(path, 5.0, fresh=True, born=True)
        found.share(path, frozenset([inode]), 5.0)
    found.move("d", "a", 5.1, is_folder=False)
    found.move("b", "e", 5.2, is_folder=True)
    work = found.take(9.0, most=9)
    assert work.moves == (Move("d", "a"), Move("b", "e"))
    assert {doubt.path: doubt.shared for doubt in work.doubts} == {"a": {7, 8}, "e/c": {9}}


def test_too_much_to_remember_is_everything() -> None:
    found = coalescer(most_paths=3)
    for name in "abcd":
        found.touch(name, 1.0)
    work = found.take(20.0, most=9)
    assert work.doubts == (Doubt("", tree=True, fresh=False, since_seconds=1.0),)


def test_what_was_done_long_ago_takes_no_memory() -> None:
    found = coalescer()

    def work_for(seconds: int, since: int) -> None:
        for second in range(since, since + seconds):
            found.touch(f"{second}", float(second), fresh=True, born=True)
            found.release([doubt.path for doubt in found.take(float(second), most=9).doubts], float(second))

    tracemalloc.start()
    work_for(1_000, since=0)
    before, _ = tracemalloc.get_traced_memory()
    work_for(20_000, since=1_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000


def test_what_could_not_be_done_comes_again_moves_first() -> None:
    found = coalescer()
    found.move("a", "b", 0.0, is_folder=False)
    found.touch("c", 0.0)
    work = found.take(5.0, most=9)
    found.move("b", "d", 5.0, is_folder=False)
    found.give_back(work, 6.0)
    again = found.take(6.0, most=9)
    assert again.moves == work.moves  # "b" was being worked on: its move is two paths instead
    assert [doubt.path for doubt in again.doubts] == ["c", "b", "d"]


def test_what_was_perhaps_sent_is_no_longer_as_if_it_had_never_been_there() -> None:
    found = coalescer()
    found.touch("a", 0.0, fresh=True, born=True)
    work = found.take(5.0, most=9)
    assert work.doubts[0].born
    found.give_back(work, 6.0)
    found.touch("a", 6.0, fresh=True)
    assert not found.take(20.0, most=9).doubts[0].born


@pytest.mark.parametrize(
    ("made_seconds", "path", "is_born"),
    [
        (0.5, "a/b/c", False),  # before the folder is worked on
        (5.0, "a/b/c", False),  # while it is
        (7.0, "a/b/c", False),  # soon after
        (9.0, "a/b/c", True),
        (0.5, "ab", True),
        (7.0, "ab", True),
    ],
)
def test_what_is_made_below_a_folder_that_is_worked_on_as_a_whole_may_be_there(
    made_seconds: float, path: str, *, is_born: bool
) -> None:
    found = coalescer()
    steps: dict[float, Callable[[], object]] = {
        0.0: lambda: found.touch("a", 0.0, tree=True),
        1.0: lambda: found.take(1.0, most=9),
        6.0: lambda: found.release(["a"], 6.0),
        made_seconds: lambda: found.touch(path, made_seconds, born=True),
    }
    for at_seconds in sorted(steps):
        steps[at_seconds]()
    (doubt,) = found.take(30.0, most=9).doubts
    assert (doubt.path, doubt.born, doubt.tree) == (path, is_born, not is_born)


def test_what_is_made_while_everything_is_compared_may_be_there() -> None:
    found = coalescer()
    found.touch("a", 0.0, born=True)
    found.occupy("", tree=True)
    (doubt,) = found.take(30.0, most=9).doubts
    assert not doubt.born


def test_what_may_be_there_may_be_there_under_another_name_too() -> None:
    found = Coalescer(QUIET, 100.0)
    found.occupy("a", tree=True)
    found.touch("a/b", 0.0, born=True)
    found.release(["a"], 1.0)
    found.move("a", "c", 50.0, is_folder=True)
    work = found.take(200.0, most=9)
    assert work.moves == (Move("a", "c"),)
    assert [(doubt.path, doubt.born) for doubt in work.doubts] == [("c/b", False)]


def test_of_very_many_folders_that_were_worked_on_it_is_not_known_which() -> None:
    found = coalescer()
    folders = [f"{number}" for number in range(10_001)]
    for folder in folders:
        found.occupy(folder, tree=True)
    found.release(folders, 6.0)
    found.touch("elsewhere/soon", 7.0, born=True)
    found.touch("elsewhere/later", 9.0, born=True)
    assert {doubt.path: doubt.born for doubt in found.take(30.0, most=9).doubts} == {
        "elsewhere/soon": False,
        "elsewhere/later": True,
    }


def test_what_is_made_anew_while_the_old_one_is_being_sent_was_there() -> None:
    found = coalescer()
    found.touch("a", 0.0, fresh=True, born=True)
    work = found.take(5.0, most=9)
    found.touch("a", 5.5, fresh=True, born=True)
    found.give_back(work, 6.0)
    assert not found.take(20.0, most=9).doubts[0].born


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.sampled_from("abcd"), st.integers(0, 99)),
            st.tuples(st.just("move"), st.sampled_from("abcd"), st.sampled_from("abcd")),
            st.tuples(st.just("delete"), st.sampled_from("abcd"), st.just(0)),
            st.tuples(st.just("work"), st.just(""), st.just(0)),
        ),
        max_size=30,
    )
)
def test_moves_and_doubts_together_make_the_destination_equal(events: list[tuple[str, str, object]]) -> None:
    """A model of flat trees: files are values, a doubt copies what is here now, a move is believed."""
    here: dict[str, object] = {}
    there: dict[str, object] = {}
    found = coalescer()
    now = 0.0

    def work(at: float) -> None:
        taken = found.take(at, most=99)
        for move in taken.moves:
            there[move.target] = there.pop(move.source)
        for doubt in taken.doubts:
            there.pop(doubt.path, None)
            if doubt.path in here:
                there[doubt.path] = here[doubt.path]
        found.release([doubt.path for doubt in taken.doubts], at)
        found.release([path for move in taken.moves for path in (move.source, move.target)], at)

    for kind, path, argument in events:
        now += 0.3
        if kind == "write":
            here[path] = argument
            found.touch(path, now, fresh=True)
        elif kind == "delete" and path in here:
            del here[path]
            found.touch(path, now, fresh=True)
        elif kind == "move" and path in here and argument != path:
            here[str(argument)] = here.pop(path)
            found.move(path, str(argument), now, is_folder=False)
        elif kind == "work":
            now += 3
            work(now)
    work(now + DELAY)
    assert there == here
