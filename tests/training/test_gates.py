"""`check`: a healthy recipe passes every gate, each planted fault is caught by its gate and none before."""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "planted"))

import faults
from healthy import CONFIG, Healthy

from orchestrator.training.gates.arms import RecordingConfig, was_read
from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.data import CELL, GAP, image_column, panel
from orchestrator.training.gates.ladder import GATES, LR_FIND, climb
from orchestrator.training.gates.results import GATE_NUMBERS, ArmToCheck, CheckRequest, GateResult
from orchestrator.training.gates.speed import Steps, advice
from orchestrator.training.loading import PoolSettings


def arm(name: str, acts_after: int | None = None, **changes: Any) -> ArmToCheck:
    """CONFIG with `section__key=value` changes."""
    config = copy.deepcopy(CONFIG)
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    for key, value in dotted.items():
        section, _, name_of_key = key.partition(".")
        config[section][name_of_key] = value
    return ArmToCheck(name, config, dotted, acts_after)


ARMS = (
    arm("baseline"),
    arm("no-dropout", model__dropout=0.0),
    arm("narrow", model__width=8),
    arm("no-jitter", data__jitter=0.0),
)


def request(*arms: ArmToCheck, metrics: tuple[str, ...] = ("val/accuracy",)) -> CheckRequest:
    return CheckRequest("planted:Recipe", ".", 3, metrics, arms or ARMS)


def up_to(gate: str, target: Any, asked: CheckRequest | None = None) -> tuple[list[str], GateResult]:
    """Gates before this one that failed, and its own result."""
    before = []
    for result in climb(Bench(target, asked or request())):
        if result.gate == gate:
            return before, result
        if result.state == "fail":
            before.append(f"{result.gate}: {result.verdict.evidence}")
    raise AssertionError(gate)


@pytest.mark.slow
def test_a_healthy_recipe_passes() -> None:
    results = list(climb(Bench(Healthy, request())))
    assert tuple(result.gate for result in results) == GATE_NUMBERS == tuple(gate for gate, *_ in GATES)
    states = {result.gate: result.state for result in results}
    assert states.pop("A11") == "skipped"
    assert set(states.values()) == {"pass"}, [r.verdict for r in results if r.state == "fail"]
    assert all(not result.verdict.warnings for result in results)


