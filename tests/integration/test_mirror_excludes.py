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
from tests.support.mirroring import mirrored
from tests.support.program import RunningProgram, run_program
from tests.support.published import wait_until

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


# --- mirrors -----------------------------------------------------------------------------------------

EXCLUDE = ["*.tmp", "!keep.tmp", "/top/", "cache/", "a/*/c"]


def make_all(top: Path, text: str) -> None:
    """Make what is excluded and what is not, side by side."""
    for path in (
        *(
            "x.tmp",
            "keep.tmp",
            "top/file",
            "sub/top/file",
            "sub/x.tmp",
            "sub/cache/file",
            "sub/file",
            "cache/file",
        ),
        *("sub/deep/x.tmp", "sub/deep/file", "only/x.tmp", "only/cache/deep/file", "a/b/c", "a/b/d", "b/a/b/c"),
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def files_of(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


def wait_until_files(top: Path, expected: dict[str, str]) -> None:
    """Wait until these are the files there, and no others."""

    def are_there() -> bool:
        try:
            return files_of(top) == expected
        except FileNotFoundError:  # it was renamed meanwhile
            return False

    try:
        wait_until(are_there, "the files are there")
    except AssertionError:
        assert files_of(top) == expected
        raise


def test_excluded_files_are_left_alone_by_everything_that_happens_beside_them(tmp_path: Path) -> None:
    sent = {"keep.tmp", "sub/top/file", "sub/file", "sub/deep/file", "a/b/d", "b/a/b/c"}
    with mirrored(tmp_path, exclude=EXCLUDE) as mirror:
        make_all(mirror.source, "here")
        mirror.server.make_folder("account/media")
        make_all(mirror.target, "there")
        for item in (mirror.target, *mirror.target.rglob("*")):
            mirror.server.give(item)
        there = files_of(mirror.target)
        with RunningProgram("run", "-c", mirror.config) as program:
            program.wait_for("mirror.compared")
            there.update(dict.fromkeys(sent, "here"))
            wait_until_files(mirror.target, there)
            # Changes of what is excluded send nothing, those beside them do.
            for path in ("x.tmp", "sub/cache/file", "top/file", "a/b/c", "sub/file"):
                (mirror.source / path).write_text("changed here")
            there["sub/file"] = "changed here"
            wait_until_files(mirror.target, there)
            # What vanishes here takes nothing with it that is excluded.
            for folder in ("only", "sub", "top", "a"):
                shutil.rmtree(mirror.source / folder)
            (mirror.source / "x.tmp").unlink()
            for gone in ("sub/file", "sub/top/file", "sub/deep/file", "a/b/d"):
                del there[gone]
            wait_until_files(mirror.target, there)
            # What gets another name is judged by that.
            (mirror.source / "keep.tmp").rename(mirror.source / "y.tmp")
            (mirror.source / "cache").rename(mirror.source / "no longer")
            del there["keep.tmp"]
            there["no longer/file"] = "here"
            wait_until_files(mirror.target, there)
            (mirror.source / "y.tmp").rename(mirror.source / "y")
            (mirror.source / "no longer").rename(mirror.source / "cache")
            del there["no longer/file"]
            there["y"] = "here"
            wait_until_files(mirror.target, there)
            program.stop()
        run_program("run", "-c", mirror.config, "--once")
        assert files_of(mirror.target) == there


@pytest.mark.parametrize("while_it_runs", [False, True])
def test_an_excluded_folder_is_not_removed_for_a_file_of_its_name(tmp_path: Path, *, while_it_runs: bool) -> None:
    with mirrored(tmp_path, exclude=["cache/", "!keep"]) as mirror:
        (mirror.source / "file").write_text("here")
        mirror.server.make_folder("account/media")
        for path in (mirror.target, mirror.target / "cache", mirror.target / "cache" / "keep"):
            path.mkdir(exist_ok=True)
            mirror.server.give(path)
        (mirror.target / "cache" / "keep" / "file").write_text("there")
        if not while_it_runs:
            (mirror.source / "cache").write_text("a file of that name is not excluded")
            told = run_program("run", "-c", mirror.config, "--once", code=3).event("mirror.incomplete")
        else:
            with RunningProgram("run", "-c", mirror.config) as program:
                program.wait_for("mirror.compared")
                (mirror.source / "cache").write_text("a file of that name is not excluded")
                told = program.wait_for("mirror.incomplete")
                program.stop()
        assert told["first"][0].startswith("cache: is another kind of thing at the destination")
        assert files_of(mirror.target) == {"file": "here", "cache/keep/file": "there"}


def test_a_file_goes_whose_name_an_excluded_folder_has_here(tmp_path: Path) -> None:
    with mirrored(tmp_path, exclude=["cache/"]) as mirror:
        (mirror.source / "kept").touch()
        (mirror.source / "cache").touch()
        run_program("run", "-c", mirror.config, "--once")
        (mirror.source / "cache").unlink()
        (mirror.source / "cache").mkdir()
        run_program("run", "-c", mirror.config, "--once")
        assert set(files_of(mirror.target)) == {"kept"}
        assert not (mirror.target / "cache").exists()
