"""simulate and the power part of plan, as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, TrialEnd
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.simulate import planning
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

QUICK = ("simulate", "--studies", "20", "--arms", "3", "--seeds", "3")


def test_simulate_for_people(command) -> None:
    result = command(*QUICK, "--rule", "resolve")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "S1: 20 studies, 3 arms and the baseline, 3 seeds, ρ = 0.3"
    heads = re.split(r"\s{2,}", lines[1].strip())
    assert heads == ["method", "cost", "FWER", "wrong sign", "power", "coverage", "worst arm", "width"]
    assert [line.split("  ")[0] for line in lines[2:8]] == [
        "resolve, save",
        "resolve, save, version 1",
        "resolve, save, no futility",
        "resolve, reinvest",
        "resolve, reinvest, version 1",
        "resolve, save, strict variance",
    ]
    assert "20 of 20 studies" in result.err


def test_simulate_for_programs(command, fits) -> None:
    found = command(*QUICK, "--rule", "save", "--rho", "0.5", "--margin", "2", "--json").document
    fits("simulate", found)
    assert found["scenario"]["name"] == "S1"
    assert found["scenario"]["rho"] == 0.5
    assert found["design"]["margin"] == 2
    [save] = found["methods"]
    assert (save["method"], save["studies"]) == ("save", 20)
    assert set(save["cost"]) == {"value", "se", "lo", "hi"}
    assert save["power"] is None  # the first three arms of S1 have no effect
    assert save["equivalent"] is not None


@pytest.mark.slow
def test_a_screen_takes_four_arms(command) -> None:
    refused = command(*QUICK, "--rule", "screen")
    assert (refused.code, "needs at least 4 arms" in refused.err) == (2, True)
    assert "screen" not in command(*QUICK, "--rule", "resolve").out
    assert "resolve, screen" in command(*QUICK, "--arms", "4", "--rule", "resolve").out


def test_equivalence_has_columns_where_a_margin_is_given(command) -> None:
    assert "falsely so" not in command(*QUICK, "--rule", "grid").out
    assert "falsely so" in command(*QUICK, "--rule", "grid", "--margin", "2").out


def test_another_series_is_another_result_and_the_same_again(command) -> None:
    words = (*QUICK, "--rule", "grid", "--json")
    first, again, other = command(*words).out, command(*words).out, command(*words, "--seed", "1").out
    assert first == again != other


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--scenario", "S3"], "--scenario"),
        (["--studies", "0"], "--studies"),
        (["--arms", "0"], "--arms"),
        (["--seeds", "1"], "--seeds"),
        (["--rho", "1"], "--rho"),
        (["--rho", "nan"], "--rho"),
        (["--margin", "0"], "--margin"),
        (["--margin", "inf"], "--margin"),
        (["--alpha", "1.5"], "--alpha"),
        (["--seed", "-1"], "--seed"),
        (["--jobs", "0"], "--jobs"),
        (["--rule", "halving"], "--rule"),
        (["--from", "runs/none"], "recorded study"),
        (["--from", "runs/none", "--arms", "3"], "--arms: not together with --from"),
    ],
)
def test_values_that_cannot_be_are_bad_input(command, words: list[str], field: str) -> None:
    result = command("simulate", *words)
    assert (result.code, result.out) == (2, "")
    assert field in result.err
    assert len(result.faults) == 1


def test_all_faults_at_once(command) -> None:
    assert len(command("simulate", "--arms", "0", "--rho", "2", "--seeds", "0").faults) == 3


VALUES = {
    "baseline": [0.25, 0.27, 0.26, 0.28],
    "no-batchnorm": [0.90, 0.93, 0.91, 0.94],
    "no-dropout": [0.26, 0.26, 0.27, 0.28],
}


@pytest.fixture
def finished(study: Path) -> Path:
    """A study of three arms and four seeds whose losses and curves are recorded."""
    text = study.read_text().replace("seeds: 2", "seeds: 4").replace("rule: asha", "rule: none")
    study.write_text(text)
    spec = load_study(study).spec
    plan = make_plan(spec)
    record = StudyRecord.open(Storage.open(spec.storage), spec, plan, Start("0" * 64), clock=lambda: 1000.0)
    for cell in plan.cells:
        value = VALUES[cell.arm][cell.seed]
        done = (TrialState.DONE, None, None, 9.0, value)
        record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, "lane-0", None))
        record.append(TrialEnd(cell.cell, cell.arm, cell.seed, 1, *done, wall_s=60.0, gpu_s=36.0))
        rows = [{"report": e, "epoch": e, "time_s": 6.0 * e, "loss": value + 1 / e} for e in range(1, 10)]
        metrics = record.storage.local_path(record.paths.trial(cell.arm, cell.seed).table("metrics").jsonl)
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record.sync()
    record.close()
    return study


def test_a_recorded_study_under_other_rules(command, finished: Path) -> None:
    result = command("simulate", "--from", "small")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("small: loss (min), as recorded, nothing is resampled; asha on ")
    costs = {line.split("  ")[0]: line.split() for line in lines[2:5]}
    assert list(costs) == ["none (the grid)", "resolve", "asha (rung-only)"]
    assert "1.00" in costs["none (the grid)"]
    arms = [line for line in lines if line.startswith("no-")]
    assert arms[0].count("hurts") == 3
    assert arms[1].count("unresolved") == 3


def test_a_recorded_study_for_programs(command, finished: Path, fits) -> None:
    found = command("simulate", "--from", "small", "--rule", "none", "--rule", "resolve", "--json").document
    fits("simulate", found)
    grid, resolved = found["replays"]
    assert (grid["rule"], grid["runs"], grid["length"], grid["agreement"]) == ("none", 12, 108.0, None)
    assert resolved["runs"] < 12
    assert resolved["finished"]
    assert resolved["agreement"] == {"arms": 2, "same": 2, "opposite": 0}
    assert resolved["said"][0]["verdict"] == "hurts"  # a larger loss
    assert resolved["said"][0]["delta"] == pytest.approx(0.65, abs=0.02)


def test_gaps_in_the_record_are_told(command, recorded: Path, fits) -> None:
    fits("simulate", command("simulate", "--from", "small", "--json").document)
    out = command("simulate", "--from", "small", "--rule", "none").out
    assert "(cannot be replayed)" in out
    assert "never made in full: " in out
    assert "so far" in out


def test_a_rule_that_does_not_apply_to_a_record(command, recorded: Path) -> None:
    result = command("simulate", "--from", "small", "--rule", "halving")
    assert result.code == 2
    assert "valid: none, resolve, asha" in result.err


@pytest.fixture
def few_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is about words and not about figures."""
    monkeypatch.setattr(planning, "_MOST", 40)


