"""What makes a folder at the destination equal to the one here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.interface import Entry, EntryKind, Owner
from replicator.mirror.deletes import DeleteBudget
from replicator.mirror.excludes import Excludes
from replicator.mirror.hard_links import HardLinks
from replicator.mirror.plan import FolderPlan, LocalEntry, plan_folder

FILE, FOLDER, LINK, OTHER = EntryKind.FILE, EntryKind.FOLDER, EntryKind.SYMLINK, EntryKind.OTHER


def local(
    kind: EntryKind = FILE, size: int = 5, seconds: float = 1000, mode: int = 0o644, **more: int
) -> LocalEntry:
    values = {"user_id": 1, "group_id": 1, "inode": 7, "links": 1, **more}
    return LocalEntry(kind, size, int(seconds * 1e9), int(seconds * 1e9), mode, **values)


def remote(name: str, kind: EntryKind = FILE, size: int = 5, seconds: int = 1000, mode: int = 0o644) -> Entry:
    return Entry(name, kind, size, seconds, mode, Owner(2, 2))


def plan(
    here: dict[str, LocalEntry], there: list[Entry], *, fresh: bool = False, with_owner: bool = False
) -> FolderPlan:
    names = {entry.name: entry for entry in there}
    return plan_folder(here, names, fresh=fresh, with_owner=with_owner, is_excluded=None)


def test_what_is_equal_needs_nothing() -> None:
    assert plan({"a": local(seconds=1000.7)}, [remote("a")]) == FolderPlan()


def test_size_and_time_tell_whether_a_content_is_sent() -> None:
    here = {"size": local(size=6), "time": local(seconds=1001), "mode": local(mode=0o600), "new": local()}
    found = plan(here, [remote("size"), remote("time"), remote("mode")])
    assert found.send == ["size", "time", "new"]
    assert found.adjust == ["mode"]


def test_contents_that_are_not_trusted_are_sent() -> None:
    assert plan({"a": local()}, [remote("a")], fresh=True).send == ["a"]


def test_an_owner_counts_where_it_can_be_set() -> None:
    assert plan({"a": local()}, [remote("a")], with_owner=True).adjust == ["a"]
    assert plan({"a": local(user_id=2, group_id=2)}, [remote("a")], with_owner=True) == FolderPlan()


def test_another_kind_of_thing_is_replaced_by_a_rename_or_is_in_the_way() -> None:
    here = {"a": local(), "b": local(LINK), "c": local(), "d": local(FOLDER), "e": local(LINK)}
    there = [remote("a", LINK), remote("b"), remote("c", FOLDER), remote("d"), remote("e", LINK)]
    found = plan(here, there)
    assert (found.send, found.link, found.compare_link) == (["a"], ["b"], ["e"])
    assert found.blocked == {"c": True, "d": False}


def test_sockets_are_left_out_and_what_lies_in_their_place_is_surplus() -> None:
    found = plan({"a": local(OTHER), "b": local(OTHER)}, [remote("a")])
    assert (found.special, found.surplus) == (["a", "b"], {"a": False})


def test_files_with_several_names_are_told_whatever_is_there() -> None:
    here = {name: local(links=2) for name in "abcd"} | {"e": local(FOLDER, links=2), "f": local(LINK, links=2)}
    found = plan(here, [remote("a"), remote("b", FOLDER), remote("c", LINK), remote("e", FOLDER)])
    assert found.linked == ["a", "b", "c", "d"]
    assert not found.is_done


def test_nothing_is_to_be_done_but_to_enter_folders() -> None:
    assert plan({"a": local(FOLDER), "b": local()}, [remote("a", FOLDER, size=7), remote("b")]).is_done
    for here, there in (
        ({"a": local()}, []),
        ({}, [remote("a")]),
        ({"a": local(LINK)}, [remote("a", LINK)]),
        ({"a": local(OTHER)}, []),
        ({"a": local(mode=0o600)}, [remote("a")]),
    ):
        assert not plan(here, there).is_done


def test_times_that_no_destination_can_hold_are_equal_to_what_it_holds_instead() -> None:
    here = {"early": local(seconds=-5), "late": local(seconds=1 << 40)}
    assert plan(here, [remote("early", seconds=0), remote("late", seconds=0xFFFF_FFFF)]).is_done


KINDS = st.sampled_from([FILE, FOLDER, LINK])
NAMES = st.sampled_from("abcdef")
HERE = st.dictionaries(NAMES, st.builds(local, KINDS, st.integers(0, 2), st.integers(0, 2)))
THERE = st.dictionaries(NAMES, st.tuples(KINDS, st.integers(0, 2), st.integers(0, 2)))


@given(HERE, THERE, st.booleans())
def test_each_name_has_one_fate(
    here: dict[str, LocalEntry],
    there: dict[str, tuple[EntryKind, int, int]],
    fresh: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    found = plan(here, [remote(name, *values) for name, values in there.items()], fresh=fresh)
    fates = [
        *found.send,
        *found.adjust,
        *found.link,
        *found.compare_link,
        *found.make,
        *found.enter,
        *found.surplus,
        *found.blocked,
    ]
    assert len(fates) == len(set(fates))
    equal = {
        name
        for name, ours in here.items()
        if name in there
        and not fresh
        and (FILE, ours.size_bytes, ours.modified_seconds) == (ours.kind, *there[name][1:])
        and there[name][0] is FILE
    }
    assert set(fates) == (here.keys() | there.keys()) - equal
    assert found.surplus.keys() == there.keys() - here.keys()
    assert found.make == [name for name, ours in here.items() if ours.kind is FOLDER and name not in there]


def test_times_that_sftp_cannot_carry_are_brought_into_its_range() -> None:
    assert local(seconds=-5).modified_seconds == 0
    assert local(seconds=1 << 40).modified_seconds == 0xFFFF_FFFF


# --- what is left alone ------------------------------------------------------------------------------


def test_excludes_have_the_grammar_of_gitignore() -> None:
    excludes = Excludes(["*.tmp", "/cache/", "!keep.tmp", "# no pattern", "thumbs/*/small"])
    assert excludes.covers("a/b.tmp", is_folder=False)
    assert not excludes.covers("a/keep.tmp", is_folder=False)
    assert excludes.covers("cache", is_folder=True)
    assert not excludes.covers("cache", is_folder=False)
    assert not excludes.covers("a/cache", is_folder=True)
    assert excludes.covers("thumbs/x/small", is_folder=False)
    assert excludes.covers("odd\n\udcff.tmp", is_folder=False)
    assert not excludes.covers("", is_folder=True)


def test_what_lies_in_an_excluded_folder_is_excluded() -> None:
    excludes = Excludes(["/cache/", "!/cache/keep"])
    assert excludes.covers_any("cache/keep", is_folder=False)
    assert excludes.covers_any("cache/a/b", is_folder=False)
    assert not excludes.covers_any("a/cache/b", is_folder=False)
    assert not Excludes([]).covers_any("a", is_folder=False)


# --- how much may go ---------------------------------------------------------------------------------


def test_deletes_are_counted_from_one_comparison_to_the_next() -> None:
    budget = DeleteBudget(lambda files: files // 10)
    assert not budget.spend(1)
    budget.begin_pass(100)
    assert budget.spend(6)
    assert not budget.spend(5)
    assert (budget.refused, budget.most) == (5, 10)
    assert budget.spend(4)
    budget.earn(3)
    assert budget.spend(3)
    assert not budget.spend(1)
    budget.begin_pass(100)
    assert budget.spend(10)


def test_what_a_comparison_sends_counts_as_there_when_it_is_over() -> None:
    budget = DeleteBudget(lambda files: files // 10)
    budget.begin_pass(20)
    assert not budget.spend(3)
    budget.grow(80)
    assert budget.most == 10
    assert budget.spend(10)
    assert not budget.spend(1)


def test_an_exception_ends() -> None:
    budget = DeleteBudget(lambda _: 0, unlimited=True)
    budget.begin_pass(100)
    assert budget.spend(100)
    budget.end_exception()
    assert not budget.spend(1)


# --- files with several names ------------------------------------------------------------------------


def test_all_names_of_a_file_change_together() -> None:
    links = HardLinks()
    links.note("a", local(links=2))
    links.note("b", local(links=2))
    changed = local(size=9, links=2)
    assert set(links.others("a", changed)) == {"b"}
    assert set(links.others("b", changed)) == set()


def test_a_name_that_is_gone_may_have_been_used_before() -> None:
    links = HardLinks()
    links.note("a", local(links=2))
    links.note("b", local(links=2))
    assert set(links.others("a", None)) == {"b"}
    assert set(links.others("a", None)) == set()
    assert set(links.others("b", local(size=9, links=1))) == set()


def test_of_a_name_that_is_new_the_first_one_is_not_known() -> None:
    links = HardLinks()
    links.note("b", local(links=2))
    assert links.incomplete == {7}
    links.note("a", local(links=2))
    assert not links.incomplete


def test_a_file_that_had_another_name_for_a_moment_is_searched_for_unless_it_is_looked_at() -> None:
    links = HardLinks()
    links.seek([7])
    assert links.incomplete == {7}
    links.found(local(links=2))
    assert links.incomplete == {7}
    links.found(local(links=1))
    assert not links.incomplete
    links.seek([7])
    links.searched([7])
    assert not links.incomplete
    links.seek([7])
    assert links.incomplete == {7}


def test_names_outside_of_the_tree_are_searched_for_once() -> None:
    links = HardLinks()
    links.note("a", local(links=2))
    links.searched(links.incomplete)
    links.note("a", local(links=2))
    assert not links.incomplete
    links.note("a", local(links=3))
    assert links.incomplete == {7}
