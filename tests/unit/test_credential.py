"""Keys that systemd passes on stand in for the files of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.config.credential import passed_on

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURED = "id_ed25519"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    return tmp_path / "etc" / CONFIGURED


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_without_systemd_it_is_the_file_itself(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert passed_on(configured) == configured


def test_a_file_that_was_passed_on_is_used(configured: Path, credentials: Path) -> None:
    (credentials / CONFIGURED).write_text("key")
    assert passed_on(configured) == credentials / CONFIGURED


def test_one_of_another_name_is_not(configured: Path, credentials: Path) -> None:
    (credentials / "id_rsa").write_text("key")
    assert passed_on(configured) == configured


def test_no_key_stays_none(credentials: Path) -> None:
    (credentials / CONFIGURED).write_text("key")
    assert passed_on(None) is None
