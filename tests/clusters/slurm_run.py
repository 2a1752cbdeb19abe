"""A job of slurm.sh that meets its time limit and is started again, with processes and network of its own.

Run by test_slurm.py as the first process of new namespaces: `slurm_run.py DIRECTORY`. Stands for SLURM:
sets its variables, sends USR1, starts again what was put back into the queue. Prints what was seen, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STUBS = Path(__file__).parent / "slurm_stubs"
STUDY = [
    "configs/plain-ray.yaml",
    "seeds=1",
    "stopping.rule=none",
    "stopping.max=60",
    "resources.gpus_per_worker=0",
]
PATIENCE_S = 240.0
QUERY = """
import json, os, ray
ray.init(address=os.environ["RAY_ADDRESS"], logging_level="ERROR", log_to_driver=False)
print(json.dumps([{k: node["Resources"].get(k, 0) for k in ("CPU", "GPU")} for node in ray.nodes()]))
"""


class Job:
    """One start of the job by SLURM: two nodes with one CPU and one (pretended) GPU each."""

    def __init__(self, directory: Path, restarts: int) -> None:
        self.directory = directory
        self.environment = dict(
            os.environ,
            PATH=f"{STUBS}:{os.environ['PATH']}",
            HOME=str(directory / "home"),
            PYTHONPATH=str(ROOT),
            ORCHESTRATE_VENV=str(Path(sys.executable).parents[1]),
            OBJECT_STORE_BYTES="100000000",
            SLURM_STUB_LOG=str(directory / "asked"),
            SLURM_JOB_ID="4711",
            SLURM_JOB_NUM_NODES="2",
            SLURM_CPUS_PER_TASK="1",
            SLURM_RESTART_COUNT=str(restarts),
        )
        words = ["bash", "configs/clusters/slurm.sh", *STUDY, f"storage={directory / 'runs'}"]
        with (directory / "slurm.log").open("a") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, env=self.environment, stdout=log, stderr=log)

    def wait_for(self, words: bytes) -> None:
        """Until the journal has these words, `"event": ...`: the trial is under way."""
        journal = self.directory / "runs" / "plain-ray" / "journal.jsonl"
        deadline = time.monotonic() + PATIENCE_S
        while not (journal.exists() and words in journal.read_bytes()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no {words!r} in {journal}\n{(self.directory / 'slurm.log').read_text()}")
            time.sleep(0.05)

    def nodes(self) -> list[dict[str, float]]:
        """What each node of the running cluster offers, asked with the job's token."""
        port = 20000 + 2 * 4711
        token = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.directory / "home/.ray/auth_token"),
        }
        asked = dict(self.environment, RAY_ADDRESS=f"127.0.0.1:{port}", **token)
        done = subprocess.run(
            [sys.executable, "-c", QUERY], env=asked, capture_output=True, text=True, check=True
        )
        found: list[dict[str, float]] = json.loads(done.stdout)
        return found

    def end(self) -> int:
        return self.process.wait(PATIENCE_S)


SETTLE_S = 20.0
"""The processes of Ray's dashboard look once a second whether the one that started them is still there."""


def left_behind() -> list[str]:
    """Processes of the job that do not end by themselves: the namespace holds nothing else."""
    deadline = time.monotonic() + SETTLE_S
    while (left := processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def processes() -> list[str]:
    """All but this one."""
    listed = subprocess.run(
        ["ps", "axww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    )
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [
        args
        for pid, stat, args in lines
        if int(pid) != os.getpid() and "Z" not in stat and "ps ax" not in args
    ]


def main(directory: Path) -> dict[str, Any]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    seen: dict[str, Any] = {}
    job = Job(directory, restarts=0)
    job.wait_for(b'"checkpoint"')
    seen["nodes"] = job.nodes()
    started = time.monotonic()
    job.process.send_signal(signal.SIGUSR1)
    seen["first_exit"] = job.end()
    seen["stopped_after_s"] = time.monotonic() - started
    seen["left_after_first"] = left_behind()
    seen["asked"] = (directory / "asked").read_text().splitlines()
    seen["second_exit"] = Job(directory, restarts=1).end()
    seen["left_after_second"] = left_behind()
    seen["scratch"] = [str(path) for path in Path("/tmp").glob("ray-4711-*")]
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
