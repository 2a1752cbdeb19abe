"""Commands in a session of their own: nothing that they start outlives them, and nobody else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ABLATE = (sys.executable, "-m", "orchestrator", "ablate", "--config")
"""`orchestrate ablate --config`, of this very Python."""
POLL_S = 0.2
LEAVE_S = 10.0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, None when it was ended from outside for the reason `hung`."""

    started: float
    ended: float
    code: int | None
    hung: str | None = None


def run(
    words: Sequence[str],
    *,
    cwd: Path,
    scratch: Path,
    output: Path,
    progress: Callable[[], int] = lambda: 0,
    idle_limit_s: float,
    total_limit_s: float,
) -> Ended:
    """Run a command to its end, or until it is stuck.

    Args:
        scratch: its directory for temporary files, Ray's included. Short: socket paths have a limit.
        output: gets its stdout and stderr.
        progress: a number that grows while the command gets anywhere.
        idle_limit_s: how long that number may stay the same.
        total_limit_s: how long the command may take in all.
    """
    environment = {
        **os.environ,
        "TMPDIR": str(scratch),
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(cwd), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment.pop("RAY_ADDRESS", None)
    started = time.time()
    with output.open("wb") as out:
        process = subprocess.Popen(
            list(words),
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    hung = None
    try:
        hung = _wait(process, progress, idle_limit_s, total_limit_s)
        return Ended(started, time.time(), None if hung else process.returncode, hung)
    finally:
        end_session(process.pid)
        process.wait()


def _wait(
    process: subprocess.Popen[bytes],
    progress: Callable[[], int],
    idle_limit_s: float,
    total_limit_s: float,
) -> str | None:
    """Wait; returns why the command has to be ended from outside, None when it ended by itself."""
    begun = moved = time.monotonic()
    seen = progress()
    while True:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None
        now, latest = time.monotonic(), progress()
        if latest != seen:
            seen, moved = latest, now
        if now - moved > idle_limit_s:
            return f"nothing happened for {idle_limit_s:g} s"
        if now - begun > total_limit_s:
            return f"not over after {total_limit_s:g} s"


def end_session(session: int) -> None:
    """End every process of a session that we started, by its id, and wait until they are gone."""
    deadline = time.monotonic() + LEAVE_S
    while (members := members_of(session)) and time.monotonic() < deadline:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def members_of(session: int) -> list[int]:
    """Process ids in a session, zombies left out (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _parent, _group, its_session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state not in "ZX":
            found.append(int(entry.name))
    return found
