"""Which report a trial counts with, which metric is claimed, and which stand beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scene import Scene

from orchestrator.api.recorded import OpenedStudy
from orchestrator.engine.inprocess import PlantedFault, get_checkpoint, report, session
from orchestrator.errors import ExitCode

pytestmark = pytest.mark.slow
VAL = (0.5, 0.9, 0.7)
"""Of the epochs: best in the middle."""
METRIC = {"name": "val", "mode": "max", "at": "best", "test": "test", "also": ["params"]}


def peaks(config: dict[str, Any], **left_out: Any) -> None:
    """Best at the second epoch; the test metric is half of it, and less for another level."""
    here, first = session(), 1
    with get_checkpoint() as folder:
        if folder is not None:
            first = json.loads((folder / "epoch.json").read_text()) + 1
    for epoch in range(first, 4):
        folder = Path(here.storage.local_path(here.paths.root)) / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "epoch.json").write_text(str(epoch))
        val = VAL[epoch - 1] + config["seed"] / 100
        row = {"epoch": epoch, "val": val, "test": val / 2 / config["level"], "params": 10 * epoch}
        report({key: value for key, value in row.items() if left_out.get(key) != epoch}, folder)


def ends(scene: Scene) -> dict[tuple[str, int], tuple[Any, Any]]:
    return {(end["arm"], end["seed"]): (end["value"], end.get("beside")) for end in scene.events("end")}


def test_the_test_metric_counts_where_the_validation_metric_was_best(tmp_path: Path) -> None:
    scene = Scene(tmp_path, metric=METRIC)
    assert scene.run(function=peaks) is ExitCode.DONE
    assert ends(scene)["baseline", 0] == (0.45, {"val": 0.9, "params": 20})
    assert ends(scene)["level=high", 1] == (0.2275, {"val": 0.91, "params": 20})
    curves = {(end["arm"], end["seed"]): end["curve"] for end in scene.events("end")}
    assert curves["baseline", 0] == [0.25]  # the rung at 1, of three epochs
    (high, _) = OpenedStudy(scene.storage, scene.paths).report(curves=False).first.effects
    assert high.delta == pytest.approx(-(0.45 + 0.455) / 4)


@pytest.mark.parametrize("at", [2, 3])
def test_a_resumed_trial_remembers_its_best_report(tmp_path: Path, at: int) -> None:
    scene = Scene(tmp_path, metric=METRIC)
    scene.run(PlantedFault("worker killed", at=at, arm="level=high", seed=1), function=peaks)
    assert scene.failures() == ["worker killed"]
    assert ends(scene)["level=high", 1] == (0.2275, {"val": 0.91, "params": 20})


def test_the_last_report_counts_without_a_word(tmp_path: Path) -> None:
    scene = Scene(tmp_path, metric={**METRIC, "at": "last"})
    assert scene.run(function=peaks) is ExitCode.DONE
    assert ends(scene)["baseline", 0] == (0.35, {"val": 0.7, "params": 30})


@pytest.mark.parametrize(
    ("at", "missing", "length", "words"),
    [
        ("best", 2, 1, "report 2 has 'val', but no 'test': with metric.at: best any report may be the one"),
        ("last", 3, 3, "the trial did not report 'test' (metric.test) at its end; give it with the last"),
    ],
)
def test_a_trial_without_its_test_metric_says_what_to_report(
    tmp_path: Path, at: str, missing: int, length: int, words: str
) -> None:
    scene = Scene(tmp_path, metric={**METRIC, "at": at}, components={})
    assert scene.run(function=lambda config: peaks(config, test=missing)) is ExitCode.FAILED
    assert {(cell["cause"], cell["length"]) for cell in scene.cells()} == {("user", length)}
    assert all(words in cell["reason"] for cell in scene.cells())


def test_samples_of_a_search_are_judged_by_the_metric_that_selects(tmp_path: Path) -> None:
    """The test metric would choose the other level."""
    space = {"samples": 2, "search": "grid", "space": {"level": {"choice": [1.0, 2.0]}}}
    tune = {**space, "stopping": {"rule": "none"}}
    components = {"kind": {"without": {"kind": False}}}
    baseline = {"level": 1.0, "kind": True}

    def trains(config: dict[str, Any]) -> None:
        for epoch in range(1, 4):
            report({"epoch": epoch, "val": config["level"] + epoch / 10, "test": -config["level"]}, None)

    scene = Scene(
        tmp_path,
        metric={"name": "val", "mode": "max", "test": "test"},
        baseline=baseline,
        components=components,
        tune=tune,
        deterministic=True,
    )
    scene.run(function=trains)
    ended = OpenedStudy(scene.storage, scene.paths).view().state.cells.values()
    assert {(run.phase, run.value) for run in ended} == {("tune", 1.3), ("tune", 2.3), ("retuned", -2.0)}
