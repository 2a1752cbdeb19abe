"""Several commands at once, each with a Ray of its own or on one: nothing is given out twice, all end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import Bench, shared_head

from orchestrator.record.recorded import read_study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

TRAIN = """
import json
import os
import time
from pathlib import Path

import ray.train


def train(config):
    signs = Path(config["signs"])
    __import__("hel" + "per")  # no reading of the code tells
    began = time.time()
    (signs / f"{config['me']}-here").touch()
    while config["other"] and not all((signs / sign).exists() for sign in (f"{config['other']}-here", "go")):
        assert time.time() < began + 300, "the other study does not come"
        time.sleep(0.01)
    ray.train.report({"loss": 1.0 + config["level"] + config["seed"] / 10, "epoch": 1})
    told = {"study": config["me"], "gpus": os.environ["CUDA_VISIBLE_DEVICES"], "began": began}
    told["ended"] = time.time()
    (signs / f"{config['me']}-{config['seed']}-{config['level']}.json").write_text(json.dumps(told))
"""
STUDY = """
name: {me}
entrypoint: train:train
metric: {{name: loss, mode: min}}
stopping: {{max: 1}}
baseline: {{level: 1.0, me: {me}, other: '{other}', signs: '{signs}'}}
components: {{level: {{without: {{level: 2.0}}}}}}
seeds: 3
resources: {{max_parallel: {most}, gpus_per_worker: 1}}
"""


def test_no_gpu_is_given_out_twice(
    bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 8, "GPU": 4}')
    studies = {}
    # two that run side by side, as their trials see of each other, and one for which there is nothing left
    for me, other, most in (("first", "second", "2"), ("second", "first", "2"), ("third", "", "auto")):
        text = STUDY.format(me=me, other=other, most=most, signs=tmp_path)
        studies[me] = bench(None, text)
        (studies[me].code / "train.py").write_text(TRAIN)
        (studies[me].code / "helper.py").write_text("")
    running = {me: studies[me].start() for me in ("first", "second")}
    running["first"].until(lambda: (tmp_path / "first-here").exists(), "a trial of the first study")
    running["second"].until(lambda: (tmp_path / "second-here").exists(), "a trial of the second study")
    running["third"] = studies["third"].start()
    running["third"].until(lambda: "waiting for 1 CPU and 1 GPU" in running["third"].err, "what it waits for")
    (tmp_path / "go").touch()
    ends = {me: run.end() for me, run in running.items()}
    assert {me: end.code for me, end in ends.items()} == dict.fromkeys(studies, 0), ends
    used = gpus_used(tmp_path, 18)
    assert used["first"] | used["second"] == {"0", "1", "2", "3"}
    assert sum("shares this machine" in ends[me].err for me in ("first", "second")) == 1
    for one in studies.values():  # what a trial was seen to import
        assert read_study(one.storage, one.paths.root).state.imported == {"helper.py"}


def gpus_used(signs: Path, trials: int) -> dict[str, set[str]]:
    """Return the GPUs of each study's trials; no two trials had one at the same time."""
    told = [json.loads(path.read_text()) for path in signs.glob("*.json")]
    assert len(told) == trials
    for one, other in itertools.combinations(told, 2):
        together = one["began"] < other["ended"] and other["began"] < one["ended"]
        assert not (together and one["gpus"] == other["gpus"]), (one, other)
    return {me: {one["gpus"] for one in told if one["study"] == me} for me in {one["study"] for one in told}}


GROWS = """
import json
import os
import time
from pathlib import Path

import ray.train


def train(config):
    signs, me, gpu = Path(config["signs"]), config["me"], os.environ["CUDA_VISIBLE_DEVICES"]
    began = time.time()
    (signs / f"{me}-here").touch()
    (signs / f"{me}-{gpu}").touch()
    if me == "second" and (signs / f"first-{gpu}").exists():
        (signs / "second-grown").touch()
    awaited = signs / {"first": "second-here", "second": "second-grown"}[me]
    while not awaited.exists():
        assert time.time() < began + 300, f"{awaited.name} does not come"
        time.sleep(0.01)
    ray.train.report({"loss": 1.0 + config["level"] + config["seed"] / 10, "epoch": 1})
    told = {"study": me, "gpus": gpu, "began": began, "ended": time.time()}
    (signs / f"{me}-{config['seed']}-{config['level']}.json").write_text(json.dumps(told))
"""


def test_a_study_grows_when_another_one_ends(
    bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 4, "GPU": 4}')
    running = {}
    for me, most in (("first", "2"), ("second", "3")):
        study = bench(None, STUDY.format(me=me, other="", most=most, signs=tmp_path))
        (study.code / "train.py").write_text(GROWS)
        running[me] = study.start()
        running[me].until(lambda me=me: (tmp_path / f"{me}-here").exists(), f"a trial of {me}")
    ends = {me: run.end() for me, run in running.items()}
    assert {me: end.code for me, end in ends.items()} == {"first": 0, "second": 0}, ends
    used = gpus_used(tmp_path, 12)
    assert used["first"] == {"0", "1"}
    assert len(used["second"]) == 3  # as many as `max_parallel` lets it have
    assert "takes what others have left of this machine: 1 CPU and 1 GPU (0)" in ends["second"].err


GIVES_WAY = """
from pathlib import Path
from time import sleep

import ray.train


def train(config):
    signs = Path(config["signs"])
    (signs / f"{config['me']}-here").touch()
    # the first trials until the other study has come, later ones until a trial of that has begun
    awaited = signs / ("second-here" if (signs / "go").exists() else "go")
    while config["me"] == "first" and not awaited.exists():
        sleep(0.01)
    ray.train.report({"loss": 1.0 + config["level"] + config["seed"] / 10, "epoch": 1})
"""


def test_a_study_on_a_cluster_makes_room_for_another_one(bench: Callable[..., Bench], tmp_path: Path) -> None:
    with shared_head(cpus=4) as address:
        running = {}
        for me in ("first", "second"):
            text = STUDY.format(me=me, other="", most="auto", signs=tmp_path)
            study = bench(
                None, text.replace("gpus_per_worker: 1", "gpus_per_worker: 0").replace("seeds: 3", "seeds: 4")
            )
            (study.code / "train.py").write_text(GIVES_WAY)
            running[me] = study.start("--address", address)
            running[me].until(lambda: (tmp_path / "first-here").exists(), "a trial of the first study")
        running["first"].until(
            lambda: "shares the cluster with second" in running["first"].err, "the other one"
        )
        (tmp_path / "go").touch()  # the first one's lanes go on with trials that wait for the second study
        ends = {me: run.end() for me, run in running.items()}
    assert {me: end.code for me, end in ends.items()} == {"first": 0, "second": 0}, ends
    assert "shares the cluster with first" in ends["second"].err
