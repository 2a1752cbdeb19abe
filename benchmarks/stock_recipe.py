"""The trials as Ray's documentation nests them: a Tuner over a driver function that fits a TorchTrainer each.

https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html, with the settings that Ray
comes with. Two things are chosen in its favour: Ray is told of one CPU more than there are slots, so that the
driver functions' share of 0.01 CPU does not keep a trial from starting, and no checkpoints are taken.
Started by `turnaround.py`, which ends it when it hangs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

HERE = Path(__file__).parent


def train_fn_per_worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    from stamped import train

    train(config["cell"], Path(config["stamps"]), config["trial"], {}, ray.train.report)


def train_driver_fn(config: dict[str, Any]) -> None:
    """What each Tune trial runs."""
    trainer = TorchTrainer(
        train_fn_per_worker,
        train_loop_config=config["loop"],
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def main(cells_file: str, stamps: str, slots: str) -> None:
    """`cells_file`: [{"trial", "config"}, ...]; `stamps`: where the times go; `slots`: trials at a time."""
    cells = json.loads(Path(cells_file).read_text())
    storage = str(Path(cells_file).parent / "stock")
    ray.init(
        address="local",
        num_cpus=int(slots) + 1,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ["PYTHONPATH"]])}},
    )
    loops = [{"cell": cell["config"], "trial": cell["trial"], "stamps": stamps} for cell in cells]
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(train_driver_fn, {"CPU": 0.01}),
        param_space={"loop": ray.tune.grid_search(loops), "storage": storage},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=int(slots)),
        run_config=ray.tune.RunConfig(storage_path=storage, name="tune"),
    )
    errors = tuner.fit().errors
    if errors:
        raise SystemExit(f"{len(errors)} trials failed: {errors[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
