"""`replicator check` on mirrors: real folders, real limits."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from replicator.service.check_mirror import check_mirror
from tests.support.checks import FAILED, OK, WARN, Checked, check, configuration, directory_toml, unprivileged
from tests.support.mirroring import inotify_limit

MEDIA = "mirror media"


def sections(folder: Path) -> tuple[str, str]:
    (folder / "there").mkdir()
    mirror = f'[[mirror]]\nname = "media"\npath = "{folder / "media"}"\n'
    return mirror, directory_toml(folder / "there")


def checked(folder: Path) -> Checked:
    return check(configuration(folder, *sections(folder)))


def make_media(folder: Path, folders: int = 2) -> Path:
    media = folder / "media"
    for number in range(folders):
        (media / f"{number}").mkdir(parents=True)
        (media / f"{number}" / "file").write_bytes(b"12345")
    return media


def test_a_mirror_that_will_work(tmp_path: Path) -> None:
    make_media(tmp_path)
    found = checked(tmp_path)
    assert found.of(MEDIA) == {"files": OK, "watches": OK}
    assert "2 files in 3 folders, 10 B" in found[MEDIA, "files"].detail
    assert found[MEDIA, "watches"].detail.startswith("3 needed")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert found.of(MEDIA) == {"files": FAILED}
    assert "No such file or directory" in found[MEDIA, "files"].detail
    assert "mounted" in found[MEDIA, "files"].hint


def test_a_folder_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    found = [result for result in checked(tmp_path).results if result.subject == MEDIA]
    assert [(result.what, result.status) for result in found][:2] == [("files", WARN), ("files", OK)]
    assert "is empty" in found[0].detail


def test_a_folder_that_cannot_be_read() -> None:
    # Whoever is not root may not enter the folders of tests.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        closed = make_media(folder) / "1"
        closed.chmod(0)
        config = configuration(folder, *sections(folder))
        with unprivileged():
            (found, _) = check_mirror(config.mirrors[0])
    assert (found.what, found.status) == ("files", FAILED)
    assert str(closed) in found.detail
    assert "Permission denied" in found.detail


@pytest.mark.alone
@pytest.mark.parametrize(("folders", "status"), [(40, FAILED), (29, WARN), (9, OK)])
def test_watches_that_are_needed_and_allowed(tmp_path: Path, folders: int, status: object) -> None:
    assert os.geteuid() == 0, "only root may set the limit"
    make_media(tmp_path, folders)
    with inotify_limit("max_user_watches", 40):
        found = checked(tmp_path)[MEDIA, "watches"]
    assert found.status is status
    assert found.detail.startswith(f"{folders + 1} needed, fs.inotify.max_user_watches = 40")
    assert (f"sysctl fs.inotify.max_user_watches={2 * (folders + 1)}" in found.hint) == (status is not OK)
