"""Continuous replication for the RocksDB databases of applications that nobody wants to modify."""

__version__ = "0.1.0"
