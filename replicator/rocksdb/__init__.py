"""RocksDB's on-disk formats, decoded. Pure: bytes in, values out; no I/O, no clock."""
