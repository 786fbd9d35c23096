"""A catalog survives its encoding, and nothing unsafe gets through its decoding."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import DamageError, ProtocolError
from replicator.replica.catalog import (
    Catalog,
    CatalogFile,
    Writer,
    compare_with_listing,
    decode_catalog,
    decode_draft,
    encode_catalog,
    encode_checksums,
)
from replicator.replica.layout import GenerationId
from replicator.rocksdb.filenames import FileKind

if TYPE_CHECKING:
    from collections.abc import Callable

SHA = "ab" * 32
CATALOG = Catalog(
    generation=GenerationId.parse("20261122T153000.123Z"),
    captured_at=datetime(2026, 11, 22, 15, 30, 0, 123456, tzinfo=UTC),
    writer=Writer("alpha", "/var/lib/chat", "db-1"),
    rocksdb_version="11.9.0",
    column_families=("default", "événements"),
    manifest_name="MANIFEST-000005",
    files=(
        CatalogFile("000010.sst", FileKind.TABLE, 1000, "db-1:unique", SHA),
        CatalogFile("000011.log", FileKind.WAL, 50, "", SHA),
        CatalogFile("MANIFEST-000005", FileKind.MANIFEST, 10, "", SHA),
        CatalogFile("CURRENT", FileKind.CURRENT, 16, "", SHA),
    ),
)


def changed(change: Callable[[Any], object]) -> bytes:
    """Return the catalog after `change` was done to its document."""
    document = json.loads(encode_catalog(CATALOG))
    change(document)
    return json.dumps(document).encode()


def test_a_catalog_comes_back() -> None:
    assert decode_catalog(encode_catalog(CATALOG)) == CATALOG


@given(
    texts=st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 4),
    sizes=st.lists(st.integers(0, 2**62 - 1), max_size=5),
)
def test_any_catalog_comes_back(texts: tuple[str, str, str, str], sizes: list[int]) -> None:
    host, path, identity, family = texts
    tables = tuple(
        CatalogFile(f"{number:06d}.sst", FileKind.TABLE, size, identity, SHA) for number, size in enumerate(sizes)
    )
    catalog = replace(
        CATALOG,
        writer=Writer(host, path, identity),
        column_families=(family,),
        files=(*tables, *CATALOG.files[1:]),
    )
    assert decode_catalog(encode_catalog(catalog)) == catalog


def test_a_draft_is_no_catalog() -> None:
    draft = replace(CATALOG, files=(replace(CATALOG.files[0], sha256=None), *CATALOG.files[1:]))
    assert decode_draft(encode_catalog(draft)) == draft
    with pytest.raises(DamageError, match="1 files have no SHA-256"):
        decode_catalog(encode_catalog(draft))


def test_a_later_format_is_told_from_damage() -> None:
    with pytest.raises(ProtocolError, match="format 2"):
        decode_catalog(changed(lambda document: document.update(format=2, novelty=True)))


@pytest.mark.parametrize(
    "name",
    [
        "../000010.sst",
        "/etc/000010.sst",
        "a/000010.sst",
        "..",
        "",
        "LOCK",
        "replica.json",
        "000010.sst\0",
        "x\n.sst",
    ],
)
def test_names_that_no_database_has_are_refused(name: str) -> None:
    with pytest.raises(DamageError, match="not the name of a database file"):
        decode_catalog(changed(lambda document: document["files"][0].update(name=name)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda document: document["files"].append(document["files"][0]), id="twice"),
        pytest.param(lambda document: document["files"].pop(), id="no CURRENT"),
        pytest.param(lambda document: document.update(manifest="MANIFEST-000009"), id="no MANIFEST"),
        pytest.param(lambda document: document.update(manifest="000010.sst"), id="MANIFEST is a table"),
        pytest.param(lambda document: document.update(total_bytes=1), id="total bytes"),
        pytest.param(lambda document: document.update(total_files=1), id="total files"),
        pytest.param(lambda document: document["files"][0].update(kind="wal"), id="kind"),
        pytest.param(lambda document: document["files"][0].update(kind="virus"), id="unknown kind"),
        pytest.param(lambda document: document["files"][0].update(size_bytes=-1), id="negative"),
        pytest.param(lambda document: document["files"][0].update(size_bytes=2**63), id="huge"),
        pytest.param(lambda document: document["files"][0].update(size_bytes="1000"), id="size as text"),
        pytest.param(lambda document: document["files"][0].update(size_bytes=True), id="size as bool"),
        pytest.param(lambda document: document["files"][0].update(sha256=SHA.upper()), id="upper case"),
        pytest.param(lambda document: document["files"][0].update(sha256=SHA + "\n"), id="line end"),
        pytest.param(lambda document: document["files"][0].update(surprise=1), id="unknown key"),
        pytest.param(lambda document: document["files"][0].pop("identity"), id="missing key"),
        pytest.param(lambda document: document.update(generation="../../x"), id="generation"),
        pytest.param(lambda document: document.update(captured_at="2026-11-22T15:30:00"), id="no time zone"),
        pytest.param(lambda document: document.update(writer=None), id="writer"),
        pytest.param(lambda document: document.pop("format"), id="format"),
    ],
)
def test_contradictions_and_malformed_values_are_refused(change: Callable[[Any], object]) -> None:
    with pytest.raises(DamageError, match="damaged"):
        decode_catalog(changed(change))


@given(st.binary())
def test_arbitrary_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(DamageError):
        decode_catalog(data)


@given(st.integers(0, 2000))
def test_a_catalog_cut_short_is_damage(length: int) -> None:
    data = encode_catalog(CATALOG)
    cut = data[: min(length, len(data) - 2)]
    with pytest.raises(DamageError):
        decode_catalog(cut)


def test_a_writer_from_a_catalog_cannot_send_control_characters_to_the_terminal() -> None:
    assert "\x1b" not in str(Writer("\x1b[2J", "\x1b]0;", "\x1b"))


def with_logs(sizes: dict[str, int]) -> Catalog:
    logs = (CatalogFile(name, FileKind.WAL, size, "", SHA) for name, size in sizes.items())
    return replace(CATALOG, files=(*logs, *(file for file in CATALOG.files if file.kind is not FileKind.WAL)))


def test_checksums_are_lines_of_digest_and_name() -> None:
    catalog = with_logs({"000009.log": 5000, "000011.log": 3000})
    lines = encode_checksums(catalog).decode().splitlines()
    # All but the log that may grow.
    assert lines == [f"{SHA}  {file.name}" for file in catalog.files if file.name != "000011.log"]


def test_while_the_newest_log_is_empty_the_one_before_may_grow_too() -> None:
    lines = encode_checksums(with_logs({"000007.log": 900, "000009.log": 5000, "000011.log": 0})).decode()
    assert {name for name in lines.split() if name.endswith(".log")} == {"000007.log"}


def listing(**changes: int | None) -> dict[str, int | None]:
    sizes: dict[str, int | None] = {file.name: file.size_bytes for file in CATALOG.files}
    return sizes | {"replica.json": 1, "SHA256SUMS": 1} | changes


def test_a_listing_that_agrees_has_no_findings() -> None:
    assert compare_with_listing(CATALOG, listing()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"000010.sst": 999}, "000010.sst has 999 bytes, expected 1000"),
        ({"000010.sst": 1001}, "000010.sst has 1001 bytes, expected 1000"),
        ({"000010.sst": None}, "000010.sst is not a plain file"),
        ({"000011.log": 49}, "000011.log has 49 bytes, expected 50"),
        ({"000010.log": 5}, "000010.log is not in the catalog"),
        ({"000099.sst": 5}, "000099.sst is not in the catalog"),
    ],
)
def test_a_listing_that_differs_is_found_out(changes: dict[str, int | None], expected: str) -> None:
    assert [str(finding) for finding in compare_with_listing(CATALOG, listing(**changes))] == [expected]


def test_names_that_rocksdb_does_not_read_are_no_finding() -> None:
    assert compare_with_listing(CATALOG, listing(LOG=5, **{"rocksdict-config.json": 9, "LOG.old.17": None})) == []


def test_a_log_may_have_grown_and_newer_ones_may_have_come() -> None:
    assert compare_with_listing(CATALOG, listing(**{"000011.log": 51, "000012.log": 0, "shipped.jsonl": 9})) == []


def test_a_missing_file_is_found_out() -> None:
    sizes = listing()
    del sizes["000010.sst"]
    assert [str(finding) for finding in compare_with_listing(CATALOG, sizes)] == ["000010.sst is missing"]
