"""What `ablate` asks before a new study: bugs refuse it, the rest is said, and the answers are remembered."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.checks._preflight import (
    Findings,
    Preflight,
    fingerprint,
    refuse_bugs,
    remember,
    remembered,
)
from orchestrator.errors import StudyError
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.training.gates.results import (
    CHEAP,
    ArmToCheck,
    CheckRequest,
    GateResult,
    failed,
    passed,
    skipped,
)

PLANTED = Path(__file__).parents[1] / "training" / "planted"
CONFIG = {
    "data": {"batch_size": 16, "jitter": 0.05},
    "model": {"width": 16, "dropout": 0.1},
    "optim": {"name": "adamw", "lr": 1e-2},
}
NO_DROPOUT = {**CONFIG, "model": {"width": 16, "dropout": 0.0}}


def request(entrypoint: str, root: Path, *more: ArmToCheck) -> CheckRequest:
    arms = (
        ArmToCheck("baseline", CONFIG),
        ArmToCheck("no-dropout", NO_DROPOUT, {"model.dropout": 0.0}),
        *more,
    )
    return CheckRequest(entrypoint, str(root), 0, ("val/accuracy",), arms)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A code directory with the planted recipes."""
    for file in PLANTED.glob("*.py"):
        shutil.copy(file, tmp_path)
    return tmp_path


def asked(entrypoint: str, root: Path, *more: ArmToCheck) -> Findings:
    preflight = Preflight(request(entrypoint, root, *more))
    preflight.result()
    return preflight.findings()


BUG = GateResult("A8", "gradients", failed("no gradient reaches body", "detach()", "a layer nobody calls"))
SLOW = GateResult("A9", "time of a step", failed("a step takes 90 ms", "decode once"))
FINE = GateResult("A4", "loss at the start", passed("it starts where it should"))


def test_a_bug_refuses_the_study_with_its_evidence_and_the_way_around() -> None:
    with pytest.raises(StudyError) as refused:
        refuse_bugs(Findings((FINE, BUG), (), "cpu", 1.0), "study.yaml", on_gpus=False)
    first, last = map(str, refused.value.faults)
    assert first == "check A8, gradients: no gradient reaches body; look at: detach()"
    assert "orchestrate check --config study.yaml shows more; --no-check to run it anyway" in last
    assert refused.value.exit_code == 2


def test_what_is_slow_is_said_and_runs() -> None:
    found = Findings((FINE, SLOW), (), "cpu", 1.0)
    refuse_bugs(found, "study.yaml", on_gpus=False)
    assert found.remarks() == [
        "checked before the start: A4 pass (1.0 s)",
        "check A9, time of a step: a step takes 90 ms",
    ]


def test_gates_asked_without_a_gpu_do_not_refuse_a_study_on_gpus() -> None:
    found = Findings((BUG,), (), "cpu", 1.0)
    refuse_bugs(found, "study.yaml", on_gpus=True)
    assert found.remarks() == ["check A8, gradients: no gradient reaches body"]
    with pytest.raises(StudyError):
        refuse_bugs(replace(found, device="cuda"), "study.yaml", on_gpus=True)


def test_gates_that_would_take_too_long_are_named() -> None:
    [line] = Findings((), ("A9", "A12"), None, 60.0).remarks()
    assert line.startswith("not checked: A9, A12 would have taken more than 60 s")


def test_an_entrypoint_that_cannot_be_asked_is_not_worth_a_word() -> None:
    assert Findings((GateResult("A1", "look", skipped("a function")),), (), "cpu", 0.1).remarks() == []


def test_answers_are_remembered_for_one_code_and_one_config(tmp_path: Path) -> None:
    storage, paths = Storage.open(str(tmp_path)), StudyPaths("small")
    asked_of = request("healthy:Healthy", tmp_path)
    one, other = fingerprint(asked_of, "code"), fingerprint(asked_of, "other code")
    assert len({one, other, fingerprint(replace(asked_of, seed=1), "code")}) == 3
    assert remembered(storage, paths) is None
    remember(storage, paths, one, Findings((FINE,), (), "cpu", 1.0))
    assert remembered(storage, paths) == one
    remember(storage, paths, other, None)
    assert remembered(storage, paths) == other


@pytest.mark.slow
def test_a_healthy_recipe_passes_all_of_them(code: Path) -> None:
    found = asked("healthy:Healthy", code)
    assert [(gate.gate, gate.state) for gate in found.gates] == [(number, "pass") for number in CHEAP]
    assert found.device in ("cpu", "cuda")
    assert found.bugs() == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "gate", "evidence", "fix"),
    [
        ("Pairs", "A1", "build_data: a sample of train is a tuple, not a dict", "a dict of named tensors"),
        (
            "LossPerSample",
            "A1",
            "loss: gives shape [16], not a scalar",
            "average over the batch: loss.mean()",
        ),
        (
            "NoScores",
            "A1",
            "the study waits for val/accuracy, but a trial reports",
            "add it to what scores()",
        ),
        ("EmptyValidation", "A1", "build_data: val: the data holds no sample", "at least 1"),
        ("LabelsFromOne", "A1", "labels 1 to 4 in train['label'], with 4 classes", "run from 0 to 3"),
        ("UndeclaredLabels", "A1", "loss: raises IndexError: Target 4 is out of bounds", "run from 0"),
        ("Overlap", "A2", "3 of 67 validation samples are in the training set too", "the split"),
        ("SummedLoss", "A4", "the loss starts at", "is the loss summed"),
        ("Detached", "A8", "no gradient reaches body.0", "detach()"),
    ],
)
def test_bugs_that_refuse_a_study(code: Path, fault: str, gate: str, evidence: str, fix: str) -> None:
    found = asked(f"faults:{fault}", code)
    assert [bug.gate for bug in found.bugs()] == [gate]
    with pytest.raises(StudyError) as refused:
        refuse_bugs(found, "study.yaml", on_gpus=False)
    said = str(refused.value.faults[0])
    assert evidence in said
    assert fix in said


@pytest.mark.slow
def test_an_arm_that_does_nothing_refuses_a_study(code: Path) -> None:
    misspelt = ArmToCheck("misspelt", {**CONFIG, "model.dropuot": 0.0}, {"model.dropuot": 0.0})
    found = asked("healthy:Healthy", code, misspelt)
    [bug] = found.bugs()
    assert (bug.gate, bug.verdict.evidence) == ("A12", "misspelt changes model.dropuot, which nothing reads")


@pytest.mark.slow
def test_an_import_that_ends_the_process_is_said_so(code: Path) -> None:
    (code / "leaving.py").write_text("import os\nos._exit(3)\n")
    preflight = Preflight(request("leaving:Recipe", code))
    with pytest.raises(StudyError, match=r"importing the entrypoint ended the process \(exit code 3\)"):
        preflight.result()
    preflight.end()


@pytest.mark.slow
def test_stopping_to_ask_leaves_no_process(code: Path) -> None:
    preflight = Preflight(request("faults:SlowLoader", code))
    preflight.end()
    assert preflight._process._process.poll() is not None
    preflight.end()  # once more is nothing
