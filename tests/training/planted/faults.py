"""One fault per recipe, each of a kind that trains without an error message."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import torch
from healthy import CLASSES, Healthy, Net
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.settings import OptimSettings


# --- A1, A2, A3: data and model ------------------------------------------------------------------------
class LabelsFromOne(Healthy):
    def build_data(self, config: Any) -> Any:
        data = super().build_data(config)
        return {name: {**table, "label": table["label"] + 1} for name, table in data.items()}


class Overlap(Healthy):
    def build_data(self, config: Any) -> Any:
        data = super().build_data(config)
        val = {key: torch.cat([data["val"][key], data["train"][key][5:8]]) for key in ("x", "label")}
        return {**data, "val": val}


class Noisy:
    """A dataset that augments whenever it is asked."""

    def __init__(self, table: dict[str, Tensor]) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table["label"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = {key: column[index] for key, column in self.table.items()}
        return {**sample, "x": sample["x"] + 0.01 * torch.randn(2, 4)}


class AugmentedValidation(Healthy):
    def build_data(self, config: Any) -> Any:
        return {name: Noisy(table) for name, table in super().build_data(config).items()}


class AllFrozen(Healthy):
    def build_model(self, config: Any) -> nn.Module:
        return super().build_model(config).requires_grad_(False)


# --- A4 to A7: loss and fitting ------------------------------------------------------------------------
class SummedLoss(Healthy):
    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"], reduction="sum")


class FrozenInput(Healthy):
    class net(Net):
        def features(self, x: Tensor) -> Tensor:
            return super().features(torch.zeros_like(x))


class SoftmaxTwice(Healthy):
    class net(Net):
        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"logits": super().forward(batch)["logits"].softmax(dim=1)}


class Coarse(Healthy):
    """Preprocessing leaves one bit of the input: too little to tell four classes apart."""

    class net(Net):
        def features(self, x: Tensor) -> Tensor:
            return super().features((x[:, :1].argmax(dim=2)[:, :, None] > 1).float().expand(-1, 2, 4))


# --- A8: gradients -------------------------------------------------------------------------------------
class Detached(Healthy):
    class net(Net):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x).detach()


class MixedBatch(Healthy):
    class net(Net):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x.transpose(0, 1).reshape(x.shape))


class ForgetfulOptimizer(PlainOptimizer):
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgotten."""


class ForgottenZeroGrad(Healthy):
    def optimizer(self, model: nn.Module, config: Any) -> Any:
        return ForgetfulOptimizer(model.parameters(), OptimSettings(name="sgd", lr=1e-3))


# --- A9, A10: speed and repetition ---------------------------------------------------------------------
class Slow(Noisy):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        hashlib.pbkdf2_hmac("sha256", b"decoding", b"", 8000)
        return {key: column[index] for key, column in self.table.items()}


class SlowLoader(Healthy):
    def build_data(self, config: Any) -> Any:
        return {
            name: Slow({key: column[:40] for key, column in table.items()})
            for name, table in super().build_data(config).items()
        }


class UnseededOrder(Healthy):
    def augment(self, batch: Any, draws: Any) -> Any:
        random = torch.Generator()
        random.seed()
        rows = torch.randperm(len(batch["id"]), generator=random)[:12]
        return {name: column[rows] for name, column in batch.items()}


class LeakingState(Healthy):
    trials: ClassVar[int] = 0

    def init_weights(self, model: nn.Module, streams: Any) -> None:
        LeakingState.trials += 1
        with torch.no_grad():
            model.head.bias[0] += 0.01 * LeakingState.trials


class LostOnResume(Healthy):
    calls = 0

    def augment(self, batch: Any, draws: Any) -> Any:
        self.calls += 1
        return {**batch, "x": batch["x"] * (1 + 0.01 * min(self.calls, 8))}


class ChangedInPlace(Healthy):
    """An arm changes the data that the others get too."""

    def split_data(self, data: Any, generator: Any) -> Any:
        if self.config["model"]["width"] == 8:
            data["train"]["x"] *= 0.5
        return data


# --- A14: learning -------------------------------------------------------------------------------------
class ShiftedLabels(Healthy):
    def build_data(self, config: Any) -> Any:
        data = super().build_data(config)
        train = {**data["train"], "label": data["train"]["label"].roll(1)}
        return {**data, "train": train}


# --- what the loop cannot use --------------------------------------------------------------------------
class Pairs(Healthy):
    class Dataset:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            return torch.zeros(2, 4), index % CLASSES

    def build_data(self, config: Any) -> Any:
        return {"train": self.Dataset(), "val": self.Dataset()}


class LossPerSample(Healthy):
    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"], reduction="none")


class NoScores(Healthy):
    def scores(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {"precision": torch.zeros(len(batch["label"]))}


class MeanScore(Healthy):
    def scores(self, outputs: Any, batch: Any) -> dict[str, Any]:
        return {"accuracy": 0.9}


class BareScores(Healthy):
    def scores(self, outputs: Any, batch: Any) -> Any:
        return torch.zeros(len(batch["label"]))


class ScorePerClass(Healthy):
    def metrics(self) -> dict[str, Any]:
        return {"f1": _PerClass()}

    def metric_inputs(self, outputs: Any, batch: Any) -> tuple[Any, ...]:
        return (batch["label"],)


class _PerClass:
    def to(self, _: Any) -> Any:
        return self

    def reset(self) -> None: ...

    def update(self, *_: Any) -> None: ...

    def compute(self) -> Tensor:
        return torch.zeros(3)


class EmptyValidation(Healthy):
    def build_data(self, config: Any) -> Any:
        data = super().build_data(config)
        return {**data, "val": {key: column[:0] for key, column in data["val"].items()}}


class UndeclaredLabels(LabelsFromOne):
    classes = None


class LateCritic(Healthy):
    """A part that does nothing in the first steps, as the adversarial loss of a generator may."""

    def build_model(self, config: Any) -> nn.Module:
        model = super().build_model(config)
        model.critic = nn.Linear(2, 2)
        return model
