"""Destination URLs and the SOURCE argument."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.locator import (
    DirectoryUrl,
    LocatedSource,
    NamedSource,
    SftpUrl,
    check_name,
    hide_password,
    parse_source,
    parse_url,
)

HERE = Path("/home/someone")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sftp://host/srv", SftpUrl("host", PurePosixPath("/srv"))),
        (
            "sftp://replica@standby.example.org:22/srv/replica",
            SftpUrl("standby.example.org", PurePosixPath("/srv/replica"), user="replica", port=22),
        ),
        ("sftp://MyAlias/", SftpUrl("MyAlias", PurePosixPath("/"))),
        ("sftp://[fe80::1%eth0]:2222/a", SftpUrl("fe80::1%eth0", PurePosixPath("/a"), port=2222)),
        ("sftp://a%40b@host/with%20space", SftpUrl("host", PurePosixPath("/with space"), user="a@b")),
        ("sftp://host//srv//replica/", SftpUrl("host", PurePosixPath("/srv/replica"))),
        ("file:///mnt/backup", DirectoryUrl(Path("/mnt/backup"))),
        ("file:///mnt/100%25", DirectoryUrl(Path("/mnt/100%"))),
    ],
)
def test_urls(text: str, url: SftpUrl | DirectoryUrl) -> None:
    assert parse_url(text) == url
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "is no URL"),
        ("/mnt/backup", "is no URL"),
        ("host:/srv", "is no URL"),
        ("http://host/srv", "is no URL"),
        ("sftp://host", "names no folder"),
        ("sftp:///srv", "bad user, host or port"),
        ("sftp://host:0/srv", "bad port"),
        ("sftp://host:65536/srv", "bad port"),
        ("sftp://host:ssh/srv", "bad user, host or port"),
        ("sftp://-oProxyCommand=x/srv", "bad user, host or port"),
        ("sftp://host/srv/../etc", "'..'"),
        ("sftp://host/%2e%2e/etc", "'..'"),
        ("sftp://host/~/replica", "'~'"),
        ("sftp://host/a%00b", "NUL"),
        ("sftp://host/a b", "white space"),
        ("sftp://host/a\n", "white space"),
        ("sftp://host/a#b", "%23"),
        ("sftp://host/a?b", "%3F"),
        ("file://mnt/backup", "three slashes"),
        ("file://", "three slashes"),
    ],
)
def test_bad_urls_are_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_url(text)


@pytest.mark.parametrize(
    "text", ["sftp://u:hunter2@host/srv", "sftp://:hunter2@host/srv", "sftp://u:hun@ter2@host/"]
)
def test_passwords_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="password, which is not supported") as caught:
        parse_url(text)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("at sftp://u:hunter2@host/srv: lost", "at sftp://u:***@host/srv: lost"),
        ("sftp://u:a/b@c@host/srv", "sftp://u:***@host/srv"),
        ("u:hunter2@host:/srv", "u:***@host:/srv"),
        ("sftp://u@host:22/srv/x@y", "sftp://u@host:22/srv/x@y"),
        ("sftp://host:22/srv/x@y", "sftp://host:22/srv/x@y"),
        ("sent 3 files: all done", "sent 3 files: all done"),
    ],
)
def test_passwords_are_hidden(text: str, hidden: str) -> None:
    assert hide_password(text) == hidden


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("sftp://u@host:22/srv/db", LocatedSource(SftpUrl("host", PurePosixPath("/srv"), "u", 22), "db")),
        ("sftp://host/db", LocatedSource(SftpUrl("host", PurePosixPath("/")), "db")),
        ("file:///mnt/backup/db/", LocatedSource(DirectoryUrl(Path("/mnt/backup")), "db")),
        ("/mnt/backup/db", LocatedSource(DirectoryUrl(Path("/mnt/backup")), "db")),
        ("backup/db", LocatedSource(DirectoryUrl(HERE / "backup"), "db")),
        ("db", LocatedSource(DirectoryUrl(HERE), "db")),
        (".", LocatedSource(DirectoryUrl(Path("/home")), "someone")),
        ("../other/db", LocatedSource(DirectoryUrl(Path("/home/other")), "db")),
        ("./standby:db", LocatedSource(DirectoryUrl(HERE), "standby:db")),
        ("standby:db", NamedSource("standby", "db")),
    ],
)
def test_sources(text: str, source: LocatedSource | NamedSource) -> None:
    assert parse_source(text, working_folder=HERE) == source


@pytest.mark.parametrize("text", ["", "/", "file:///", "sftp://host/", "a\0b", "http://host/db"])
def test_bad_sources_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_source(text, working_folder=HERE)


@pytest.mark.parametrize("name", ["conduwuit", "a", "A-1.b_c", "0", "x" * 100])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-x", "a/b", "a:b", "a b", "a\n", "\u00e9", "x" * 101, "generations", "incoming"],
)
def test_names_that_are_no_folder_of_their_own_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is "):
        check_name(name)


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,20}", fullmatch=True),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0~"), min_size=1).filter(
            lambda part: part != ".."
        ),
        min_size=1,
    ),
    st.none() | st.text(min_size=1).filter(str.isprintable),
    st.none() | st.integers(1, 65535),
)
def test_every_url_is_read_as_it_was_written(
    host: str, parts: list[str], user: str | None, port: int | None
) -> None:
    url = SftpUrl(host, PurePosixPath("/", *parts), user, port)
    assert parse_url(str(url)) == url
