"""Gradient boosting on the 442 diabetes patients that scikit-learn ships: no gradient, no GPU, no Task.

Any function that reports can be ablated; this one reports after every stage of trees. It saves no checkpoint,
so an interrupted trial starts afresh, which costs it less than a second.

Config keys: model.{depth, rate, row_share, column_share, trees_per_stage, loss}, data.{leave_out,
wrong_targets, columns}; `seed` and `max_length` (stages) are added for every trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray.train
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import r2_score, root_mean_squared_error

Floats = NDArray[np.float64]

TRAIN_SHARE = 0.75
COLUMN_ORDERS = ("as-is", "reversed")


def train(config: dict[str, Any]) -> None:
    """Grow `config["max_length"]` stages of trees, one report per stage."""
    for metrics in stages(config):
        ray.train.report(metrics)


def stages(config: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """{"stage", "train/rmse", "val/rmse", "val/r2"} after every stage; errors in units of progression."""
    patients = load_patients(config["data"], int(config["seed"]))
    settings = config["model"]
    model = GradientBoostingRegressor(
        loss=settings["loss"],
        learning_rate=settings["rate"],
        max_depth=settings["depth"],
        subsample=settings["row_share"],
        max_features=settings["column_share"],
        random_state=int(config["seed"]),
        warm_start=True,  # a larger n_estimators adds trees to those that are there
    )
    for stage in range(1, int(config["max_length"]) + 1):
        model.set_params(n_estimators=stage * settings["trees_per_stage"])
        model.fit(patients.train_x, patients.train_y)
        predicted = model.predict(patients.val_x)
        yield {
            "stage": stage,
            "train/rmse": root_mean_squared_error(patients.train_y, model.predict(patients.train_x)),
            "val/rmse": root_mean_squared_error(patients.val_y, predicted),
            "val/r2": r2_score(patients.val_y, predicted),
        }


@dataclass(frozen=True)
class Patients:
    """Training and validation set: x [N, F], y [N] (progression after a year, 25 to 346)."""

    train_x: Floats
    train_y: Floats
    val_x: Floats
    val_y: Floats


def load_patients(data: Mapping[str, Any], seed: int) -> Patients:
    """Return the seed's split, with what config["data"] does to it; the validation targets are never touched.

    Raises:
        ValueError: `leave_out` names a column that there is not, or `columns` an order.
    """
    table = load_diabetes()
    kept = _kept_columns(list(table.feature_names), data)
    split, errors = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
    order = split.permutation(len(table.target))
    cut = int(TRAIN_SHARE * len(order))
    train_y = _with_wrong_targets(table.target[order[:cut]], float(data["wrong_targets"]), errors)
    x = table.data[:, kept]
    return Patients(x[order[:cut]], train_y, x[order[cut:]], table.target[order[cut:]])


def _kept_columns(names: list[str], data: Mapping[str, Any]) -> list[int]:
    """Return indices of the columns in the order asked for."""
    unknown = sorted(set(data["leave_out"]) - set(names))
    if unknown:
        raise ValueError(f"data.leave_out names {', '.join(unknown)}; valid: {', '.join(names)}")
    if data["columns"] not in COLUMN_ORDERS:
        raise ValueError(f"data.columns is {data['columns']!r}; valid: {', '.join(COLUMN_ORDERS)}")
    kept = [index for index, name in enumerate(names) if name not in data["leave_out"]]
    return kept[::-1] if data["columns"] == "reversed" else kept


def _with_wrong_targets(targets: Floats, share: float, draws: np.random.Generator) -> Floats:
    """Let a `share` of the targets [N] change places among themselves, at random."""
    rows = draws.permutation(len(targets))[: round(share * len(targets))]
    changed = targets.copy()
    changed[rows] = targets[draws.permutation(rows)]
    return changed
