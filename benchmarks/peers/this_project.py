"""This project: `orchestrate ablate` as a user types it, with journal, curves, checks and report.

Variants: `none`, `asha`, `resolve`, the rule. It runs in the project's own environment.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from peercase import ARMS, AT_A_TIME, LENGTHS, SEEDS, Case, answer, from_arguments

ABLATE = [
    sys.executable,
    "-c",
    "import sys; from orchestrator.cli.app import main; sys.exit(main())",
    "ablate",
]


def train(config: dict[str, Any]) -> None:
    """One rank of a trial: the entrypoint of the study."""
    import peercase
    import ray.train

    context = ray.train.get_context()

    def report(epoch: int, loss: float) -> bool:
        ray.train.report({"epoch": epoch, "loss": loss})
        return False

    peercase.train(config, report, context.get_world_rank(), context.get_world_size())


def study(case: Case, rule: str, storage: str) -> dict[str, Any]:
    """The study file."""
    length = LENGTHS[case.length]
    (_, baseline), *others = ARMS.items()
    components: dict[str, Any] = {}
    for arm, values in others:
        (changed,) = [{key: value} for key, value in values.items() if value != baseline[key]]
        name, _, to = arm.removeprefix("no-").partition("=")
        components[name] = {"swap": {to: changed}} if to else {"without": changed}
    return {
        "name": "peers",
        "entrypoint": "this_project:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {**baseline, "epochs": length.epochs, "steps": length.steps},
        "components": components,
        "seeds": SEEDS,
        "stopping": {"rule": rule, "max": length.epochs, "unit": "epoch"},
        "resources": {"workers": case.workers, "cpus_per_worker": 1, "max_parallel": AT_A_TIME},
        "storage": storage,
    }


def main() -> None:
    case, rule = from_arguments()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        file.write_text(yaml.safe_dump(study(case, rule, folder), sort_keys=False))
        here = Path(__file__).parent
        done = subprocess.run(
            [*ABLATE, "--config", str(file)], cwd=here, stdout=sys.stderr, check=False, env=os.environ
        )
        from orchestrator.api.recorded import open_study

        rows = []
        with contextlib.suppress(Exception):  # it was not begun: all of its trials are lost
            rows = open_study(Path(folder) / "peers").results().rows()
    values = {f"{row['arm']} seed {row['seed']}": row["value"] for row in rows if row["state"] == "done"}
    stopped = sum(row["state"] in ("stopped", "skipped") for row in rows)
    answer(values, stopped)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
