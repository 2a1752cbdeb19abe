"""validate, plan, schema, and what ablate refuses before it starts anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.api.machine import Machine, slots
from orchestrator.study.spec import ResourcesSpec
from orchestrator.study.validation import json_schema

BAD = {
    "syntax": ("name: small", "name: [small", None),
    "unknown key": ("seeds: 2", "seeds: 2\nbudgets: {}", "did you mean budget?"),
    "wrong type": ("max: 9", "max: soon", "stopping.max"),
    "foreign key": ("model.dropout: 0.0", "model.droput: 0.0", "did you mean model.dropout?"),
    "no-op arm": ("model.dropout: 0.0", "model.dropout: 0.1", "no-dropout"),
    "equal arms": ("model.dropout: 0.0", "model.batchnorm: false", "no-dropout"),
    "no entrypoint": ("trial:train", "trial:trian", "did you mean train?"),
    "no module": ("trial:train", "trials.nowhere:train", "trials.nowhere"),
    "empty seeds": ("seeds: 2", "seeds: []", "seeds"),
    "grace": ("grace: 1", "grace: 10", "grace"),
    "reserved key": ("baseline:", "baseline:\n  seed: 1", "seed"),
    "duplicate key": ("seeds: 2", "seeds: 2\nseeds: 3", "seeds"),
    "logger": ("seeds: 2", "seeds: 2\nloggers: [tensorbord]", "did you mean tensorboard?"),
    "datamodule": ("seeds: 2", "seeds: 2\ndatamodule: trial:Data", "does not define 'Data'"),
    "margin": ("seeds: 2", "seeds: 2\nreport: {margin: 0}", "report.margin"),
    "alpha": ("seeds: 2", "seeds: 2\nreport: {alpha: 1.5}", "report.alpha"),
    "one seed": ("seeds: 2\nstopping: {rule: asha", "seeds: 1\nstopping: {rule: resolve", "one seed"),
    "crossed": (
        "seeds: 2\nstopping: {rule: asha",
        "seeds: 2\ndesign: factorial\nstopping: {rule: resolve",
        None,
    ),
    "exclude": ("seeds: 2", "seeds: 2\nexclude: [[batchnorm, dropot]]", "did you mean dropout?"),
    "alternatives": ("seeds: 2", "seeds: 2\ninteractions: [[dropout=a, dropout=b]]", "two alternatives"),
    "tuning seed": (
        "seeds: 2\nstopping: {rule: asha",
        "seeds: [1, 10000]\ntune: {space: {model.width: {randint: [8, 32]}}}\nstopping: {rule: none",
        "also a seed of the evaluation",
    ),
    "storage": ("seeds: 2", "seeds: 2\nstorage: trial.py/below", "storage"),
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("verb", ["validate", "plan", "ablate"])
@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_refused_and_nothing_is_written(command, study: Path, verb: str, fault: str) -> None:
    old, new, said = BAD[fault]
    study.write_text(study.read_text().replace(old, new))
    before = tree(Path())
    result = command(verb, "--config", study)
    assert result.code == 2
    assert len(result.faults) == 1, result.err
    assert said is None or said in result.err
    assert result.out == ""
    assert tree(Path()) == before


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os.path as train", "is a module"),
        ("def train(): ...", "takes no config"),
        ("train = 3", "is a"),
    ],
)
def test_an_entrypoint_that_can_train_nothing_is_refused(command, study: Path, code: str, why: str) -> None:
    Path("trial.py").write_text(f"{code}\n")
    result = command("validate", "-c", study)
    assert (result.code, result.out) == (2, "")
    assert why in result.err


def test_alias_bomb_is_refused(command, study: Path) -> None:
    study.write_text(study.read_text() + BOMB)
    assert command("validate", "-c", study).code == 2


def test_all_faults_come_at_once(command, study: Path) -> None:
    study.write_text(study.read_text().replace("seeds: 2", "seeds: []").replace("trial:train", "trial:trian"))
    result = command("validate", "-c", study, "stopping.max=soon", "--json")
    assert result.code == 2
    assert {fault["field"] for fault in result.document["faults"]} == {"seeds", "entrypoint", "stopping.max"}
    assert len(result.faults) == 3


def test_no_such_file(command, study: Path) -> None:
    result = command("ablate", "--config", "stduy.yaml")
    assert result.code == 2
    assert len(result.faults) == 1


def test_validate_says_what_is_valid(command, study: Path) -> None:
    result = command("validate", "--config", study)
    assert (result.code, result.err) == (0, "")
    assert result.out == "study.yaml: valid; 3 arms × 2 seeds = 6 trials of 9 epochs with trial:train\n"
    assert command("validate", "-c", study, "--json", "seeds=[7]").document["cells"] == 3
    assert not Path("runs").exists()


def test_plan_for_programs(command, study: Path) -> None:
    plan = command("plan", "-c", study, "--json").document
    assert set(plan) >= {"study", "hash", "arms", "cells", "lanes", "looks", "estimate"}
    assert [arm["arm"] for arm in plan["arms"]] == ["baseline", "no-batchnorm", "no-dropout"]
    assert plan["arms"][1]["set"] == {"model.batchnorm": False}
    assert set(plan["cells"][0]) == {"cell", "arm", "seed", "phase", "sample", "set"}
    assert plan["looks"] == []
    assert plan["estimate"] == {"runs": 6, "wall_s": None, "gpu_h": None, "disk_bytes": None}


def test_plan_for_people(command, study: Path) -> None:
    out = command("plan", "-c", study).out
    assert "model.batchnorm: true → false" in out
    assert "asha: rungs at 1, 3 epochs" in out
    assert "3 arms × 2 seeds = 6 trials of 9 epochs" in out


def test_plan_counts_what_results_may_call_for(command, study: Path) -> None:
    words = ["--config", study, "stopping={rule: resolve, max: 9, unit: epoch}", "interactions=auto"]
    out = command("plan", *words).out
    assert "then at most 1 pair of arms that differ × 2 seeds = 2 trials" in out
    assert "at most 8 runs" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "grid"),
    [
        (["design=factorial", "stopping.rule=none"], "grid:     8 runs"),
        (["design=pairs", "stopping.rule=resolve"], "grid:     8 runs"),
        (
            ["stopping.rule=resolve", "tune={samples: 3, space: {model.width: {choice: [1, 2, 3]}}}"],
            "grid:     15 runs",
        ),
    ],
)
def test_the_power_of_a_plan_counts_all_of_its_runs(command, study: Path, more: list[str], grid: str) -> None:
    result = command("plan", "--config", study, "--sd", 0.1, "seeds=2", *more)
    assert result.code == 0, result.err
    assert grid in result.out
    assert ("main effects from" in result.out) == ("design=factorial" in more)


def test_dry_run_is_the_plan(command, study: Path) -> None:
    assert command("ablate", "-c", study, "--dry-run").out == command("plan", "-c", study).out
    assert not Path("runs").exists()


def test_plan_knows_what_is_recorded(command, study: Path, recorded: Path) -> None:
    plan = command("plan", "-c", study, "--json").document
    done = {("baseline", 0), ("no-batchnorm", 0), ("no-dropout", 0)}
    left = [cell["cell"] for cell in plan["cells"] if (cell["arm"], cell["seed"]) not in done]
    assert plan["remaining"] == left
    assert plan["estimate"]["runs"] == 3
    assert plan["estimate"]["wall_s"] == 60.0 * -(-3 // plan["lanes"])
    again = ("ablate", "-c", study, "--dry-run", "--json")
    retry = command(*again, "--retry-failed").document
    assert len(retry["remaining"]) == 4
    refused = command(*again)  # as the run would be: the record is of other code, and nothing was mended
    assert refused.code == 2
    assert "code" in json.dumps(refused.document)
    fresh = command("ablate", "-c", study, "--dry-run", "--fresh", "--json").document
    assert len(fresh["remaining"]) == 6
    assert [plan["begins"], retry["begins"], fresh["begins"]] == ["resume", "resume", "fresh"]
    more = command("plan", "-c", study, "--json", "seeds=9").document
    other = command("plan", "-c", study, "--json", "stopping.max=99").document
    new = command("plan", "-c", study, "--json", "name=another").document
    assert [more["begins"], other["begins"], new["begins"]] == ["extend", "changed", "new"]


@pytest.mark.parametrize(
    ("resources", "machine", "expected"),
    [
        ({}, Machine(cpus=2, gpus=0), 2),
        ({}, Machine(cpus=8, gpus=2), 2),
        ({"gpus_per_worker": 0.5}, Machine(cpus=8, gpus=2), 4),
        ({"workers": 2}, Machine(cpus=3, gpus=0), 1),
        ({"cpus_per_worker": 4}, Machine(cpus=2, gpus=0), 0),
        ({"max_parallel": 3}, Machine(cpus=16, gpus=0), 3),
        ({}, Machine(cpus=64, gpus=0), 6),
    ],
)
def test_lanes_on_this_machine(resources: dict[str, object], machine: Machine, expected: int) -> None:
    assert slots(ResourcesSpec.model_validate(resources), machine, cells=6) == expected


def test_schema(command) -> None:
    assert command("schema").document == json_schema()
