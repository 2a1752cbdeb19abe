"""Lightning's own loop under a study: reports, exact resume, curves, monitors, and where it stops."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.training.session import TrialStopped
from orchestrator.training.sink import Silent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning"),
    pytest.mark.filterwarnings("ignore"),  # what Lightning says about loaders and torch about Lightning
]

CONFIG: dict[str, Any] = {
    "model": {"hidden": 16, "dropout": 0.2},
    "optim": {"lr": 3e-3},
    "data": {"batch_size": 128},
    "trainer": {"gradient_clip_val": 1.0},
    "seed": 3,
    "max_length": 3,
}


class Noting(Silent):
    """A sink that keeps scalars."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[int, float]] = {}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.seen.setdefault(name, {})[step] = value


class Trial:
    """A trial of the example; checkpoint n lies in folder/n."""

    def __init__(self, folder: Path, **place: Any) -> None:
        from orchestrator.training.lightning.callbacks import LightningPlace
        from orchestrator.training.lightning.fit import Lit, fit
        from trials.lightning_digits import DigitsData, LitDigits

        self.rows: list[dict[str, Any]] = []
        self.folder, self.sink = folder, Noting()
        self.stop_at = place.pop("stop_at", None)
        given = {"config": CONFIG, "unit": "epoch", "max_length": 3, "sink": self.sink, **place}
        self.weights: list[torch.Tensor] = []
        with suppress(TrialStopped):
            module = fit(
                Lit(LitDigits, DigitsData),
                LightningPlace(report=self.report, complete=self.complete, **given),
            )
            self.weights = [value.detach().clone() for value in module.state_dict().values()]

    def report(self, metrics: Mapping[str, Any], save: Any) -> None:
        self.rows.append(dict(metrics))
        if save is not None:
            target = self.folder / str(len(self.rows))
            target.mkdir(parents=True)
            save(target)
        if len(self.rows) == self.stop_at:
            raise TrialStopped("by a rule")

    def complete(self) -> bool:
        return len(self.rows) >= 3


def test_every_epoch_is_reported_and_resumes_exactly(tmp_path: Path) -> None:
    whole = Trial(tmp_path / "whole")
    assert [(row["epoch"], row["step"]) for row in whole.rows] == [(1, 12), (2, 24), (3, 36)]
    assert set(whole.rows[0]) == {"epoch", "step", "train_loss", "val_loss", "val_acc"}
    for done in (1, 2):
        torch.rand(done)
        rest = Trial(tmp_path / f"from-{done}", resume=tmp_path / "whole" / str(done))
        assert rest.rows == whole.rows[done:]
        assert all(map(torch.equal, rest.weights, whole.weights))
    other = Trial(tmp_path / "other", config={**CONFIG, "seed": 4})
    assert other.rows != whole.rows


def test_units_stops_and_passes_inside_an_epoch(tmp_path: Path) -> None:
    by_report = Trial(tmp_path / "report", unit="report")
    assert [row["epoch"] for row in by_report.rows] == [1, 2, 3]
    by_step = Trial(tmp_path / "step", unit="step", max_length=24)
    assert [row["step"] for row in by_step.rows] == [12, 24]
    stopped = Trial(tmp_path / "stopped", stop_at=1)
    assert (len(stopped.rows), stopped.weights) == (1, [])
    assert (tmp_path / "stopped" / "1" / "lightning.ckpt").exists()
    often = {**CONFIG, "trainer": {"val_check_interval": 6}}
    inside = Trial(tmp_path / "inside", config=often, max_length=1)
    assert [row["step"] for row in inside.rows] == [6, 12]
    assert not (tmp_path / "inside" / "1").exists()  # a checkpoint at the end of the epoch only
    assert (tmp_path / "inside" / "2").exists()


def test_curves_and_monitors(tmp_path: Path) -> None:
    trial = Trial(tmp_path, monitors=("throughput", "gradients"))
    assert sorted(trial.sink.seen["train_loss"]) == [10, 20, 30]
    assert "val_loss" not in trial.sink.seen  # it is reported, and in the curves by that
    assert sorted(trial.sink.seen["gradients/norm"]) == [1, 20]
    assert trial.sink.seen["time/samples_per_s"][20] > 0
    with pytest.raises(ValueError, match="monitor confusion looks at a Task's samples or predictions"):
        Trial(tmp_path / "odd", monitors=("confusion",))


def test_experiment_takes_what_tensorboard_takes() -> None:
    from orchestrator.training.lightning.curves import Experiment

    sink = Noting()
    pictures: list[Any] = []
    sink.image = lambda tag, image, step: pictures.append(image)  # type: ignore[method-assign,misc,assignment]
    experiment = Experiment(sink)
    experiment.add_scalar("a", torch.tensor(1.5), 3)
    experiment.add_scalars("b", {"c": 2}, 4)
    experiment.add_image("d", torch.ones(3, 4, 5), 1)
    experiment.add_image("e", torch.zeros(4, 5), 1, dataformats="HW")
    assert sink.seen == {"a": {3: 1.5}, "b/c": {4: 2.0}}
    assert [(p.shape, int(p.max()), str(p.dtype)) for p in pictures] == [
        ((4, 5, 3), 255, "uint8"),
        ((4, 5, 1), 0, "uint8"),
    ]
