"""A loss that is not a number: where it came from, and that the weights are kept from it."""

from collections.abc import Callable
from typing import Any
from unittest import TestCase

import pytest
import torch
from memorysink import MemorySink
from torch import Tensor, nn
from toy import FEATURES, Toy, config

from orchestrator.training import divergence
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer
from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.session import Diverged
from orchestrator.training.settings import OptimSettings

SessionFor = Callable[..., LocalSession]


class Layer(nn.Module):
    """Turns bad at the fifth training batch, as its subclasses say."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(FEATURES, 8)
        self.norm = nn.BatchNorm1d(8)
        self.odd = Odd()
        self.after = nn.Linear(8, 3)
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.training:
            self.batches += 1
        x = self.norm(self.before(batch["x"]))
        x = self.odd(x, bad=self.training and bool(self.batches >= 5))
        return {"logits": self.after(x)}


class Odd(nn.Module):
    def forward(self, x: Tensor, bad: bool) -> Tensor:
        return torch.log(x - 100.0) if bad else x


LOG_LINE = Odd.forward.__code__.co_firstlineno + 1


class Infinite(Odd):
    def forward(self, x: Tensor, bad: bool) -> Tensor:
        return torch.sqrt(x.square() * 0.0) if bad else x  # sound forward, infinite slope


class Bad(Toy):
    odd: type[Odd] = Odd

    def build_model(self, config: Any) -> nn.Module:
        model = Layer()
        model.odd = self.odd()
        return model


def diverge(task_class: type[Toy], session: LocalSession) -> tuple[Trainer, Diverged]:
    trainer = Trainer(task_class(session.config), session)
    with pytest.raises(Diverged) as caught:
        trainer.run()
    return trainer, caught.value


def test_the_layer_and_the_step_are_named(session_for: SessionFor) -> None:
    session = session_for(config())
    trainer, error = diverge(Bad, session)
    assert (error.step, error.origin) == (
        5,
        f"first in the forward pass of odd (Odd): log at {__file__}:{LOG_LINE} in forward",
    )
    assert str(error) == f"the training loss is nan at step 5, {error.origin}"
    assert [row["train/batch_loss"] for _, row in session.steps][-1] != 0
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())


def test_a_sample_that_is_not_a_number_is_named(session_for: SessionFor) -> None:
    class Spoilt(Toy):
        def split_data(self, data: Any, generator: torch.Generator) -> Any:
            parts = super().split_data(data, generator)
            x = parts["train"]["x"].clone()
            x[41, 2] = torch.nan
            return {**parts, "train": {**parts["train"], "x": x}}

        def augment(self, batch: Any, draws: Any) -> Any:
            return batch

    _, error = diverge(Spoilt, session_for(config()))
    assert error.origin == "'x' of the batch is not finite, in samples 41"


def test_the_loss_itself_is_named_with_the_line(session_for: SessionFor) -> None:
    class Loss(Toy):
        def loss(self, outputs: Any, batch: Any) -> Tensor:
            wrong = torch.log(outputs["logits"].mean() - 1000.0)
            return super().loss(outputs, batch) + wrong

    _, error = diverge(Loss, session_for(config()))
    assert error.step == 1
    assert error.origin is not None
    assert error.origin.startswith("first in the task's loss: log at ")
    assert error.origin.endswith(" in loss")


def test_a_gradient_that_was_lost_is_traced_to_the_weights(session_for: SessionFor) -> None:
    class Slope(Bad):
        odd = Infinite

    _, error = diverge(Slope, session_for(config()))
    assert error.step == 6
    assert error.origin is not None
    assert error.origin.startswith(
        "the update before this step left weights that are not finite: before.weight"
    )
    assert error.origin.endswith("the weights after norm.bias are sound")


def test_a_validation_loss_that_is_not_finite_is_traced_and_does_not_end_the_trial(
    session_for: SessionFor,
) -> None:
    class Spoilt(Toy):
        def split_data(self, data: Any, generator: torch.Generator) -> Any:
            parts = super().split_data(data, generator)
            x = parts["val"]["x"].clone()
            x[17, 2] = torch.nan
            return {**parts, "val": {**parts["val"], "x": x}}

    session = session_for(config(), sink=MemorySink())
    trainer = Trainer(Spoilt(session.config), session)
    with TestCase().assertLogs("orchestrator") as logged:
        trainer.run()
    assert len(session.reports) == 3
    text = "val/loss is not finite at step 8, 'x' of the batch is not finite, in samples 17"
    assert session.sink.of("text", "diverged/validation") == [text]
    assert [record.getMessage() for record in logged.records] == [text]


def test_a_replay_leaves_everything_as_it_was() -> None:
    torch.manual_seed(0)
    model = Layer()
    batch = {"x": torch.randn(4, FEATURES), "id": torch.arange(4)}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()

    def forward(given: Any) -> Any:
        torch.rand(2)
        return model(given)

    for _ in range(6):
        found = divergence.find(model, batch, forward, lambda outputs, _: outputs["logits"].mean())
        assert found is None
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_held_updates_change_nothing(name: str) -> None:
    def run(hold: bool) -> tuple[Tensor, dict[str, Any]]:
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = PlainOptimizer([weight], OptimSettings(name=name, lr=0.1))
        optimizer.hold = torch.zeros(())
        for gradient in (1.0, 2.0, 3.0):
            weight.grad = torch.full((3,), gradient)
            if hold and gradient > 1:
                optimizer.hold.fill_(1.0)
                weight.grad.fill_(torch.nan)
            optimizer.step()
        return weight.detach(), optimizer.state_dict()

    def one() -> Tensor:
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = PlainOptimizer([weight], OptimSettings(name=name, lr=0.1))
        weight.grad = torch.full((3,), 1.0)
        optimizer.step()
        return weight.detach()

    held, state = run(hold=True)
    assert torch.equal(held, one())
    assert all(bool(value.isfinite().all()) for value in state["state"][0].values())
    free, _ = run(hold=False)
    assert not torch.equal(free, held)


def test_it_survives_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(Diverged(3, float("inf"), "here")))
    assert (error.step, error.loss, error.origin) == (3, float("inf"), "here")
