"""A package with a stopping rule and a design, one source file each, and a study that uses both."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.recorded import open_study
from orchestrator.engine.inprocess import report, run_in_process
from orchestrator.errors import ExitCode, StudyError
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.reporting.markdown import to_markdown
from orchestrator.simulate.generator import scenario, study
from orchestrator.simulate.methods import SimulatedDesign, method, pick
from orchestrator.study import plugins
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study
from orchestrator.study.registered import rule_of
from orchestrator.study.validation import json_schema

pytestmark = pytest.mark.slow

TOY = Path(__file__).parent / "toy"
STUDY = """
name: toys
entrypoint: toys:train
metric: {name: loss, mode: min}
baseline: {a: 0.0, b: 0.0, c: 0.0}
components:
  a: {without: {a: 1.0}}
  b: {without: {b: 2.0}}
  c: {without: {c: -0.5}}
design: leave-two-out
seeds: 3
stopping: {rule: median, max: 9, grace: 1, reduction: 3, min_peers: 3}
loggers: []
"""


def train(config: dict[str, Any]) -> None:
    for epoch in range(1, int(config["max_length"]) + 1):
        loss = config["a"] + config["b"] + config["c"] + 0.1 * config["seed"] + 1 / epoch
        report({"epoch": epoch, "loss": loss})


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and installed by pip."""
    source, found = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("installed")
    shutil.copytree(TOY, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(found), str(source)], check=True)
    return found


@pytest.fixture(autouse=True)
def installed(target: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(target))
    importlib.invalidate_caches()
    plugins._brought.cache_clear()
    yield
    plugins._brought.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def faults(file: Path, *overrides: str) -> str:
    with pytest.raises(StudyError) as raised:
        load_study(file, list(overrides))
    return str(raised.value)


def test_both_are_checked_as_if_they_were_built_in(file: Path) -> None:
    for overrides, said in (
        (["stopping.rule=medain"], "did you mean median?"),
        (["design=leave-two-outt"], "did you mean leave-two-out?"),
        (["stopping.min_peers=1"], "stopping.min_peers: must be greater than or equal to 2 (got 1)"),
        (["stopping.min_peer=3"], "did you mean stopping.min_peers?"),
        (["stopping.rule=asha"], "stopping.min_peers: unknown key"),
        (["stopping.min_peers=12"], "stopping.min_peers: is never reached by the 12 runs of this study"),
        (["interactions=auto"], "cannot be told where no component is taken away alone"),
        (
            ['tune.space={"a": {"choice": [0.0, 3.0]}}', "tune.search=grid", "tune.stopping.rule=median"],
            "tune.stopping.rule: must be none or asha",
        ),
    ):
        assert said in faults(file, *overrides)
    file.write_text(STUDY.replace("min_peers: 3", "min_peer: 3"))
    assert "study.yaml:12: stopping.min_peer: unknown key 'min_peer'; did you mean min_peers?" in faults(file)


def test_both_are_in_the_format_for_editors() -> None:
    schema = json_schema()
    assert schema["properties"]["design"]["enum"][-1] == "leave-two-out"
    stopping = schema["$defs"]["StoppingSpec"]["properties"]
    assert stopping["rule"]["enum"] == ["none", "asha", "resolve", "median"]
    assert stopping["min_peers"]["minimum"] == 2


def test_a_study_with_both(file: Path, tmp_path: Path) -> None:
    spec = load_study(file).spec
    plan = make_plan(spec)
    assert [arm.name for arm in plan.arms] == ["baseline", "no-a+no-b", "no-a+no-c", "no-b+no-c"]
    assert (plan.registered["rule"], plan.registered["design"]) == ("median", "leave-two-out")
    assert rule_of(spec).describe(spec) == "median: rungs at 1, 3 epochs, the better half goes on"

    storage = Storage.open(tmp_path / "runs")
    with closing(StudyRecord.open(storage, spec, plan, Start("code"))) as record:
        assert run_in_process(spec, record, train).exit_code is ExitCode.DONE
    opened = open_study(str(tmp_path / "runs" / "toys"))
    states = {arm.arm: [str(run.state) for run in arm.runs] for arm in opened.report().all_arms}
    assert states["baseline"] == ["done"] * 3
    assert states["no-a+no-b"] == ["done", "stopped", "stopped"]  # the first came before three others
    reasons = [run.reason for arm in opened.report().arms for run in arm.runs if run.reason]
    assert reasons[0] == "below the median of 5 others at rung 1"

    report_ = opened.report()
    assert (report_.rule, report_.tier) == ("median", "rung-only")
    assert {effect.components for effect in report_.first.effects} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert "no claim at full length: unpromising runs were stopped by rule median" in to_markdown(report_)

    grid, median = opened.replay(["none", "median"], slots=1)
    assert (median.title, grid.finished) == (
        "median (rung-only)",
        False,
    )  # it asks for runs that were stopped
    assert median.length < grid.grid_length


def test_the_rule_on_simulated_studies() -> None:
    (found,) = pick(["median"])
    assert found.title == "median (rung-only)"
    judged = method("median").judge(study(scenario("S1"), 5, 0, 0), SimulatedDesign())
    assert judged.kept
    assert judged.cost < 1


def test_one_source_file_each() -> None:
    assert sorted(path.name for path in TOY.rglob("*.py")) == ["__init__.py", "leave_two_out.py", "median.py"]
