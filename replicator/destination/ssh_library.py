"""paramiko, without the task runner that it has for `Match exec` of `ssh_config`: loaded when that is met."""

from __future__ import annotations

from replicator.lazy_imports import loaded_on_use

with loaded_on_use("invoke"):
    import paramiko
    from paramiko.pkey import UnknownKeyType

__all__ = ["UnknownKeyType", "paramiko"]
