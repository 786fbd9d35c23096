"""Files that systemd passes on to the service (`LoadCredential`), so that the originals may be root's alone."""

from __future__ import annotations

import os
from pathlib import Path


def passed_on(configured: Path | None) -> Path | None:
    """Return the copy that the service manager made of a file under its name, or the file itself without one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None or configured is None:
        return configured
    copy = Path(folder) / configured.name
    return copy if copy.is_file() else configured
