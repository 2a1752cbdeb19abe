"""What the loop computes: the same curve whatever happens beside it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import FEATURES, SAMPLES, Toy, config, run_until_stopped, train, weights

from orchestrator.training.local import LocalSession, run_local
from orchestrator.training.loop import run_task
from orchestrator.training.session import Diverged
from orchestrator.training.streams import Streams
from orchestrator.training.task import Task

SessionFor = Callable[..., LocalSession]


def at_step(step: int) -> Callable[[Any], bool]:
    return lambda metrics: metrics["step"] == step


@pytest.mark.parametrize(
    ("changes", "stop_at"),
    [
        ({}, 8),
        ({"train__report_every": 3}, 3),
        ({"train__report_every": 3}, 15),
        ({"train__report_every": 5, "train__accumulate": 2, "optim__name": "adamw"}, 5),
        ({"train__precision": "bf16", "train__clip": 0.5, "optim__name": "adam"}, 16),
        ({"train__val_batch_every": 2, "optim__schedule": "linear"}, 8),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    session_for: SessionFor, changes: dict[str, Any], stop_at: int
) -> None:
    whole = session_for(config(**changes))
    expected = weights(train(whole))
    first = session_for(config(**changes), checkpoints=True, stop_when=at_step(stop_at))
    run_until_stopped(first)
    torch.rand(5)  # another trial ran in between
    second = session_for(config(**changes), resume_from=first.checkpoint_path(stop_at))
    got = weights(train(second))
    assert all(map(torch.equal, expected, got))
    assert first.reports + second.reports == whole.reports
    values = {(step, name): value for step, row in first.steps + second.steps for name, value in row.items()}
    for step, row in whole.steps:
        assert all(values[step, name] == value for name, value in row.items())


@pytest.mark.parametrize("every", ["auto", 1, 3])
def test_validation_beside_training_changes_nothing(session_for: SessionFor, every: int | str) -> None:
    without, beside = session_for(config()), session_for(config(train__val_batch_every=every))
    expected, got = weights(train(without)), weights(train(beside))
    assert all(map(torch.equal, expected, got))
    assert without.reports == beside.reports
    if every != "auto":
        steps = [step for step, row in beside.steps if "val/batch_loss" in row]
        assert steps == [step for step in range(1, 25) if step % int(every) == 0]


def test_a_validation_batch_belongs_to_its_step(session_for: SessionFor) -> None:
    def curve(every: int) -> dict[int, float]:
        session = session_for(config(train__val_batch_every=every))
        train(session)
        return {step: row["val/batch_loss"] for step, row in session.steps if "val/batch_loss" in row}

    dense, sparse = curve(1), curve(4)
    assert sparse == {step: loss for step, loss in dense.items() if step % 4 == 0}
    assert len(set(dense.values())) == len(dense)


def test_full_validation_sees_every_sample_once(session_for: SessionFor) -> None:
    session = session_for(config(), max_length=1)
    trainer = train(session)
    data = trainer.task.split_data(trainer.task.build_data({}), Streams(3).generator("split"))["val"]
    trainer.model.eval()
    logits = trainer.model(data)["logits"].detach()
    assert len(data["label"]) == SAMPLES - 65
    accuracy = (logits.argmax(1) == data["label"]).double().mean()
    assert session.reports[0]["val/accuracy"] == pytest.approx(float(accuracy), abs=1e-12)
    loss = nn.functional.cross_entropy(logits, data["label"])
    assert session.reports[0]["val/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_reports_and_the_loss_of_every_batch(session_for: SessionFor) -> None:
    session = session_for(config())
    train(session)
    assert [(row["epoch"], row["step"]) for row in session.reports] == [(1, 8), (2, 16), (3, 24)]
    assert session.reports[0].keys() == {"epoch", "step", "train/loss", "val/loss", "val/accuracy"}
    losses = {step: row["train/batch_loss"] for step, row in session.steps if "train/batch_loss" in row}
    assert sorted(losses) == list(range(1, 25))
    assert session.reports[1]["train/loss"] == math.fsum(losses[s] for s in range(9, 17)) / 8
    rates = {step: row["optim/lr"] for step, row in session.steps if "optim/lr" in row}
    assert rates[1] == pytest.approx(0.05 / 3)
    assert rates[24] < rates[12] < rates[3] == 0.05
    first = session.steps[0][1]
    assert (first["optim/momentum"], first["optim/weight_decay"]) == (0.9, 0.01)
    assert sum("optim/momentum" in row for _, row in session.steps) == 1


@pytest.mark.parametrize(
    ("unit", "length", "every", "steps"),
    [
        ("step", 11, "epoch", [8, 11]),
        ("step", 11, 4, [4, 8, 11]),
        ("report", 3, 2, [2, 4, 6]),
        ("epoch", 1, 3, [3, 6, 8]),
        ("epoch", 2, "epoch", [8, 16]),
    ],
)
def test_lengths(session_for: SessionFor, unit: str, length: int, every: int | str, steps: list[int]) -> None:
    session = session_for(config(train__report_every=every), length, unit=unit)
    train(session)
    assert [row["step"] for row in session.reports] == steps


def test_a_length_in_seconds_ends(session_for: SessionFor) -> None:
    session = session_for(config(), 0.02, unit="seconds")
    train(session)
    assert session.reports


def test_accumulated_batches_are_one_larger_batch(session_for: SessionFor) -> None:
    class Plain(Toy):
        def build_model(self, config: Any) -> nn.Module:
            return Dict(nn.Linear(FEATURES, 3))

        def augment(self, batch: Any, draws: Any) -> Any:
            return batch

    small = train(session_for(config(data__batch_size=4, train__accumulate=4)), Plain)
    large = train(session_for(config(data__batch_size=16)), Plain)
    for one, other in zip(weights(small), weights(large), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


class Dict(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.inner(batch["x"])}


def test_a_loss_that_is_not_a_number_ends_the_trial(session_for: SessionFor) -> None:
    class Broken(Toy):
        calls = 0

        def loss(self, outputs: Any, batch: Any) -> Tensor:
            type(self).calls += 1
            return super().loss(outputs, batch) * (math.nan if self.calls == 5 else 1.0)

    session = session_for(config())
    with pytest.raises(Diverged, match="nan at step 5") as caught:
        run_task(Broken, session)
    assert caught.value.step == 5
    assert not session.reports


def test_a_stop_leaves_at_once_and_is_not_swallowed(session_for: SessionFor) -> None:
    session = session_for(config(), stop_when=at_step(16))
    run_until_stopped(session)
    assert [row["epoch"] for row in session.reports] == [1, 2]


def test_data_are_kept_between_trials() -> None:
    class Counted(Toy):
        built = 0

    cache: dict[str, Any] = {}
    curves = [run_local(Counted, config(seed=seed), max_length=1, cache=cache) for seed in (0, 1, 0)]
    assert Counted.built == 1
    assert curves[0] == curves[2] != curves[1]


def test_data_are_prepared_once_under_a_lock(session_for: SessionFor) -> None:
    class Downloads(Toy):
        prepared = 0

        def prepare_data(self, config: Any) -> None:
            type(self).prepared += 1

    session = session_for(config(), max_length=1)
    train(session, Downloads)
    train(session, Downloads)
    assert Downloads.prepared == 1


def test_evaluation_leaves_random_numbers_and_modes_alone(session_for: SessionFor) -> None:
    class Drawing(Toy):
        def forward(self, model: nn.Module, batch: Any) -> Any:
            torch.rand(3)
            return super().forward(model, batch)

    without, beside = session_for(config()), session_for(config(train__val_batch_every=1))
    assert all(map(torch.equal, weights(train(without, Drawing)), weights(train(beside, Drawing))))


@pytest.mark.long
@pytest.mark.slow
def test_own_optimizer_schedule_and_torchmetrics(session_for: SessionFor) -> None:
    from torchmetrics.classification import MulticlassF1Score

    class Own(Toy):
        def optimizer(self, model: nn.Module, config: Any) -> Any:
            return torch.optim.Adam(model.parameters(), lr=config["optim"]["rate"])

        def schedule(self, progress: float, config: Any) -> float:
            return 1.0 - progress / 2

        def metrics(self) -> dict[str, Any]:
            return {"f1": MulticlassF1Score(3)}

        def metric_inputs(self, outputs: Any, batch: Any) -> tuple[Tensor, ...]:
            return outputs["logits"], batch["label"]

    changed = config(optim={"name": "mine", "rate": 0.01}, train__report_every=4)
    whole = session_for(changed, max_length=1)
    expected = weights(train(whole, Own))
    rates = [row["optim/lr"] for _, row in whole.steps if "optim/lr" in row]
    assert rates == pytest.approx([0.01 * (1 - step / 16) for step in range(8)])
    assert 0 <= whole.reports[-1]["val/f1"] <= 1
    first = session_for(changed, max_length=1, checkpoints=True, stop_when=at_step(4))
    run_until_stopped(first, Own)
    second = session_for(changed, max_length=1, resume_from=first.checkpoint_path(4))
    assert all(map(torch.equal, expected, weights(train(second, Own))))


def test_half_precision_with_a_scaler(session_for: SessionFor) -> None:
    changed = config(train__precision="fp16", train__clip=1.0)
    whole = session_for(changed)
    expected = weights(train(whole))
    first = session_for(changed, checkpoints=True, stop_when=at_step(8))
    run_until_stopped(first)
    second = session_for(changed, resume_from=first.checkpoint_path(8))
    assert all(map(torch.equal, expected, weights(train(second))))


@pytest.mark.parametrize(
    ("loss", "found"),
    [(lambda _: torch.ones(4), r"shape \[4\]"), (lambda _: 0.5, "a float")],
    ids=["vector", "float"],
)
def test_a_loss_that_is_no_scalar_is_named(session_for: SessionFor, loss: Any, found: str) -> None:
    class Odd(Toy):
        def loss(self, outputs: Any, batch: Any) -> Any:
            return loss(outputs)

    with pytest.raises(ValueError, match=rf"Odd.loss gives {found}, not a scalar tensor; .*loss.mean\(\)"):
        run_task(Odd, session_for(config()))


@pytest.mark.parametrize(
    ("scores", "metric", "words"),
    [
        ({"accuracy": 0.9}, None, r"Odd.scores: accuracy is float, not \[8\]; give one value per sample"),
        ({"accuracy": torch.tensor(0.9)}, None, r"Odd.scores: accuracy is \[\], not \[8\]"),
        (torch.ones(8), None, "Odd.scores gives a Tensor, not a dict of named scores"),
        ({}, torch.ones(3), r"Odd.metrics: f1 computes \[3\], not one number; average over classes"),
    ],
    ids=["float", "mean", "no dict", "vector"],
)
def test_a_score_or_metric_that_is_none_is_named(
    session_for: SessionFor, scores: Any, metric: Any, words: str
) -> None:
    class Computes:
        def reset(self) -> None: ...

        def update(self, *inputs: Any) -> None: ...

        def compute(self) -> Any:
            return metric

        def to(self, _: Any) -> Any:
            return self

    class Odd(Toy):
        def scores(self, outputs: Any, batch: Any) -> Any:
            return scores

        def metrics(self) -> Any:
            return {} if metric is None else {"f1": Computes()}

        def metric_inputs(self, outputs: Any, batch: Any) -> Any:
            return ()

    with pytest.raises(ValueError, match=words):
        run_task(Odd, session_for(config()))


def test_run_local_takes_tasks_only() -> None:
    with pytest.raises(TypeError, match="needs Ray"):
        run_local(lambda config: None, config(), max_length=1)  # type: ignore[arg-type]


def test_the_old_spelling_of_the_optimizer_hook_is_refused() -> None:
    with pytest.raises(TypeError, match="this hook is spelled `optimizer`"):
        type("Old", (Task,), {"optimiser": lambda self, model, config: None})
