"""`ablate` as a process of its own, on an embedded Ray: both streams, and once more; and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import in_process

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIAL = """\
import threading
import ray.train

def train(config):
    print("hello from the trial")
    if config["broken"]:
        raise ValueError("no such width")
    for epoch in range(1, config["max_length"] + 1):
        threading.Event().wait(config["wait"])
        ray.train.report({"epoch": epoch, "loss": config["a"] / epoch + 0.1 * config["seed"]})
"""
STUDY = """\
name: toy
entrypoint: toy_trial:train
metric: {name: loss, mode: min}
baseline: {a: 1.0, broken: false, wait: 0.0}
components:
  a: {without: {a: 2.0}}
seeds: 2
stopping: {rule: none, max: 20, unit: epoch}
resources: {max_parallel: 1}
"""
OUR_LINES = re.compile(
    r"importing the entrypoint, then starting Ray \.\.\.|"
    r"\[\w+( \w+)?\] .*|result: .*|report: .*|curves: .*|go on: .*|why: .*|again: .*|stop.*"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy_trial.py").write_text(TRIAL)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def run(folder: Path) -> tuple[int, str, str]:
    script = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
    words = [sys.executable, "-c", script, "ablate", "-c", "study.yaml", "--json"]
    done = subprocess.run(words, cwd=folder, text=True, capture_output=True, check=False, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_to_the_end_then_nothing_is_left(folder: Path) -> None:
    code, out, err = run(folder)
    assert code == 0, err
    document = json.loads(out)
    assert document["exit_code"] == 0
    assert document["counts"]["done"] == 4
    assert document["report"]["complete"] is True
    assert [effect["arm"] for effect in document["report"]["effects"]] == ["no-a"]
    assert [line for line in err.splitlines() if not OUR_LINES.fullmatch(line)] == [], "Ray's chatter"
    assert "hello from the trial" in (folder / "runs/toy/trials/no-a/seed-1/log.txt").read_text()

    assigned = (folder / "runs/toy/journal.jsonl").read_text().count('"assign"')
    code, out, err = run(folder)
    assert code == 0, err
    assert json.loads(out)["report"] == document["report"]
    assert (folder / "runs/toy/journal.jsonl").read_text().count('"assign"') == assigned


@pytest.mark.long
def test_failed_cells_are_exit_code_1(folder: Path, shared_ray: str) -> None:
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("without: {a: 2.0}", "without: {broken: true}"))
    words = ["ablate", "-c", "study.yaml", "--json", "seeds=1"]
    done = in_process(*words, "--address", shared_ray, cwd=folder)
    assert done.code == 1, done.err
    counts = json.loads(done.out)["counts"]
    assert (counts["done"], counts["failed"]) == (1, 1)
    assert "orchestrate logs ARM SEED --study runs/toy" in done.err
