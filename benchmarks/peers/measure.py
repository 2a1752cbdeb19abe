"""Runs one way and measures all its processes, until it ends or its time is up. Linux only."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peercase import Answer

EVERY_S = 1.0
"""Between two looks at the memory: five a second took a fifth of a core from a way of twenty processes."""
LEAVE_S = 20.0
_PR_SET_CHILD_SUBREAPER = 36
ANSWER_KEYS = {"values", "stopped", "cannot"}


@dataclass(frozen=True)
class Peak:
    """The most that was seen at once: PSS in MiB, and processes."""

    memory_mib: float = 0.0
    processes: int = 0

    def with_sample(self, pss_bytes: Sequence[int]) -> Peak:
        """Take one look at all processes."""
        return Peak(max(self.memory_mib, sum(pss_bytes) / 2**20), max(self.processes, len(pss_bytes)))


@dataclass(frozen=True)
class Measured:
    """One run of a way. `told`: why it has no complete result, in a line; None: it has."""

    wall_s: float
    cpu_s: float
    peak: Peak
    answer: Answer | None
    told: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        said = self.answer
        return {
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "memory_mib": round(self.peak.memory_mib, 1),
            "processes": self.peak.processes,
            "ended": None if said is None else len(said.values),
            "stopped": None if said is None else said.stopped,
            "lost": None if said is None else said.lost,
            "values": {} if said is None else dict(said.values),
            "told": self.told,
        }


def adopt_orphans() -> None:
    """Become the parent of what the processes below this one leave behind: nothing gets out of the tree."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def run(words: Sequence[str], *, cwd: Path, log: Path, limit_s: float, env: Mapping[str, str]) -> Measured:
    """Run a way to its end, or to the end of its time; nothing of it is left afterwards.

    `adopt_orphans` was called before, and this process has no other children.
    """
    before, began, peak, late = _cpu_s(), time.monotonic(), Peak(), False
    with log.open("wb") as output, log.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen(words, cwd=cwd, env=dict(env), stdout=output, stderr=errors)
        while process.poll() is None:
            peak = peak.with_sample(list(_pss(_tree())))
            late = time.monotonic() - began > limit_s
            if late:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(EVERY_S)
    wall_s = time.monotonic() - began
    _end(_tree())
    code = process.wait()
    _reap()
    said = answer_of(log.read_text(errors="replace"))
    told = story(said, code, limit_s if late else None, log.with_suffix(".err").read_text(errors="replace"))
    return Measured(wall_s, _cpu_s() - before, peak, None if late else said, told)


def answer_of(output: str) -> Answer | None:
    """The last line of a way's output; None where it is no answer."""
    for line in reversed(output.strip().splitlines()):
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.keys() == ANSWER_KEYS:
                return Answer(**said)
    return None


def story(said: Answer | None, code: int, limit_s: float | None, errors: str) -> str | None:
    """Why a run has no complete result, in a line; None where it has one.

    `limit_s`: the time that was up, if it was; `errors`: what it has written on stderr.
    """
    if limit_s is not None:
        return f"not over after {limit_s:g} s: ended from outside"
    if said is not None and said.cannot is not None:
        return f"cannot: {said.cannot}"
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "it said nothing")
    if said is None:
        return f"no answer, exit code {code}: {last[:200]}"
    if said.lost:
        return f"{said.lost} trials lost"
    return None if code == 0 else f"exit code {code}: {last[:200]}"


def _tree() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _pss(processes: Iterable[psutil.Process]) -> Iterable[int]:
    """Of those that are still there: memory that several share counts for each in part."""
    for process in processes:
        with suppress(psutil.Error):
            yield int(process.memory_full_info().pss)


def _end(processes: Sequence[psutil.Process]) -> None:
    """End what is left: ask first, since a Ray that is asked ends its own."""
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.Error):
                act(process)
        _, processes = psutil.wait_procs(_tree(), timeout=LEAVE_S)
        if not processes:
            return


def _reap() -> None:
    """Wait for all that was adopted: then their processor time is counted."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _cpu_s() -> float:
    """Seconds of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment(folder: Path) -> dict[str, str]:
    """What a way finds: nothing that was set for Ray or Python, one thread, a place of its own."""
    here = Path(__file__).resolve().parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON"))}
    paths = os.pathsep.join(map(str, (here, here.parents[1])))  # the second for this project's checkout
    return {**kept, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder), "PYTHONPATH": paths}


if sys.platform != "linux":
    raise SystemExit("these measures are Linux's")
