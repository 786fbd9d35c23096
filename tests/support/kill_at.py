"""`python kill_at.py CONFIG STEP`: one pass of the service that kills itself in a publish.

It does so when that step is about to begin. The parts are put together as the program puts them together; nothing
of them is replaced.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from replicator.bootstrap.service import build_service
from replicator.config.load import load_config
from replicator.progress import ProgressDisplay
from replicator.replica.publish import PublishStep
from replicator.service.logs import configure_logging


def main(config_path: Path, last: PublishStep) -> None:
    """Run until that step."""

    def on_step(_database: str, _destination: str, step: PublishStep) -> None:
        if step is last:
            os.kill(os.getpid(), signal.SIGKILL)

    config = load_config(config_path)
    configure_logging(config.service.log_format, config.service.log_level)
    with ProgressDisplay() as display:
        build_service(
            config, config_path, stop=threading.Event(), display=display, ship=False, on_step=on_step
        ).run_once()


if __name__ == "__main__":
    main(Path(sys.argv[1]), PublishStep(sys.argv[2]))
