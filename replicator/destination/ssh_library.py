"""paramiko, without what it has no need of here to log in.

The task runner, which it has for `Match exec` of `ssh_config`, is loaded when that is met. Its version, for which
it would read what packages say of themselves, goes only into the name that servers are told:
`paramiko_replicator`. Programs to connect through (`ProxyCommand`) are not started here.
"""

from __future__ import annotations

from replicator.lazy_imports import loaded_on_use, replaced

with (
    loaded_on_use("invoke"),
    loaded_on_use("subprocess"),
    replaced("importlib.metadata", version=lambda _package: "replicator"),
):
    import paramiko
    from paramiko.pkey import UnknownKeyType

__all__ = ["UnknownKeyType", "paramiko"]
