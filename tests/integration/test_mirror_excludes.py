"""What is excluded: the same as git says, never sent, never deleted, whatever is moved or vanishes beside it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replicator.mirror.excludes import Excludes
from replicator.mirror.paths import folders_above

if TYPE_CHECKING:
    from pathlib import Path

_PATTERNS = [
    *("*", "*.tmp", "!keep.tmp", "!*.txt", "!*/", "/a", "/a/", "a/", "!a/", "b", "!b", "!/a/b", "/a/*", "!/a/*"),
    *(
        "a/b",
        "a/**",
        "**/b",
        "a/**/c",
        "**/a/b",
        "/*/b",
        "b/*",
        "[ab]",
        "[!a]",
        "?",
        "a*",
        "\\!odd",
        "\\#odd",
        "# no",
    ),
    *("", "c/", "!c/", "!/a/b/c", "*/c", "trailing ", "keep.t[mn]p"),
]
_NAMES = ["a", "b", "c", "x.tmp", "keep.tmp", "a.txt", "!odd", "#odd", "trailing"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def excluded_by_git(repository: Path, patterns: list[str], tree: dict[str, bool]) -> set[str]:
    """What git ignores of these paths, which are made for it to look at; the value says what is a folder."""
    shutil.rmtree(repository / "tree", ignore_errors=True)
    (repository / "tree").mkdir()
    (repository / "tree" / ".gitignore").write_text("".join(f"{pattern}\n" for pattern in patterns))
    for path, is_folder in sorted(tree.items()):
        (repository / "tree" / path).mkdir() if is_folder else (repository / "tree" / path).touch()
    command = ["git", "-C", str(repository / "tree"), "check-ignore", "--no-index", "--stdin", "-z"]
    names = b"".join(path.encode() + b"\0" for path in tree)
    found = subprocess.run(command, input=names, stdout=subprocess.PIPE, check=False)
    assert found.returncode in {0, 1}
    return {name.decode() for name in found.stdout.split(b"\0") if name}


#: Whatever can be put together of what has a meaning.
_odd_patterns = st.lists(
    st.sampled_from([*"ab*?[]!^-/\\ ", "**", "/**/", "[a", "[!a", "a-b", "\\]"]),
    min_size=1,
    max_size=7,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(_odd_patterns, st.lists(st.text("ab/-!]\\ ", min_size=1, max_size=5), max_size=20))
@example("a/**/b", ["a/b", "a/a/b", "ab", "a/a/a/b"])
@example("a**b", ["ab", "aab", "a/b"])
@example("[]-a]", ["]", "a", "-", "b"])
@example("a\\ ", ["a", "a "])
def test_every_pattern_fits_what_it_fits_for_git(repository: Path, pattern: str, wanted: list[str]) -> None:
    try:
        excludes = Excludes([pattern])
    except ValueError:
        return
    paths = {"/".join(name for name in path.split("/") if name) for path in wanted} - {""}
    folders = {folder for path in paths for folder in folders_above(path) if folder}
    tree = dict.fromkeys(paths, False) | dict.fromkeys(folders, True)
    ours = {path for path, is_folder in tree.items() if excludes.covers_any(path, is_folder=is_folder)}
    assert ours == excluded_by_git(repository, [pattern], tree)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(_PATTERNS), max_size=5),
    st.lists(st.tuples(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4), st.booleans()), max_size=12),
)
@example(["*", "!*/", "!*.txt"], [(["a", "b", "a.txt"], False), (["a", "b", "c"], False), (["a", "b"], True)])
@example(["/a/*", "!/a/b"], [(["a", "b", "c"], False), (["a", "c"], True)])
@example(["a/", "!/a/b"], [(["a", "b"], False), (["b", "a", "b"], True)])
def test_the_same_is_excluded_as_git_ignores(
    repository: Path, patterns: list[str], wanted: list[tuple[list[str], bool]]
) -> None:
    tree: dict[str, bool] = {}
    for names, is_folder in wanted:
        path = "/".join(names)
        tree[path] = tree.get(path, False) or is_folder
        tree.update((folder, True) for folder in folders_above(path) if folder)
    excludes = Excludes(patterns)
    ours = {path for path, is_folder in tree.items() if excludes.covers_any(path, is_folder=is_folder)}
    assert ours == excluded_by_git(repository, patterns, tree)
