"""What `check` finds in LightningModules: planted faults, and what it leaves out with a reason."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.engine.runners.lightning import LightningRunner
from orchestrator.training.gates.ladder import GATES, climb
from orchestrator.training.gates.results import ArmToCheck, CheckRequest, GateVerdict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning"),
    pytest.mark.filterwarnings("ignore"),  # what Lightning says about loaders and torch about Lightning
]


def check(name: str, metric: str = "val_loss", **arm: Any) -> Mapping[str, GateVerdict]:
    import planted_lightning

    from orchestrator.training.gates.lightning import INSTEAD, lightning_bench
    from orchestrator.training.lightning.fit import Lit

    module = getattr(planted_lightning, name)
    config = {"model": {"hidden": 16, "unused": 0.0}, "lr": 0.01}
    change = arm or {"hidden": 4}
    dotted = {f"model.{key}": value for key, value in change.items()}
    arms = (
        ArmToCheck("baseline", config),
        ArmToCheck("arm", {**config, "model": {**config["model"], **change}}, dotted),
    )
    request = CheckRequest("x:y", ".", 0, (metric,), arms)
    gates = tuple((number, title, INSTEAD.get(number, gate)) for number, title, gate in GATES)
    bench = lightning_bench(Lit(module), request)
    return {r.gate: r.verdict for r in climb(bench, gates=gates, without=LightningRunner.without)}


@pytest.mark.long
def test_a_sound_module_passes() -> None:
    verdicts = check("Sound")
    asked = {gate for gate, verdict in verdicts.items() if verdict.state == "pass"}
    assert asked == {"A1", "A2", "A3", "A6", "A7", "A8", "A10", "A12"}
    assert all(verdict.state == "skipped" for gate, verdict in verdicts.items() if gate not in asked)
    assert "samples" not in verdicts["A8"].evidence  # outputs by sample are not seen


@pytest.mark.parametrize(
    ("module", "gate", "words"),
    [
        ("Overlapping", "A2", "32 of 32 validation samples are in the training set too"),
        ("Detached", "A8", "no gradient reaches first"),
        ("Unseeded", "A10", "the same seed twice gives different trials"),
        ("Forgetful", "A10", "interrupted after an epoch and resumed differs"),
    ],
)
def test_planted_faults(module: str, gate: str, words: str) -> None:
    verdict = check(module)[gate]
    assert verdict.state == "fail"
    assert words in verdict.evidence


def test_arms_and_metrics() -> None:
    assert "does the same as baseline" in check("Sound", unused=1.0)["A12"].evidence
    assert "no argument of Sound is called 'hiden'" in check("Sound", hiden=3)["A12"].evidence
    missing = check("Sound", metric="val_acc")["A10"]
    assert missing.evidence.startswith(
        "the study waits for val_acc, but a trial reports train_loss, val_loss"
    )


def test_optimising_by_hand_leaves_gates_out() -> None:
    verdicts = check("ByHand")
    assert {gate for gate, verdict in verdicts.items() if verdict.state == "pass"} == {"A10", "A12"}
    assert "optimises by hand" in verdicts["A8"].evidence
