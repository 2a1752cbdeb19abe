"""What monitors write, and that nothing else changes by it."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from memorysink import MemorySink
from torch import Tensor
from toy import Toy, config, train, weights
from watched import SEEN, Bright, KnownToy, fixed, watch

from orchestrator.study.names import BUILT_IN
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task
from orchestrator.training.monitors import Monitor, Seen, Unfit
from orchestrator.training.monitors.catalogue import CLASSES

SessionFor = Callable[..., LocalSession]


class Noted(Monitor):
    """Notes what it is told, and draws random numbers while at it."""

    told: ClassVar[list[tuple[Any, ...]]] = []

    def start(self) -> None:
        self.told.clear()

    def after_backward(self, step: int) -> None:
        torch.rand(3)
        assert all(p.grad is not None for p in self.run.model.parameters())
        self.told.append(("backward", step))

    def after_step(self, step: int) -> None:
        torch.rand(3)
        self.told.append(("step", step))

    def validation_start(self) -> None:
        self.told.append(("start", self.run.model.training))

    def validation_batch(self, seen: Seen) -> None:
        torch.rand(3)
        self.told.append(("batch", len(seen.indices)))

    def predictions(self, predictions: Any) -> None:
        self.told.append(("predictions", len(predictions.target)))

    def validation_end(self, step: int) -> None:
        self.run.model.train()
        self.told.append(("end", step, torch.is_grad_enabled()))


class Never(Monitor):
    def start(self) -> None:
        raise Unfit("it is Sunday")


class Faulty(Monitor):
    def after_step(self, step: int) -> None:
        raise RuntimeError("oh")


def here(monitor: type[Monitor]) -> str:
    return f"{__name__}:{monitor.__name__}"


def test_the_names_are_those_of_the_study_file() -> None:
    assert list(CLASSES) == list(BUILT_IN)


ALL = tuple(name for name in BUILT_IN if name not in ("gradcam", "visualize"))


@pytest.mark.parametrize("monitors", ["auto", ALL, (here(Noted),)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_is_the_same_bit_for_bit(session_for: SessionFor, monitors: Any, precision: str) -> None:
    changed = config(train__monitor_every=1, train__precision=precision, train__clip=0.5)
    without, watched = session_for(changed), session_for(changed, monitors=monitors)
    expected, got = weights(train(without, KnownToy)), weights(train(watched, KnownToy))
    assert all(map(torch.equal, expected, got))
    assert without.reports == watched.reports


def test_hooks_come_in_their_order(session_for: SessionFor) -> None:
    session = session_for(config(train__monitor_every=1), max_length=3, monitors=(here(Noted),))
    train(session, KnownToy)
    told = Noted.told
    assert [entry for entry in told if entry[0] in ("backward", "step")] == [
        ("backward", 1), ("step", 1), ("backward", 20), ("step", 20),
    ]  # fmt: skip
    first = told.index(("start", True))
    assert told[first : first + 7] == [
        ("start", True), *[("batch", n) for n in (8, 8, 8, 1)], ("predictions", 25), ("end", 8, False),
    ]  # fmt: skip


@pytest.mark.parametrize(("every", "passes"), [(1, [8, 16, 24]), (2, [16, 24]), ("auto", [24])])
def test_which_passes_are_seen(session_for: SessionFor, every: Any, passes: list[int]) -> None:
    session = session_for(config(train__monitor_every=every), max_length=3, monitors=(here(Noted),))
    train(session, KnownToy)
    assert [entry[1] for entry in Noted.told if entry[0] == "end"] == passes


def test_no_monitors_write_nothing(session_for: SessionFor) -> None:
    sink = watch(KnownToy, session_for(config(), monitors=()))
    assert {entry.kind for entry in sink.entries} == {"scalars"}
    names = set(sink.last_scalars())
    assert names == {"train/batch_loss", "optim/lr", "optim/momentum", "optim/weight_decay"}


def test_a_task_without_a_kind_has_the_monitors_that_need_none(session_for: SessionFor) -> None:
    sink = watch(Toy, session_for(config(), monitors="auto"))
    tags = {entry.tag for entry in sink.entries}
    assert tags == {"", "best_worst", "samples/best", "samples/worst", "predictions/logits"}


def test_gradients_and_throughput(session_for: SessionFor) -> None:
    class Clipped(KnownToy):
        pass

    sink = watch(Clipped, session_for(config(), monitors=("gradients", "gradient_histograms", "throughput")))
    values = sink.last_scalars()
    low, mean, high = (values[f"gradients/body.0.weight/{name}"] for name in ("min", "mean", "max"))
    histogram = sink.of("histogram", "gradients/body.0.weight")[-1]
    assert (low, high) == (histogram.min(), histogram.max())
    assert mean == pytest.approx(histogram.mean(), abs=1e-8)
    layers = {entry.tag for entry in sink.entries if entry.kind == "histogram"}
    squares = sum((sink.of("histogram", tag)[-1].astype("float64") ** 2).sum() for tag in layers)
    assert values["gradients/norm"] == pytest.approx(math.sqrt(squares), rel=1e-6)
    assert 0 < values["time/data_share"] < 1
    assert values["time/samples_per_s"] == pytest.approx(8 * 1000 / values["time/step_ms"])


def test_a_named_monitor_that_does_not_fit_is_refused(session_for: SessionFor) -> None:
    with pytest.raises(
        ValueError, match=r"confusion watches tasks whose kind is classification or segm.*None"
    ):
        train(session_for(config(), monitors=("confusion",)), Toy)
    with pytest.raises(ValueError, match=r"Never cannot watch this trial: it is Sunday"):
        train(session_for(config(), monitors=(here(Never),)), Toy)
    with pytest.raises(ValueError, match=r"no monitor 'gradient'; did you mean gradients\?"):
        train(session_for(config(), monitors=("gradient",)), Toy)
    with pytest.raises(TypeError, match=r"is not a subclass of orchestrator.Monitor"):
        train(session_for(config(), monitors=("toy:Toy",)), Toy)


def test_an_error_says_which_monitor_raised_it(session_for: SessionFor) -> None:
    with pytest.raises(RuntimeError, match="oh") as caught:
        run_task(Toy, session_for(config(), monitors=(here(Faulty),)))
    assert "Faulty in after_step" in caught.value.__notes__[0]


def test_unclear_predictions_are_told_and_mended_by_metric_inputs(session_for: SessionFor) -> None:
    class Renamed(KnownToy):
        def forward(self, model: Any, batch: Any) -> Any:
            outputs = super().forward(model, batch)
            return {"one": outputs["logits"], "two": outputs["logits"], **outputs} if self.clear else outputs

        clear = False

        def loss(self, outputs: Any, batch: Any) -> Tensor:
            return super().loss(outputs, {**batch, "label": batch["digit"]})

        def build_data(self, config: Any) -> Any:
            table = super().build_data(config)["all"]
            return {"all": {"x": table["x"], "digit": table["label"]}}

        def scores(self, outputs: Any, batch: Any) -> Any:
            return {}

    with pytest.raises(ValueError, match=r"metrics cannot watch .*\(logits\) and its batch \(x, digit, id\)"):
        train(session_for(config(), monitors=("metrics",)), Renamed)
    sink = watch(Renamed, session_for(config(), monitors="auto"))
    assert "no clear predictions" in sink.of("text", "monitors/metrics")[0]

    class Mended(Renamed):
        def metric_inputs(self, outputs: Any, batch: Any) -> tuple[Tensor, ...]:
            return outputs["logits"], batch["digit"]

    assert "metrics/f1_macro" in watch(Mended, session_for(config(), monitors=("metrics",))).last_scalars()


# --- values ----------------------------------------------------------------------------------------------


def rows(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(SEEN, *shape, generator=generator)


def classes(count: int, *shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(0, count, (SEEN, *shape), generator=generator)


def data_of(task_class: Any) -> tuple[Tensor, Tensor]:
    table = task_class({"seed": 0}).build_data({})["val"]
    return table["scores"], table["label"]


def measured(task_class: Any, session_for: SessionFor, *monitors: str) -> MemorySink:
    return watch(task_class, session_for(config(), max_length=1, monitors=monitors))


@pytest.mark.slow
def test_metrics_of_classes_are_those_of_torchmetrics(session_for: SessionFor) -> None:
    from torchmetrics.functional import classification as tm

    task = fixed("classification", lambda g: rows(g, 7), classes(6))  # one class never occurs
    got = measured(task, session_for, "metrics").last_scalars()
    scores, target = data_of(task)
    assert got["metrics/accuracy"] == pytest.approx(float(tm.multiclass_accuracy(scores, target, 7, "micro")))
    assert got["metrics/f1_macro"] == pytest.approx(float(tm.multiclass_f1_score(scores, target, 7, "macro")))
    top = tm.multiclass_accuracy(scores, target, 7, "micro", top_k=5)
    assert got["metrics/top5"] == pytest.approx(float(top))
    shares = scores.softmax(1)
    exact = [float(tm.binary_auroc(shares[:, c], (target == c).long())) for c in range(6)]
    assert got["metrics/auc_macro"] == pytest.approx(sum(exact) / 6, abs=5e-3)


def test_metrics_of_pictures_are_those_of_torchmetrics(session_for: SessionFor) -> None:
    from torchmetrics.functional.classification import multiclass_jaccard_index

    task = fixed("segmentation", lambda g: rows(g, 3, 4, 5), classes(3, 4, 5))
    sink = measured(task, session_for, "metrics", "confusion")
    scores, target = data_of(task)
    expected = multiclass_jaccard_index(scores, target, 3, average=None)
    got = sink.last_scalars()
    assert [got[f"metrics/iou/{c}"] for c in range(3)] == pytest.approx(expected.tolist())
    assert got["metrics/miou"] == pytest.approx(float(expected.mean()))
    assert sum(row["count"] for row in sink.of("observe", "confusion")[0]) == int(
        (scores.argmax(1) != target).sum()
    )


def test_metrics_of_labels_are_those_of_torchmetrics(session_for: SessionFor) -> None:
    from torchmetrics.functional import classification as tm

    task = fixed("multilabel", lambda g: rows(g, 4), classes(2, 4))
    got = measured(task, session_for, "metrics").last_scalars()
    scores, target = data_of(task)
    assert got["metrics/accuracy"] == pytest.approx(
        float(tm.multilabel_accuracy(scores, target, 4, average="micro"))
    )
    for average in ("macro", "micro"):
        expected = float(tm.multilabel_f1_score(scores, target, 4, average=average))
        assert got[f"metrics/f1_{average}"] == pytest.approx(expected)
    auc = float(tm.multilabel_auroc(scores, target, 4))
    assert got["metrics/auc_macro"] == pytest.approx(auc, abs=2e-3)


def test_metrics_of_numbers_are_those_of_torchmetrics(session_for: SessionFor) -> None:
    from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score

    task = fixed("regression", lambda g: rows(g), lambda g: rows(g))
    sink = measured(task, session_for, "metrics", "predictions")
    scores, target = data_of(task)
    got = sink.last_scalars()
    assert got["metrics/mae"] == pytest.approx(float(mean_absolute_error(scores, target)))
    assert got["metrics/rmse"] == pytest.approx(float(mean_squared_error(scores, target, squared=False)))
    assert got["metrics/r2"] == pytest.approx(float(r2_score(scores, target)), rel=1e-5)
    residual = (scores - target).sort().values.tolist()
    assert sorted(sink.of("histogram", "predictions/residual")[0]) == pytest.approx(residual)


def test_metrics_of_text_leave_padding_out(session_for: SessionFor) -> None:
    def target(generator: torch.Generator) -> Tensor:
        tokens = torch.randint(0, 9, (SEEN, 5), generator=generator)
        return torch.where(torch.arange(5) < 4, tokens, -100)

    task = fixed("language", lambda g: rows(g, 5, 9), target)
    got = measured(task, session_for, "metrics").last_scalars()
    scores, tokens = data_of(task)
    nats = float(torch.nn.functional.cross_entropy(scores.reshape(-1, 9), tokens.reshape(-1)))
    assert got["metrics/cross_entropy"] == pytest.approx(nats, rel=1e-6)
    assert got["metrics/bits_per_token"] == pytest.approx(nats / math.log(2), rel=1e-6)
    right = (scores.argmax(-1) == tokens)[:, :4].float().mean()
    assert got["metrics/accuracy"] == pytest.approx(float(right))


def test_a_target_out_of_range_is_told(session_for: SessionFor) -> None:
    task = fixed("classification", lambda g: rows(g, 3), classes(5))
    with pytest.raises(
        ValueError, match=r"a target of Fixed is [34], but the outputs have 3 classes \(0 to 2\)"
    ):
        measured(task, session_for, "metrics")


def test_curves_hold_every_decision(session_for: SessionFor) -> None:
    task = fixed("classification", lambda g: rows(g, 3), classes(3))
    sink = measured(task, session_for, "curves")
    _, target = data_of(task)
    for c in range(3):
        curve = sink.of("pr_curve", f"curves/{c}")[0]
        assert len(curve["tp"]) == 127
        assert (curve["tp"][0], curve["fp"][0]) == (int((target == c).sum()), int((target != c).sum()))
        assert set(sum(curve.values())) == {SEEN}
        assert (curve["tp"][1:] <= curve["tp"][:-1]).all()
    assert sink.of("image", "curves/roc")


def test_probabilities_are_taken_as_they_are(session_for: SessionFor) -> None:
    logits = fixed("classification", lambda g: rows(g, 3), classes(3))
    shares = fixed("classification", lambda g: rows(g, 3).softmax(1), classes(3))
    one, two = (
        measured(task, session_for, "curves").of("pr_curve", "curves/1")[0] for task in (logits, shares)
    )
    assert all((one[name] == two[name]).all() for name in one)


def test_grad_cam_looks_where_the_network_looks(session_for: SessionFor) -> None:
    sink = watch(
        Bright, session_for(config(data__batch_size=4, optim__lr=0.0), max_length=1, monitors="auto")
    )
    assert sink.of("image", "gradcam/conv")

    from orchestrator.training.loop import Trainer
    from orchestrator.training.monitors.pictures import GradCam

    session = session_for(config(data__batch_size=4), max_length=1, monitors=("gradcam",))
    trainer = Trainer(Bright(session.config), session)
    trainer._build()
    (monitor,) = trainer.watch.monitors
    assert isinstance(monitor, GradCam)
    heat, chosen = monitor.heat(monitor.run.val.take(torch.arange(4)), torch.Size((6, 6)))
    assert chosen.tolist() == [0, 0, 0, 0]
    assert (heat[:, 4:, 4:] == 1).all()
    assert heat.sum() == 4 * 4
    assert all(p.grad is None for p in trainer.model.parameters())


def test_what_the_task_draws(session_for: SessionFor) -> None:
    sink = watch(Bright, session_for(config(data__batch_size=4), max_length=1, monitors=("visualize",)))
    assert sink.of("image", "visualize/picture")[0].ndim == 3
    assert sink.of("text", "visualize/said")[0].count("**id ") == 4
    with pytest.raises(ValueError, match=r"visualize cannot watch this trial: Toy has no visualize"):
        train(session_for(config(), monitors=("visualize",)), Toy)


def test_generation_shows_its_outputs(session_for: SessionFor) -> None:
    task = fixed("generation", lambda g: rows(g, 4), classes(2))
    sink = measured(task, session_for, "predictions")
    expected = data_of(task)[0].flatten().sort().values.tolist()
    assert sorted(sink.of("histogram", "predictions/logits")[0]) == pytest.approx(expected)
