"""Write-ahead logs: which batches a log holds, and where the last whole one ends.

Batches are counted and their headers checked; the keys and values in them are nobody's business here.

Source: RocksDB `db/write_batch.cc` (the header), `db/log_writer.cc` and `util/compression.cc` (each record of a
compressed log is one zstd frame), `util/compression.h` (`CompressionTypeRecord`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from zstandard import ZstdDecompressor, ZstdError

from replicator.errors import CorruptFileError, UnsupportedFormatError
from replicator.rocksdb.record_log import RecordLogReader, RecordType

if TYPE_CHECKING:
    from replicator.rocksdb.record_log import LogRecord, Tail

_BATCH_HEADER = Struct("<QI")  # sequence number of the first entry, number of entries
_BATCH_HEADER_BYTES = _BATCH_HEADER.size
_COMPRESSION_TYPE = Struct("<I")
_NO_COMPRESSION = 0
_ZSTD = 7
_FULL = int(RecordType.FULL)


class WalReader:
    """Reads one WAL, which may still be growing; bytes are fed as to a `RecordLogReader`."""

    def __init__(self, log_number: int) -> None:
        """`log_number` is the number in the file's name; records of a recycled file's past are left out."""
        self._log_number = log_number
        self._log = RecordLogReader(log_number=log_number)
        self._decompressor: ZstdDecompressor | None = None
        self._record_count = 0
        self._first_sequence: int | None = None
        self._last_sequence: int | None = None

    @property
    def next_offset(self) -> int:
        """Where the next bytes to be fed begin."""
        return self._log.next_offset

    @property
    def end_offset(self) -> int:
        """The offset just after the last whole record."""
        return self._log.end_offset

    @property
    def record_count(self) -> int:
        """How many write batches were read; records about the log itself do not count."""
        return self._record_count

    @property
    def first_sequence(self) -> int | None:
        """Sequence number of the first entry; None while there is none."""
        return self._first_sequence

    @property
    def last_sequence(self) -> int | None:
        """The highest sequence number of an entry; None while there is none."""
        return self._last_sequence

    def tail(self) -> Tail:
        """What follows the last whole record; see `RecordLogReader.tail`."""
        return self._log.tail()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Take bytes that begin at `next_offset`; return the write batches that they complete, decompressed.

        Raises `CorruptFileError` for a valid record that is not a batch, `UnsupportedFormatError` for unknown
        record or compression types.
        """
        records = self._log.feed(data)
        batches: list[bytes] = []
        add = batches.append
        unpack = _BATCH_HEADER.unpack_from
        first, last = self._first_sequence, -1 if self._last_sequence is None else self._last_sequence
        for record in records:
            kind, payload, start_offset, _ = record
            if kind != _FULL:
                if kind == RecordType.COMPRESSION:
                    self._begin_compression(record)
                continue
            if self._decompressor is not None:
                payload = self._decompress(record)
            if len(payload) < _BATCH_HEADER_BYTES:
                raise CorruptFileError(
                    f"WAL {self._log_number}: the record at offset {start_offset} has "
                    f"{len(payload)} bytes, too few for a write batch"
                )
            sequence, count = unpack(payload)
            if first is None:
                first = sequence
            end = sequence + count - 1
            if end > last:  # noqa: PLR1730 - max() would be a quarter of the loop
                last = end
            add(payload)
        if batches:
            self._record_count += len(batches)
            self._first_sequence, self._last_sequence = first, last
        return batches

    def _begin_compression(self, record: LogRecord) -> None:
        if len(record.payload) != _COMPRESSION_TYPE.size:
            raise CorruptFileError(f"WAL {self._log_number}: the record of its compression is malformed")
        (compression,) = _COMPRESSION_TYPE.unpack(record.payload)
        if compression == _NO_COMPRESSION:
            return
        if compression != _ZSTD:
            raise UnsupportedFormatError(
                f"WAL {self._log_number} is compressed in a way that is not known: type {compression}",
                hint="Set wal_compression to kNoCompression or kZSTD.",
            )
        self._decompressor = ZstdDecompressor()

    def _decompress(self, record: LogRecord) -> bytes:
        if self._decompressor is None or not record.payload:
            return record.payload
        frame = self._decompressor.decompressobj()
        try:
            payload = frame.decompress(record.payload)
        except ZstdError as error:
            raise CorruptFileError(
                f"WAL {self._log_number}: the record at offset {record.start_offset} does not decompress: {error}"
            ) from error
        if not frame.eof:
            raise CorruptFileError(
                f"WAL {self._log_number}: the record at offset {record.start_offset} is a cut zstd frame"
            )
        return payload
