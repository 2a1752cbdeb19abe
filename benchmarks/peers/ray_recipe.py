"""Ray's documented recipe for workers of a trial: a Tuner over a function that fits a TorchTrainer.

https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html, with the settings that Ray
comes with. Two things are chosen in its favour: Ray is told of one CPU more than the workers need, so that
the driver functions' share of 0.01 CPU keeps no trial from starting, and no checkpoints are taken. Variants:
`fifo` and `asha`, the scheduler. It is known to hang; then the time limit of the runner ends it, and the
table says so.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from peercase import AT_A_TIME, answer, from_arguments


def train_fn_per_worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train
    from peercase import train

    context = ray.train.get_context()

    def report(epoch: int, loss: float) -> bool:
        ray.train.report({"epoch": epoch, "loss": loss})
        return False

    train(config, report, context.get_world_rank(), context.get_world_size())


def train_driver_fn(config: dict[str, Any]) -> None:
    """What each Tune trial runs."""
    import ray.train
    import ray.tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    peer = config["peer"]
    trainer = TorchTrainer(
        train_fn_per_worker,
        train_loop_config=peer,
        scaling_config=ray.train.ScalingConfig(num_workers=peer["workers"], resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def main() -> None:
    case, variant = from_arguments()
    import ray
    from ray import tune

    from_here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=AT_A_TIME * case.workers + 1,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": from_here}},
    )
    asha = tune.schedulers.AsyncHyperBandScheduler(time_attr="epoch", max_t=case.epochs, grace_period=1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(train_driver_fn, {"CPU": 0.01}),
            param_space={"peer": tune.grid_search(case.configs()), "storage": folder},
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                scheduler=asha if variant == "asha" else None,
                max_concurrent_trials=AT_A_TIME,
            ),
            run_config=tune.RunConfig(name="peers", storage_path=folder, verbose=0),
        )
        found = [result for result in tuner.fit() if result.error is None and result.metrics]
    ray.shutdown()
    last = {result.config["peer"]["trial"]: result.metrics for result in found}
    whole = {trial: float(said["loss"]) for trial, said in last.items() if said.get("epoch") == case.epochs}
    answer(whole, len(last) - len(whole))


if __name__ == "__main__":
    main()
