"""What a killed driver has left is ended before the next Ray starts; what a live one has started is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.engine.on_ray._orphans import end_orphans, mark
from orchestrator.engine.ray_private.head import EMBEDDED
from orchestrator.record.lease import process_start

DRIVER = f"""
import os, subprocess, sys
from orchestrator.engine.on_ray._orphans import mark
worker = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
child = subprocess.Popen(
    [sys.executable, "-c", worker], env={{**os.environ, "{EMBEDDED}": mark()}}, stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


pytestmark = pytest.mark.slow


def driver() -> tuple[subprocess.Popen[str], int]:
    """A driver and its one worker, which is up and does not mind SIGTERM."""
    made = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=-1, stdout=-1, text=True)
    assert made.stdout is not None
    return made, int(made.stdout.readline())


def test_orphans_are_ended_and_others_are_not() -> None:
    killed, orphan = driver()
    alive, worker = driver()
    own = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, env={**os.environ, EMBEDDED: mark()})
    try:
        killed.kill()
        killed.wait()
        end_orphans(grace_s=0.1)
        assert process_start(orphan) is None
        assert process_start(worker) is not None
        assert own.poll() is None
    finally:
        os.kill(worker, signal.SIGKILL)
        for process in (alive, own, killed):
            process.kill()
            process.communicate()


def test_a_mark_of_another_namespace_says_nothing() -> None:
    odd = ["1", "", "pid:[1] 999999 5", "a b", f"{mark()} more"]
    made = [
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, env={**os.environ, EMBEDDED: value})
        for value in odd
    ]
    end_orphans(grace_s=0.0, limit_s=0.1)
    assert [process.poll() for process in made] == [None] * len(odd)
    for process in made:
        process.kill()
        process.communicate()