@pytest.mark.parametrize(
    ("gate", "fault", "evidence"),
    [
        ("A1", faults.LabelsFromOne, "labels 1 to 4 in train['label'], with 4 classes declared"),
        ("A2", faults.Overlap, "3 of 67 validation samples are in the training set too (val 64 = train 5"),
        ("A2", faults.AugmentedValidation, "validation batch 0 differs between two passes"),
        ("A4", faults.SummedLoss, "1.386 is expected"),
        ("A5", faults.FrozenInput, "with zeros in place of the inputs the loss falls as far"),
        ("A6", faults.SoftmaxTwice, "the loss on one sample goes from"),
        ("A7", faults.Coarse, "the loss on 8 samples goes from"),
        ("A8", faults.Detached, "no gradient reaches body.0.bias, body.0.weight"),
        ("A8", faults.MixedBatch, "with the other samples of its batch"),
        ("A8", faults.ForgottenZeroGrad, "after the optimizer's zero_grad there are still gradients in"),
        pytest.param("A9", faults.SlowLoader, "before the model sees the batch", marks=pytest.mark.slow),
        ("A10", faults.UnseededOrder, "the same seed twice gives different trials, from step 1 on"),
        ("A10", faults.LeakingState, "the same seed twice gives different trials, from step 1 on"),
        ("A10", faults.LostOnResume, "interrupted after 3 steps and resumed differs, from step 4 on"),
        ("A14", faults.ShiftedLabels, "the validation loss goes from"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_planted_faults_are_caught_by_their_gate(gate: str, fault: type, evidence: str) -> None:
    before, result = up_to(gate, fault)
    assert before == []
    assert result.state == "fail", result.verdict
    assert evidence in result.verdict.evidence
    assert result.verdict.causes


@pytest.mark.parametrize(
    ("data_s", "workers", "busy", "said"),
    [
        (
            0.128,
            0,
            0.1,
            "data.num_workers: 3 loads ahead.*computes; loading mostly waits (90%",
        ),
        (0.128, 0, 0.9, "data.num_workers: 3 loads ahead.*with resources.cpus_per_worker: 4; or decode once"),
        (0.060, 2, 0.0, "data.num_workers: 4 loads ahead"),
        (0.300, 16, 0.0, "16 processes do not keep up: decode once"),
    ],
)
def test_a_slow_loader_is_told_its_setting(data_s: float, workers: int, busy: float, said: str) -> None:
    spent = {"data": data_s, "augment": 0.0, "forward": 0.02, "backward": 0.03, "optimizer": 0.01}
    loading = PoolSettings(workers, 2, False) if workers else None
    told = advice(Steps({**spent, "logging": 0.0}, False, loading, busy, None), "data")
    assert re.match(said.replace("(", "\\("), told)
    assert "indexing a tensor" in advice(Steps(spent, True, None, busy, None), "data")


def test_nothing_to_train() -> None:
    before, result = up_to("A3", faults.AllFrozen)
    assert before == []
    assert result.state == "fail"
    assert "none of the model's 420 parameters is trained" in result.verdict.evidence


@pytest.mark.parametrize(
    ("fault", "evidence", "fix"),
    [
        (faults.Pairs, "build_data: a sample of train is a tuple, not a dict", "a dict of named tensors"),
        (faults.LossPerSample, "loss: gives shape [16], not a scalar", "loss.mean()"),
        (faults.NoScores, "waits for val/accuracy, but a trial reports epoch, step", "scores()"),
        (faults.MeanScore, "scores: accuracy is float, not [", "one value per sample"),
        (faults.BareScores, "scores: gives a Tensor", "a dict of named scores"),
        (faults.ScorePerClass, "metrics: f1 computes [3], not one number", "average over classes"),
        (faults.EmptyValidation, "build_data: val: the data holds no sample", "at least 1"),
        (faults.UndeclaredLabels, "loss: raises IndexError: Target 4 is out of bounds", "labels run from 0"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_the_loop_cannot_use_is_named_with_its_hook(fault: type, evidence: str, fix: str) -> None:
    first, *others = climb(Bench(fault, request()))
    assert first.state == "fail"
    assert evidence in first.verdict.evidence
    assert fix in first.verdict.causes[0]
    assert {(gate.state, gate.verdict.evidence) for gate in others} == {("skipped", "A1 failed")}


@pytest.mark.parametrize(
    ("arms", "evidence"),
    [
        ([arm("typo", model__drop_out=0.0)], "typo changes model.drop_out, which nothing reads"),
        ([arm("later", data__jitter=0.05000000001)], "later does the same as baseline: 5 equal losses"),
        ([arm("one", model__width=8), arm("two", model__width=8.5)], "two does the same as one"),
        ([arm("broken", model__width=-3)], "broken does not train: RuntimeError"),
    ],
)
def test_arms_that_do_nothing(arms: list[ArmToCheck], evidence: str) -> None:
    before, result = up_to("A12", Healthy, request(ARMS[0], *arms))
    assert before == []
    assert result.state == "fail"
    assert evidence in result.verdict.evidence


def test_an_arm_may_act_later_and_says_so() -> None:
    _, result = up_to("A12", Healthy, request(ARMS[0], arm("later", 100, data__jitter=0.05000000001)))
    assert result.state == "pass"
    assert "later may act later than that" in result.verdict.evidence


@pytest.mark.parametrize("shape", [(12, 1, 8, 8), (12, 8, 8), (3, 3, 20, 10)])
def test_a_panel_of_samples(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    assert image_column({"id": torch.arange(shape[0]), "image": images}) == "image"
    pixels = panel([images, images[:2]])
    cell = tuple(GAP * 2 + side * -(-CELL // max(shape[-2:])) for side in shape[-2:])
    assert pixels.shape == (2 * cell[0], 8 * cell[1], 3)
    assert (
        pixels[GAP, GAP].float() / 255 - images.reshape(shape[0], -1, *shape[-2:])[0, :, 0, 0]
    ).abs().max() < 0.1


class LearnsItsClasses(Healthy):
    """Knows how many there are only when it has seen the data."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        self.counted = int(data["train"]["label"].max()) + 1
        return data

    def build_model(self, config: Any) -> Any:
        model = super().build_model(config)
        assert model.head.out_features == self.counted
        return model


def test_the_data_come_before_the_model() -> None:
    [alone] = climb(Bench(LearnsItsClasses, request()), gates=tuple(g for g in GATES if g[0] == "A4"))
    assert alone.state == "pass"
    assert all(gate.state != "fail" for gate in climb(Bench(LearnsItsClasses, request())))


def test_a_part_that_acts_later_is_no_dead_one() -> None:
    _, dead = up_to("A8", faults.LateCritic)
    assert "no gradient reaches critic.bias, critic.weight" in dead.verdict.evidence
    _, late = up_to("A8", faults.LateCritic, request(ARMS[0], arm("late", 100, data__jitter=0.0)))
    assert late.state == "pass"
    assert late.verdict.warnings == (
        "no gradient yet: critic.bias, critic.weight; a component acts later (acts_after)",
    )


def test_a_plain_function_is_not_asked() -> None:
    results = list(climb("only Ray can call it"))
    assert {result.state for result in results} == {"skipped"}
    assert "only Ray can call it" in results[0].verdict.evidence


def test_a_request_survives_json() -> None:
    assert CheckRequest.from_json(asdict(request())) == request()


def test_learning_rate_range() -> None:
    [result] = climb(Bench(Healthy, request()), gates=LR_FIND)
    [curve] = result.verdict.curves
    assert result.state == "pass"
    assert curve.mark is not None
    assert 1e-4 < curve.mark < 1.0
    assert "the config has 1.0e-02" in result.verdict.evidence


def test_a_check_leaves_the_random_states_alone() -> None:
    before = torch.get_rng_state()
    list(zip(range(4), climb(Bench(Healthy, request())), strict=False))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("use", "read"),
    [
        (lambda c: c["a"], set()),
        (lambda c: c["a"]["x"], {"a.x"}),
        (lambda c: c.get("a").get("x"), {"a.x"}),
        (lambda c: dict(**c["a"]), {"a.x", "a.y"}),
        (lambda c: dict(c["a"]), {"a.x", "a.y"}),
        (lambda c: c["a"] | {}, {"a.x", "a.y"}),
        (lambda c: {**c["a"]}, {"a.x", "a.y"}),
        (lambda c: copy.deepcopy(c), {"a.x", "a.y", "b"}),
        (lambda c: "b" in c, set()),
        (lambda c: list(c["a"].values()), {"a.x", "a.y"}),
    ],
)
def test_a_config_records_what_is_read(use: Any, read: set[str]) -> None:
    noted: set[str] = set()
    config = RecordingConfig({"a": {"x": 1, "y": 2}, "b": 3}, noted)
    use(config)
    assert {key for key in ("a.x", "a.y", "b") if was_read(key, noted)} == read
    assert config == {"a": {"x": 1, "y": 2}, "b": 3}
