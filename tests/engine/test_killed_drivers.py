"""A sequential study whose driver is killed again and again decides as the undisturbed and the simulated one.

In threads every time; with real drivers, of which ten are killed for each goal, where there is time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from noisy import in_threads, losses
from scene import Scene
from workbench import Bench, SharedBench

from orchestrator.decide.resolve import resolve
from orchestrator.decide.rungs import curve_rungs
from orchestrator.decide.sequential import RESOLVE
from orchestrator.engine.inprocess import DriverKilled, PlantedFault
from orchestrator.errors import ExitCode
from orchestrator.study.cells import evaluation_seeds, make_plan
from orchestrator.study.validation import read_spec

KILLS = 10
STUDY = """\
name: killed
entrypoint: noisy:train
metric: {{name: loss, mode: min}}
baseline:
  parts: {{a: true, b: true, c: true, d: true, e: true}}
components:
  a: {{without: {{parts.a: false}}}}
  b: {{without: {{parts.b: false}}}}
  c: {{without: {{parts.c: false}}}}
  d: {{without: {{parts.d: false}}}}
  e: {{without: {{parts.e: false}}}}
seeds: [3, 4, 5, 6, 7]
stopping: {{rule: resolve, goal: {goal}, max: 8, unit: epoch}}
"""
"""Under these seeds an arm that `goal: screen` has parked comes back, and is found to matter."""


def simulated(goal: str) -> list[tuple[str, int, str]]:
    """Arm, seeds and decision of every look when the rule goes by all results, of which none was made."""
    spec = read_spec(yaml.safe_load(STUDY.format(goal=goal)))
    arms, full = make_plan(spec).arms, spec.stopping.max
    rungs = (*curve_rungs(spec.stopping.grace, spec.stopping.reduction, full), full)

    def curve(config: Mapping[str, Any], seed: int) -> list[float]:
        reports = {row["epoch"]: -row["loss"] for row in losses({**config, "seed": seed, "max_length": full})}
        return [reports[rung] for rung in rungs]

    curves = np.array([[curve(arm.config, seed) for seed in evaluation_seeds(spec)] for arm in arms])
    ended = np.ones(curves.shape[:2], dtype=bool)
    course = resolve(RESOLVE.on_seeds(spec, len(arms) - 1), curves[:, :, -1], ended, curves)
    return sorted((arms[look.arm].name, look.number, look.action) for look in course.looks)


def taken(looks: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    """The same of looks as the journal has them."""
    return sorted((look["arm"], look["number"], look["action"]) for look in looks)


def decided(study: Bench) -> dict[str, Any]:
    """All that the study says, without what it took."""
    said = json.loads(Path(study.storage.local_path(study.paths.effects_json)).read_text())
    said.pop("cost")
    for effect in said["effects"]:
        for key in ("wall_s", "gpu_s"):
            effect.pop(key)
    looks = [
        {key: look[key] for key in look if key not in ("t", "v", "driver")} for look in study.events("look")
    ]
    used = {name: row["value"] for name, row in study.results().items() if row["used"]}
    return {
        "effects": said,
        "looks": sorted(looks, key=lambda look: (look["number"], look["arm"])),
        "used": used,
    }


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["save", "screen", pytest.param("reinvest", marks=pytest.mark.long)])
def test_drivers_killed_in_threads_change_no_decision(tmp_path: Path, goal: str) -> None:
    study = yaml.safe_load(STUDY.format(goal=goal))
    undisturbed, killed = Scene(tmp_path / "undisturbed", **study), Scene(tmp_path / "killed", **study)
    assert undisturbed.run(function=in_threads, slots=2) is ExitCode.DONE
    dice = random.Random(goal)
    drivers = 1
    while True:
        # a driver meets one of its first reports more or less, or none any more
        fault = PlantedFault(
            "driver killed", at=dice.randint(1, 8), arm=dice.choice(["baseline", "no-c", None]), attempt=None
        )
        try:
            killed.run(fault, function=in_threads, slots=2)
            break
        except DriverKilled:
            drivers += 1
    assert drivers > 3
    assert told(killed) == told(undisturbed)
    assert taken(killed.events("look")) == simulated(goal)


def told(scene: Scene) -> dict[str, Any]:
    """What the study has decided, and from what."""
    gone = ("t", "v", "driver")
    looks = [{key: look[key] for key in look if key not in gone} for look in scene.events("look")]
    return {
        "looks": sorted(looks, key=lambda look: (look["number"], look["arm"])),
        "used": {(row["arm"], row["seed"]): row["value"] for row in scene.cells() if row["used"]},
        "states": {
            (row["arm"], row["seed"]) for row in scene.cells() if row["state"] == "done" and row["used"]
        },
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("goal", ["save", "screen", "reinvest"])
def test_killed_drivers_change_no_decision(shared_bench: Callable[..., SharedBench], goal: str) -> None:
    undisturbed = shared_bench("noisy", STUDY.format(goal=goal))
    assert undisturbed.run().code == 0
    study = shared_bench("noisy", STUDY.format(goal=goal))
    dice = random.Random(goal)
    killed = 0
    while killed < KILLS:
        seen = len(study.events())
        # from the start of the driver to the middle of a look
        wanted = seen + dice.choice([1, 2, 3, 5, 8])
        with study.running("--address", study.address) as run:
            run.until(lambda wanted=wanted: len(study.events()) >= wanted, "the driver goes on")
            run.kill()
        killed += 1
    assert study.run().code == 0
    assert decided(study) == decided(undisturbed)
    assert taken(study.events("look")) == simulated(goal)
    assert len(study.events("plan")) >= KILLS
    assert any(row["attempts"] > 1 for row in study.results().values())
    assert {row["state"] for row in study.results().values()} <= {"done", "skipped"}
