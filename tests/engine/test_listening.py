"""Who can reach the Ray that a study starts, and what a token does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engine import gateway

REPOSITORY = Path(__file__).parents[2]
_OPEN = """
import contextlib
import os
from pathlib import Path
from orchestrator.engine.on_ray import cluster
import ray
stack = contextlib.ExitStack()
stack.enter_context(cluster.connected(None))

@ray.remote
def work():
    return os.environ["RAY_AUTH_MODE"]

print("mode", ray.get(work.remote()))

def family(pid):
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))

owned = set()
for pid in family(os.getpid()):
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            owned.add(os.readlink(descriptor))
        except OSError:
            continue
for table in ("tcp", "tcp6"):
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in owned:
            print("listens", words[1].partition(":")[0])
"""


@pytest.mark.ray
@pytest.mark.slow
def test_an_embedded_ray_asks_for_a_token_that_nobody_else_can_read(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    listening = [line[1] for line in lines if line[:1] == ["listens"]]
    assert ["mode", "token"] in lines
    assert listening
    assert (tmp_path / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


def test_a_cluster_without_a_token_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gateway.MODE, raising=False)
    for safe in (None, "127.0.0.1:6379", "ray://[::1]:10001", "localhost:6379"):
        assert gateway.unprotected(safe) is None
    for exposed in ("10.0.0.7:6379", "ray://head:10001", "auto"):
        assert "everybody who reaches its ports" in (gateway.unprotected(exposed) or "")
    monkeypatch.setenv(gateway.MODE, "token")
    assert gateway.unprotected("10.0.0.7:6379") is None


def test_a_study_that_began_on_a_cluster_is_told_its_address() -> None:
    assert gateway.elsewhere_before(None) is None
    assert "--address 10.0.0.7:6379" in (gateway.elsewhere_before("10.0.0.7:6379") or "")
    assert "--cluster FILE" in (gateway.elsewhere_before("auto") or "")


def test_a_token_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gateway.TOKEN_PATH, str(tmp_path / "token"))
    (tmp_path / "token").write_text("a" * 64)
    (tmp_path / "token").chmod(0o644)
    gateway.keep_token_private()
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
