"""What `check` finds in LightningModules: planted faults, and what it leaves out with a reason."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.training.gates.ladder import GATES, climb
from orchestrator.training.gates.results import ArmToCheck, CheckRequest, Verdict

L = pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # what Lightning says about loaders and torch about Lightning
]


class Sound(L.LightningModule):  # type: ignore[name-defined,misc]
    """A line through points; each subclass below plants one fault."""

    lowest_loss = 0.0

    def __init__(self, hidden: int = 16, lr: float = 0.01, unused: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.first = nn.Linear(4, hidden)
        self.last = nn.Linear(hidden, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = nn.functional.mse_loss(self.last(torch.tanh(self.first(x))), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.last(torch.tanh(self.first(x))), y))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> Any:
        return DataLoader(points(0, 64), batch_size=16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(points(1, 32), batch_size=16)


def points(seed: int, count: int) -> TensorDataset:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(dim=1, keepdim=True))


class Overlapping(Sound):
    def val_dataloader(self) -> Any:
        return DataLoader(points(0, 32), batch_size=16)


class Detached(Sound):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return nn.functional.mse_loss(self.last(torch.tanh(self.first(x)).detach()), y)


class Unseeded(Sound):
    source = random.SystemRandom()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * self.source.uniform(0.5, 1.5)


class Forgetful(Sound):
    def on_train_epoch_start(self) -> None:
        self.factor = 2.0 * getattr(self, "factor", 1.0)  # no checkpoint has it

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * getattr(self, "factor", 1.0)


class ByHand(Sound):
    def __init__(self, hidden: int = 16, lr: float = 0.01, unused: float = 0.0) -> None:
        super().__init__(hidden, lr, unused)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


def check(module: type, metric: str = "val_loss", **arm: Any) -> Mapping[str, Verdict]:
    from orchestrator.training.gates.lightning import INSTEAD, WITHOUT, lightning_bench
    from orchestrator.training.lightning.fit import Lit

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
    return {r.gate: r.verdict for r in climb(module, request, gates=gates, bench=bench, without=WITHOUT)}


def test_a_sound_module_passes() -> None:
    verdicts = check(Sound)
    asked = {gate for gate, verdict in verdicts.items() if verdict.state == "pass"}
    assert asked == {"A1", "A2", "A3", "A6", "A7", "A8", "A10", "A12"}
    assert all(verdict.state == "skipped" for gate, verdict in verdicts.items() if gate not in asked)
    assert "samples" not in verdicts["A8"].evidence  # outputs by sample are not seen


@pytest.mark.parametrize(
    ("module", "gate", "words"),
    [
        (Overlapping, "A2", "32 of 32 validation samples are in the training set too"),
        (Detached, "A8", "no gradient reaches first"),
        (Unseeded, "A10", "the same seed twice gives different trials"),
        (Forgetful, "A10", "interrupted after an epoch and resumed differs"),
    ],
)
def test_planted_faults(module: type, gate: str, words: str) -> None:
    verdict = check(module)[gate]
    assert verdict.state == "fail"
    assert words in verdict.evidence


def test_arms_and_metrics() -> None:
    assert "does the same as baseline" in check(Sound, unused=1.0)["A12"].evidence
    assert "no argument of Sound is called 'hiden'" in check(Sound, hiden=3)["A12"].evidence
    missing = check(Sound, metric="val_acc")["A10"]
    assert missing.evidence.startswith(
        "the study waits for val_acc, but a trial reports train_loss, val_loss"
    )


def test_optimising_by_hand_leaves_gates_out() -> None:
    verdicts = check(ByHand)
    assert {gate for gate, verdict in verdicts.items() if verdict.state == "pass"} == {"A10", "A12"}
    assert "optimises by hand" in verdicts["A8"].evidence
