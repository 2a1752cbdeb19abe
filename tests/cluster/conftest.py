"""Makes `lab` importable from the tests beside it; skips, with the reason, where there can be no lab."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import TUNED, Cluster
from lab import Lab, missing


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An empty lab; `boot` hosts in it."""
    with _lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def plain_cluster() -> Iterator[Cluster]:
    """Two workers, and cluster.yaml with other addresses, user and key only. For tests that break nothing."""
    with _lab() as lab:
        cluster = Cluster(lab, ["worker1", "worker2"])
        cluster.up()
        yield cluster


@pytest.fixture(scope="module")
def tuned_cluster() -> Iterator[Cluster]:
    """Two workers, quick to notice that a node is lost. Tests leave it with all nodes alive."""
    with _lab() as lab:
        cluster = Cluster(lab, ["worker1", "worker2"], TUNED)
        cluster.up()
        yield cluster


@contextmanager
def _lab() -> Iterator[Lab]:
    """A lab in a directory with a short path: Ray's sockets need one."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    root = Path(tempfile.mkdtemp(prefix="lab-"))
    try:
        with Lab(root) as lab:
            yield lab
    finally:
        shutil.rmtree(root, ignore_errors=True)
