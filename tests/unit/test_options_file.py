"""OPTIONS files: sections, settings, escapes, and what is no whole file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptFileError
from replicator.rocksdb.options_file import parse_options

_HEAD = """# This is a RocksDB option file.
#

[Version]
  rocksdb_version=11.9.0
  options_file_version=1.1

"""
_TEXT = (
    _HEAD
    + """[DBOptions]
  recycle_log_file_num=0
  track_and_verify_wals_in_manifest=true
  wal_dir=/var/lib/app\\:1/wal  # where the logs are
  compression_opts={checksum=false;level=32767;}


[CFOptions "default"]
  comparator=leveldb.BytewiseComparator
  compaction_options_fifo={allow_compaction=false;}

[TableOptions/BlockBasedTable "default"]
  block_size=4096

[CFOptions "with \\#\\:\\\\ and ]"]
  comparator=reverse
  enable_blob_direct_write=true

[TableOptions/BlockBasedTable "with \\#\\:\\\\ and ]"]
  block_size=4096
"""
)
_MINIMAL = _HEAD + '[DBOptions]\n  {}\n\n[CFOptions "default"]\n  {}\n'


def test_sections_and_settings_are_read() -> None:
    options = parse_options(_TEXT)
    assert (options.rocksdb_version, options.options_file_version) == ("11.9.0", "1.1")
    assert list(options.column_families) == ["default", "with #:\\ and ]"]
    assert options.column_families["with #:\\ and ]"]["comparator"] == "reverse"
    assert options.database["compression_opts"] == "{checksum=false;level=32767;}"
    assert options.wal_dir == "/var/lib/app:1/wal"


def test_what_matters_to_a_copy_is_told() -> None:
    options = parse_options(_TEXT)
    assert options.database["track_and_verify_wals_in_manifest"] == "true"
    assert options.writes_blobs_directly
    options = parse_options(_MINIMAL.format("recycle_log_file_num=4", "enable_blob_direct_write=false"))
    assert options.database["recycle_log_file_num"] == "4"
    assert not options.writes_blobs_directly
    assert options.wal_dir == ""


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1))
def test_any_value_survives_rocksdbs_escapes(value: str) -> None:
    special = {"\n": "\\n", "\r": "\\r", "\\": "\\\\", "#": "\\#", ":": "\\:"}
    escaped = "".join(special.get(char, char) for char in f"<{value}>")
    options = parse_options(_MINIMAL.format(f"wal_dir={escaped}", "a=b"))
    assert options.wal_dir == f"<{value}>"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not complete"),
        (_HEAD, "not complete"),
        (_TEXT.replace("[DBOptions]", "[Others]"), "not complete"),
        (_TEXT.replace('[CFOptions "default"]', '[CFOptions "first"]'), "not complete"),
        (_TEXT.replace("  rocksdb_version=11.9.0\n", ""), "not complete"),
        (_TEXT + "[DBOptions]\n", "twice"),
        (_TEXT + "half a li", "no setting"),
        (_TEXT + "=value", "no setting"),
        ("setting=1\n" + _TEXT, "no setting"),
        ("\0" * 50, "no setting"),
    ],
)
def test_what_is_no_whole_file_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CorruptFileError, match=reason):
        parse_options(text)
