"""What recipes of today ask of a loop, each resumed as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, MultiStepLR, OneCycleLR, ReduceLROnPlateau
from toy import FEATURES, Adversarial, Toy, config, run_until_stopped, train, weights

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer

SessionFor = Callable[..., LocalSession]


def resumed_as_if_whole(
    session_for: SessionFor, task: type[Toy], **changes: Any
) -> tuple[Trainer, LocalSession]:
    """Train once through, and once in two parts; the same, bit for bit."""
    whole = session_for(config(train__report_every=4, **changes))
    trained = train(whole, task)
    first = session_for(
        config(train__report_every=4, **changes),
        checkpoints=True,
        stop_when=lambda metrics: metrics["step"] == 12,
    )
    run_until_stopped(first, task)
    second = session_for(config(train__report_every=4, **changes), resume_from=first.checkpoint_path(12))
    assert all(map(torch.equal, weights(trained), weights(train(second, task))))
    assert first.reports + second.reports == whole.reports
    return trained, whole


def test_averaged_weights_are_what_is_validated(session_for: SessionFor) -> None:
    seen: list[list[Tensor]] = []

    class Watched(Toy):
        def after_step(self, model: nn.Module, step: int) -> None:
            seen.append([value.clone() for value in model.state_dict().values()])

    trained, whole = resumed_as_if_whole(session_for, Watched, train__ema=0.8)
    expected = seen[0]
    for now in seen[1:24]:
        expected = [
            old.lerp(new, 0.2) if old.is_floating_point() else new
            for old, new in zip(expected, now, strict=True)
        ]
    averaged = trained.recipe.evaluated.state_dict().values()
    for one, other in zip(averaged, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    plain = session_for(config(train__report_every=4))
    assert all(map(torch.equal, weights(train(plain, Watched)), weights(trained)))
    assert whole.reports != plain.reports


def test_several_optimizers_move_their_own_parts_in_turn(session_for: SessionFor) -> None:
    trained, whole = resumed_as_if_whole(session_for, Adversarial, train__accumulate=1)
    assert trained.task.turns[2:] == [("critic", True, False), ("body", False, True)] * 23  # type: ignore[attr-defined]
    assert all(parameter.grad is None for parameter in trained.model.parameters())
    assert [row["step"] for row in whole.reports] == [4, 8, 12, 16, 20, 24]
    resumed_as_if_whole(session_for, Adversarial, train__accumulate=2, train__clip=0.1)


@pytest.mark.parametrize(
    ("every", "make"),
    [
        ("step", lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=30)),
        ("step", lambda optimizer: CosineAnnealingWarmRestarts(optimizer, 5)),
        ("epoch", lambda optimizer: MultiStepLR(optimizer, [1, 2])),
    ],
)
def test_torch_s_schedulers_set_the_learning_rate(
    session_for: SessionFor, every: Any, make: Callable[[Any], Any]
) -> None:
    class Scheduled(Toy):
        scheduler_every = every

        def scheduler(self, optimizer: Any, config: Any, name: str = "") -> Any:
            return make(optimizer)

    _, whole = resumed_as_if_whole(session_for, Scheduled, optim__name="adamw")
    alone = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.05, betas=(0.9, 0.999))
    scheduler, rates = make(alone), []
    for step in range(1, 25):
        rates.append(alone.param_groups[0]["lr"])
        alone.step()
        if every == "step" or step % 8 == 0:
            scheduler.step()
    shown = {step: row["optim/lr"] for step, row in whole.steps if "optim/lr" in row}
    last, seen = 0.0, []
    for step in range(1, 25):
        last = shown.get(step, last)
        seen.append(last)
    assert seen == pytest.approx(rates)


def test_a_scheduler_that_watches_the_loss_is_told_of_it(session_for: SessionFor) -> None:
    class Watching(Toy):
        def scheduler(self, optimizer: Any, config: Any, name: str = "") -> Any:
            return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0)

    _, whole = resumed_as_if_whole(session_for, Watching)
    rates = [row["optim/lr"] for _, row in whole.steps if "optim/lr" in row]
    assert rates == pytest.approx([0.05 * 0.5**halved for halved in range(len(rates))])
    assert len(rates) == 6  # six reports, of which the last is behind the last step


def test_torch_s_optimizers_are_those_of_the_config(session_for: SessionFor) -> None:
    class Flat(Toy):
        def scheduler(self, optimizer: Any, config: Any, name: str = "") -> Any:
            assert isinstance(optimizer, torch.optim.Optimizer)
            return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    for name in ("sgd", "adam", "adamw"):
        plain = session_for(config(optim__name=name, optim__schedule="constant", optim__warmup=0))
        theirs = session_for(config(optim__name=name))
        assert all(map(torch.equal, weights(train(plain)), weights(train(theirs, Flat))))


def test_a_trial_ends_when_it_is_out_of_patience(session_for: SessionFor) -> None:
    class Worse(Toy):
        def scores(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
            self.calls = getattr(self, "calls", 0) + 1
            passes = (self.calls + 3) // 4  # of four batches each
            return {"accuracy": torch.full((len(batch["label"]),), {1: 0.5, 2: 0.6}.get(passes, 0.55))}

    changes = config(train__report_every=2, train__patience=3, train__min_delta=0.05)
    session = session_for(changes, metric="val/accuracy", mode="max", checkpoints=True)
    trained = train(session, Worse)
    assert len(session.reports) == 5
    assert session.early == (
        "out of patience: val/accuracy has not become better in 3 reports (best: 0.6 at report 2; "
        "train.patience: 3)"
    )
    again = session_for(changes, metric="val/accuracy", mode="max", resume_from=session.checkpoint_path(10))
    assert all(map(torch.equal, weights(trained), weights(train(again, Worse))))
    assert (again.early, again.reports) == (session.early, [])
    with pytest.raises(ValueError, match=r"'val/f1'; reported: .*val/accuracy"):
        train(session_for(changes, metric="val/f1"), Toy)


def test_a_test_set_is_reported_beside_validation(session_for: SessionFor) -> None:
    class Tested(Toy):
        def split_data(self, data: Any, generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
            parts = super().split_data(data, generator)
            cut = {"val": slice(0, 12), "test": slice(12, None)}
            return {
                "train": parts["train"],
                **{name: {k: v[rows] for k, v in parts["val"].items()} for name, rows in cut.items()},
            }

    plain, tested = session_for(config()), session_for(config())
    assert all(map(torch.equal, weights(train(plain)), weights(train(tested, Tested))))
    for one, both in zip(plain.reports, tested.reports, strict=True):
        assert both.keys() == {*one, "test/loss", "test/accuracy"}
        share = both["val/accuracy"] * 12 / 25 + both["test/accuracy"] * 13 / 25
        assert one["val/accuracy"] == pytest.approx(share)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.2)) for _ in range(3)
        )
        self.last = nn.Linear(8, 3)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x = self.first(batch["x"])
        for block in self.blocks:
            x = x + block(x)
        return {"logits": self.last(x)}


class Blocks(Toy):
    def build_model(self, config: Any) -> nn.Module:
        return Deep()


@pytest.mark.parametrize("chosen", [True, ["blocks.*"], ["blocks.0", "blocks.2"]])
def test_blocks_that_run_again_give_the_same_curve(session_for: SessionFor, chosen: Any) -> None:
    kept, again = session_for(config()), session_for(config(train__gradient_checkpointing=chosen))
    assert all(map(torch.equal, weights(train(kept, Blocks)), weights(train(again, Blocks))))
    assert kept.reports == again.reports


def test_no_block_to_run_again_is_named(session_for: SessionFor) -> None:
    session = session_for(config(train__gradient_checkpointing=["layers.*"]))
    with pytest.raises(ValueError, match=r"no module to run again.*name some of: first, blocks, blocks.0"):
        train(session, Blocks)


class Convolution(Toy):
    def build_model(self, config: Any) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, model: nn.Module, batch: Any) -> Any:
        image = batch["x"].unflatten(1, (1, 2, 3))
        return {"logits": model(image)}


def test_channels_last(session_for: SessionFor) -> None:
    trained = train(session_for(config(train__channels_last=True, train__ema=0.9)), Convolution)
    weight = trained.model[0].weight  # type: ignore[index]
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    plain = train(session_for(config()), Convolution)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights(trained), weights(plain), strict=True))


def test_updates_that_are_not_fused_are_the_same_up_to_rounding(session_for: SessionFor) -> None:
    fused, plain = session_for(config()), session_for(config(optim__fused=False))
    for one, other in zip(weights(train(fused)), weights(train(plain)), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler
def test_a_compiled_model_learns_the_same(session_for: SessionFor) -> None:
    class Blocks(Toy):
        def build_model(self, config: Any) -> nn.Module:
            model = Deep()
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0  # compiled code draws other numbers
            return model

    plain, compiled = session_for(config()), session_for(config(train__compile=True, train__ema=0.9))
    expected = weights(train(plain, Blocks))
    got = weights(train(compiled, Blocks))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(expected, got, strict=True))
