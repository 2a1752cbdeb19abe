"""Ray's documented recipe for workers of a trial: a Tuner over a function that fits a TorchTrainer.

https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html, with the settings that Ray
comes with. Two things are chosen in its favour: Ray is told of one CPU more than the workers need, so that
the driver functions' share of 0.01 CPU keeps no trial from starting, and no checkpoints are taken. Variants:
`fifo` and `asha`, the scheduler. It is known to hang; then the time limit of the runner ends it, and the
table says so.
"""

from __future__ import annotations

from typing import Any

from peercase import AT_A_TIME, from_arguments
from ray_tuner import run_tuner


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
    run_tuner(case, variant, train_driver_fn, 0.01, num_cpus=AT_A_TIME * case.workers + 1)


if __name__ == "__main__":
    main()
