"""Members of tar archives, as the standard library's tarfile reads them."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.interface import Owner
from replicator.destination.tar_archive import END, TarMembers, fits, folder_header, padding

LAST_SECOND = 0xFFFF_FFFF
LARGEST_OWNER = 0o7777777
NAMES = st.binary(min_size=1, max_size=100).filter(
    lambda name: not {b"/", b"\0"} & {bytes([byte]) for byte in name} and name not in {b".", b".."}
)


def read(archive: bytes) -> dict[bytes, tuple[tarfile.TarInfo, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            file = tar.extractfile(member)
            found[member.name.encode("utf-8", "surrogateescape")] = member, file.read() if file else b""
    return found


OWNERS = st.none() | st.builds(Owner, st.integers(0, LARGEST_OWNER), st.integers(0, LARGEST_OWNER))


@given(
    name=NAMES,
    data=st.binary(max_size=1500),
    mode_and_seconds=st.tuples(st.integers(0, 0o7777), st.integers(0, LAST_SECOND)),
    owner=OWNERS,
    folder=st.sampled_from([b"", b"17", b"f" * 100]),
)
def test_a_file_is_read_as_it_was_written(
    name: bytes, data: bytes, mode_and_seconds: tuple[int, int], owner: Owner | None, folder: bytes
) -> None:
    mode, seconds = mode_and_seconds
    assert fits(folder, [name], owner)
    archive = [TarMembers(folder, owner).header(name, len(data), mode, seconds), data, padding(len(data)), END]
    found = read(b"".join(archive))
    member, content = found.pop(b"%b/%b" % (folder, name) if folder else name)
    assert not found
    assert content == data
    assert member.isreg()
    assert (member.mode, member.mtime) == (mode, seconds)
    assert (member.uid, member.gid) == (owner or (0, 0))
    # No name may stand in for a number: it would be another account's there.
    assert member.uname == member.gname == ""


def test_a_folder_and_what_lies_in_it() -> None:
    members = TarMembers(b"3", Owner(5, 6))
    archive = [folder_header(b"3", 0o2750, 77, Owner(1, 2)), members.header(b"a", 0, 0o600, 1), END]
    found = read(b"".join(archive))
    folder, _ = found[b"3"]
    assert folder.isdir()
    assert (folder.mode, folder.mtime, folder.uid, folder.gid) == (0o2750, 77, 1, 2)
    file, _ = found[b"3/a"]
    assert (file.uid, file.gid, file.size) == (5, 6, 0)


@pytest.mark.parametrize(
    ("folder", "name", "owner"),
    [
        (b"f" * 101, b"a", None),
        (b"f", b"n" * 101, None),
        (b"f", b"a", Owner(LARGEST_OWNER + 1, 0)),
        (b"f", b"a", Owner(0, LARGEST_OWNER + 1)),
    ],
)
def test_what_does_not_fit(folder: bytes, name: bytes, owner: Owner | None) -> None:
    assert not fits(folder, [b"short", name], owner)


@pytest.mark.parametrize("size_bytes", [0, 1, 511, 512, 513])
def test_contents_are_filled_up_to_whole_blocks(size_bytes: int) -> None:
    assert (size_bytes + len(padding(size_bytes))) % 512 == 0
    assert len(padding(size_bytes)) < 512
