"""A Ray cluster in the lab, brought up from the laptop as a user would, and studies that run on it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from lab import ENVIRONMENT, PROJECT, SHARED, Host, Lab

from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan, make_plan
from orchestrator.study.loading import load_study

# Quick to call a node lost: 4 to 9 s of silence, where Ray's own settings take up to a minute.
TUNED = {
    "RAY_health_check_initial_delay_ms": 1000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 2000,
    "RAY_health_check_failure_threshold": 3,
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S": 10,
    "AUTOSCALER_UPDATE_INTERVAL_S": 2,
    "AUTOSCALER_NODE_SSH_INTERVAL_S": 2,
}
DASHBOARD = "http://127.0.0.1:8265"
CONDITION_LIMIT_S = 180.0
POLL_S = 0.1
NO_METRICS = ("time_s", "attempt")
ENTRYPOINTS = Path(__file__).parent / "entrypoints"


def until(condition: Callable[[], Any], what: str, limit_s: float = CONDITION_LIMIT_S) -> Any:
    """Ask until the condition holds; its value. The failure says what was waited for."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(POLL_S)
    return value


class Cluster:
    """`ray up` from the laptop, with the project's cluster.yaml.

    Args:
        workers: the hosts of `worker_ips`; all are booted here.
        head_environment: what Ray on the head gets beside the file, for instance TUNED.
    """

    def __init__(
        self, lab: Lab, workers: list[str], head_environment: Mapping[str, object] | None = None
    ) -> None:
        self.lab, self.workers = lab, workers
        lab.boot("laptop", "head", *workers)
        self.file = lab.cluster_file("head", workers, head_environment=head_environment)
        lab["laptop"].run("ray get-auth-token --generate")

    @property
    def head(self) -> Host:
        return self.lab["head"]

    @property
    def path(self) -> str:
        """PATH of every host's user, for a command that has another HOME."""
        return f"{Path.home()}/{ENVIRONMENT}/bin:/usr/bin:/bin"

    def up(self) -> None:
        """`ray up`, and wait until the head and all workers that are switched on are there."""
        self.lab["laptop"].run(f"ray up -y {self.file}")
        self.wait_for_nodes(sum(self.lab[name].pid is not None for name in self.workers) + 1)

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes that the head has known, as Ray's state API tells."""
        listed = self.head.attempt("ray list nodes --detail --format json --limit 1000")
        start = listed.stdout.find("[")
        return list(json.loads(listed.stdout[start:])) if listed.returncode == 0 and start >= 0 else []

    def wait_for_nodes(self, count: int) -> None:
        """Until `count` nodes are alive."""
        until(lambda: self.alive() == count, f"{count} nodes alive", 120.0)

    def alive(self) -> int:
        return sum(node["state"] == "ALIVE" for node in self.nodes())

    def logs(self) -> str:
        """What explains a failure."""
        return self.head.attempt("tail -n 60 /tmp/ray/session_latest/logs/monitor.*").stdout


@dataclass
class Job:
    """A study under way as a Ray job on the head."""

    cluster: Cluster
    name: str

    def status(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED; empty while nobody answers."""
        asked = self.cluster.head.attempt(
            f'RAY_ADDRESS={DASHBOARD} python -c "from ray.job_submission import JobSubmissionClient as C; '
            f"print('status', C('{DASHBOARD}').get_job_status('{self.name}').value)\""
        )
        lines = [line for line in asked.stdout.splitlines() if line.startswith("status ")]
        return lines[-1].split()[1] if lines else ""

    def log(self) -> str:
        return self.cluster.head.attempt(
            f"cat /tmp/ray/session_latest/logs/job-driver-{self.name}.log"
        ).stdout

    def end(self, limit_s: float = 300.0) -> str:
        """Wait for the end of the job; its last status."""
        try:
            return str(
                until(
                    lambda: (s := self.status()) in ("SUCCEEDED", "FAILED", "STOPPED") and s,
                    "the end",
                    limit_s,
                )
            )
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log()[-5000:]}") from None


class SharedStudy:
    """A study file and its code on the shared directory; `{dir}` in it: where its entrypoint leaves files."""

    def __init__(
        self, cluster: Cluster, text: str, entrypoint: str | None = None, folder: str = "study"
    ) -> None:
        self.cluster = cluster
        self.outside = cluster.lab.shared / folder
        self.inside = SHARED / folder
        self.signs = self.outside / "signs"
        self.signs.mkdir(parents=True)
        self.code = self.outside / "code"
        self.code.mkdir()
        if entrypoint is not None:
            shutil.copy(ENTRYPOINTS / f"{entrypoint}.py", self.code)
        self.file = self.code / "study.yaml"
        self.file.write_text(text.replace("{dir}", str(self.inside / "signs")))
        self._submitted = 0

    def command(self, *words: str) -> str:
        """`orchestrate ablate` of this study."""
        return " ".join(
            [
                *("orchestrate", "ablate", "--config", f"{self.inside}/code/study.yaml"),
                *(f"storage={self.inside}/runs", *words),
            ]
        )

    def submit(self, *words: str) -> Job:
        """As a Ray job, on the head."""
        self._submitted += 1
        job = Job(self.cluster, f"{self.outside.name}-{self._submitted}")
        entry = f"cd {self.inside}/code && {self.command('--address', 'auto', *words)}"
        self.cluster.head.run(
            f"ray job submit --address {DASHBOARD} --no-wait --submission-id {job.name} -- bash -c '{entry}'"
        )
        return job

    # ---- read --------------------------------------------------------------------------------------------

    @property
    def storage(self) -> Storage:
        return Storage.open(self.outside / "runs")

    @cached_property
    def plan(self) -> Plan:
        return make_plan(load_study(self.file, [f"storage={self.outside / 'runs'}"], cwd=PROJECT).spec)

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths.of(self.plan.study)

    def path(self, name: str = "") -> Path:
        """A file of the run directory."""
        return Path(self.storage.local_path(f"{self.paths.root}/{name}".rstrip("/")))

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        found = read_journal(self.storage, self.paths.journal).lines
        return [line.plain() for line in found if kind in (None, line.event.kind)]

    def results(self) -> dict[tuple[str, int], dict[str, Any]]:
        """`results.parquet` by arm and seed; every cell of the plan exactly once."""
        rows = pq.read_table(self.path("results.parquet")).to_pylist()
        assert sorted(row["cell"] for row in rows) == sorted(cell.cell for cell in self.plan.cells)
        return {(row["arm"], row["seed"]): row for row in rows}

    def curves(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """What every trial reported, without what differs by nature."""
        return {
            (cell.arm, cell.seed): [
                {key: value for key, value in row.items() if key not in NO_METRICS}
                for row in read_metrics(self.storage, self.paths.trial(cell.arm, cell.seed))
            ]
            for cell in self.plan.cells
        }
