"""A cluster file to change, and what it says when it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.remote.clusterfile import ClusterFile, read_cluster_file

TEXT = """\
cluster_name: lab
provider:
  type: local
  head_ip: head
  worker_ips: [worker1, worker2]
  storage: /srv/shared/runs
auth:
  ssh_user: ubuntu
  ssh_private_key: KEY
file_mounts:
  ~/.ray/auth_token: ~/.ray/auth_token
head_start_ray_commands:
  - export RAY_AUTH_MODE=token; ray start --head --port=6379 --dashboard-host=127.0.0.1
worker_start_ray_commands:
  - export RAY_AUTH_MODE=token; ray start --address=$RAY_HEAD_IP:6379
"""
Write = Callable[..., Path]


@pytest.fixture
def cluster_text(tmp_path: Path) -> str:
    key = tmp_path / "key"
    key.write_text("a key")
    return TEXT.replace("KEY", str(key))


@pytest.fixture
def write(tmp_path: Path, cluster_text: str) -> Write:
    """`write(old=new, ...)` as pairs: the file with some of its text exchanged."""

    def write(*pairs: tuple[str, str]) -> Path:
        text = cluster_text
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def cluster(write: Write) -> ClusterFile:
    return read_cluster_file(write())
