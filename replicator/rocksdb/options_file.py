"""RocksDB's OPTIONS files: a database's settings, as the version that wrote them put them down.

What the settings mean for a copy is decided elsewhere. `db_paths` and `cf_paths` are in no OPTIONS file that
RocksDB writes by itself: the MANIFEST tells of them.

Source: RocksDB `options/options_parser.cc`, `options/options_helper.cc` (escapes and comments).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from replicator.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTION = re.compile(r'\[\s*(?P<title>[A-Za-z]+)(?:/\S*)?\s*(?:"(?P<argument>.*)")?\s*\]', re.DOTALL)
_COMMENT = re.compile(r"(?<!\\)#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r"}


@dataclass(frozen=True, slots=True)
class OptionsFile:
    """A parsed OPTIONS file; values are text as they stand there, escapes resolved."""

    rocksdb_version: str
    options_file_version: str
    database: Mapping[str, str]
    column_families: Mapping[str, Mapping[str, str]]

    @property
    def wal_dir(self) -> str:
        """The folder of the WALs; empty for the database's own."""
        return self.database.get("wal_dir", "")

    @property
    def writes_blobs_directly(self) -> bool:
        """Whether WALs point into blob files that no MANIFEST lists yet (`enable_blob_direct_write`)."""
        return any(values.get("enable_blob_direct_write") == "true" for values in self.column_families.values())


def parse_options(text: str) -> OptionsFile:
    """Parse the contents of an OPTIONS file.

    Raises `CorruptFileError` when it is not a whole one: a line that is neither section nor setting, a section
    twice, or one that every OPTIONS file has is missing.
    """
    sections: dict[tuple[str, str], dict[str, str]] = {}
    current: dict[str, str] | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        statement = _COMMENT.sub("", line).strip()
        if not statement:
            continue
        if match := _SECTION.fullmatch(statement):
            key = (match["title"], _unescape(match["argument"] or ""))
            if key in sections:
                raise CorruptFileError(f"the OPTIONS file has the section {statement} twice (line {number})")
            current = sections[key] = {}
            continue
        name, equals, value = statement.partition("=")
        if current is None or not equals or not name.strip():
            raise CorruptFileError(f"the OPTIONS file has a line that is no setting (line {number})")
        current[name.strip()] = _unescape(value.strip())
    version = sections.get(("Version", ""), {})
    families = {
        argument: MappingProxyType(values)
        for (title, argument), values in sections.items()
        if title == "CFOptions"
    }
    if "rocksdb_version" not in version or ("DBOptions", "") not in sections or "default" not in families:
        raise CorruptFileError("the OPTIONS file is not complete")
    return OptionsFile(
        rocksdb_version=version["rocksdb_version"],
        options_file_version=version.get("options_file_version", ""),
        database=MappingProxyType(sections["DBOptions", ""]),
        column_families=MappingProxyType(families),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
