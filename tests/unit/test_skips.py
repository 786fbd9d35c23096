"""In CI a skipped test is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "test": "import pytest\n\ndef test_x():\n    pytest.skip('no server')\n",
    "mark": "import pytest\n\n@pytest.mark.skip(reason='no server')\ndef test_x():\n    pass\n",
    "module": "import pytest\npytest.importorskip('no_server')\n",
}
EXPECTED_FAILURE = "import pytest\n\n@pytest.mark.xfail\ndef test_x():\n    raise ValueError\n"


def run(folder: Path, test: str, *, in_ci: str) -> int:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "test_x.py").write_text(test)
    environment = {**os.environ, "CI": in_ci, "REPLICATOR_TEST_INSTALLED": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    return subprocess.run(command, env=environment, capture_output=True, check=False, cwd=folder).returncode


@pytest.mark.parametrize("kind", SKIPS)
def test_skips_fail_in_ci_only(tmp_path: Path, kind: str) -> None:
    assert run(tmp_path, SKIPS[kind], in_ci="true") in (1, 2)
    assert run(tmp_path, SKIPS[kind], in_ci="") in (0, 5)


def test_expected_failures_are_no_skips(tmp_path: Path) -> None:
    assert run(tmp_path, EXPECTED_FAILURE, in_ci="true") == 0
