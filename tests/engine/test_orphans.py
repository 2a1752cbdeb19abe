"""Workers of a driver that was killed while they are inside a step of ten minutes: Ray ends them by itself.

`-o log_cli=true --log-cli-level=INFO` shows how long it took.
"""

from __future__ import annotations

import logging
import os
import select
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from workbench import CONDITION_LIMIT_S, Bench

from orchestrator.record.lease import process_start

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: asleep
entrypoint: asleep:train
metric: {name: loss, mode: min}
baseline: {dir: '{dir}', level: 1}
components:
  level: {swap: {two: {level: 2}}}
seeds: [0]
stopping: {rule: none, max: 2, unit: epoch}
resources: {workers: 2, max_parallel: 1}
"""
RANKS = 2


def seconds_until_gone(pids: list[int], limit_s: float) -> dict[int, float]:
    """Seconds from now until each process has ended; fails at the limit."""
    began = time.monotonic()
    gone: dict[int, float] = {}
    with ExitStack() as stack:
        watched = select.poll()
        by_fd = {}
        for pid in pids:
            if process_start(pid) is None:
                gone[pid] = 0.0
                continue
            fd = os.pidfd_open(pid)
            stack.callback(os.close, fd)
            watched.register(fd, select.POLLIN)
            by_fd[fd] = pid
        while len(gone) < len(pids):
            left_s = limit_s - (time.monotonic() - began)
            ready = watched.poll(max(0.0, left_s) * 1000)
            assert ready, f"alive after {limit_s:g} s: {set(pids) - set(gone)}"
            for fd, _ in ready:
                watched.unregister(fd)
                gone[by_fd[fd]] = time.monotonic() - began
    return gone


def orphans_end(study: Bench, *words: str) -> dict[int, float]:
    """Start, wait until all ranks are inside their step, kill the driver; see `seconds_until_gone`."""
    signs = [study.signs / f"asleep-{rank}" for rank in range(RANKS)]
    for sign in signs:
        sign.unlink(missing_ok=True)
    with study.running(*words) as run:
        run.until(lambda: all(sign.exists() for sign in signs), "all ranks are in their step")
        pids = [int(sign.read_text()) for sign in signs]
        run.kill()
        return seconds_until_gone(pids, CONDITION_LIMIT_S)


@pytest.mark.parametrize("where", [pytest.param("embedded", marks=pytest.mark.long), "cluster"])
def test_workers_end_with_their_driver(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    where: str,
) -> None:
    study = Bench(tmp_path, "asleep", STUDY)
    words = ("--address", request.getfixturevalue("shared_ray")) if where == "cluster" else ()
    took = orphans_end(study, *words)
    log.info("%s: the last worker ended %.2f s after its driver", where, max(took.values()))