@pytest.mark.slow
@pytest.mark.usefixtures("few_studies")
def test_plan_tells_what_can_be_detected(command, study: Path) -> None:
    out = command("plan", "-c", study, "--sd", "0.5", "seeds=3", "report.margin=0.5").out
    lines = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    assert lines["noise"].strip() == "SD between seeds 0.5, correlation of arms over a seed 0 (as stated)"
    assert "with a chance of 0.8 (all 3 seeds, 2 arms, level 0.05)" in lines["detects"]
    assert lines["grid"].strip() == "9 runs"
    assert "of the grid, if no arm has an effect" in lines["resolve"]
    assert "equivalence takes about" in lines["margin"]
    assert "detects" not in command("plan", "-c", study).out


@pytest.mark.slow
@pytest.mark.usefixtures("few_studies")
def test_plan_tells_programs(command, finished: Path) -> None:
    assert command("plan", "-c", finished, "--json").document["power"] is None
    power = command("plan", "-c", finished, "--from", "small", "--json").document["power"]
    assert power["noise"]["arms"] == 3
    assert power["noise"]["sd"] == pytest.approx(0.013, rel=0.5)
    assert power["grid_runs"] == 12
    assert len(power["expected"]) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("few_studies")
def test_gpu_hours_where_they_are_known(command, finished: Path) -> None:
    words = ("plan", "-c", finished, "--sd", "0.01")
    assert "GPU" not in command(*words).out  # nothing is left to run
    assert "grid:     18 runs (0.18 GPU hours)" in command(*words, "seeds=6").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sd", "0"], "--sd: must be a number above 0"),
        (["--sd", "nan"], "--sd: must be a number above 0"),
        (["--rho", "0.5"], "says nothing without --sd"),
        (["--sd", "1", "--rho", "1"], "--rho: must be a correlation"),
        (["--sd", "1", "--from", "small"], "not together with --from"),
        (["--from", "nothing"], "no recorded study"),
    ],
)
def test_noise_that_cannot_be_is_bad_input(command, study: Path, words: list[str], message: str) -> None:
    result = command("plan", "-c", study, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_the_noise_of_another_metric_says_nothing(command, finished: Path) -> None:
    result = command("plan", "-c", finished, "--from", "small", "metric.name=accuracy")
    assert result.code == 2
    assert "measures loss, the new one accuracy" in result.err


def test_an_earlier_study_without_two_seeds_says_nothing(command, recorded: Path) -> None:
    result = command("plan", "-c", "study.yaml", "--from", "small")
    assert result.code == 2
    assert "does not show how seeds differ" in result.err
