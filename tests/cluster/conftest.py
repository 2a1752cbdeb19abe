"""Makes `lab` importable from the tests beside it; skips, with the reason, where there can be no lab."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, missing


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An empty lab; `boot` hosts in it. Its directory has a short path: Ray's sockets need one."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    root = Path(tempfile.mkdtemp(prefix="lab-"))
    try:
        with Lab(root) as lab:
            yield lab
    finally:
        shutil.rmtree(root, ignore_errors=True)
