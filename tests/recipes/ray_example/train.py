"""In the form of Ray's examples: a function for each worker, and a trainer that the script itself starts."""

import random

import ray.train
from ray.train import ScalingConfig


def train_func(config):
    """Estimate a mean by gradient descent."""
    rng = random.Random(config["seed"])
    data = [rng.gauss(3, 1) for _ in range(200)]
    estimate = 0.0
    for epoch in range(config["max_length"]):
        for value in data:
            estimate -= config["lr"] * (estimate - value - (0 if config["centred"] else 1))
        ray.train.report({"epoch": epoch + 1, "error": abs(estimate - 3)})


if __name__ == "__main__":
    from ray.train.data_parallel_trainer import DataParallelTrainer

    settings = {"lr": 0.02, "centred": True, "seed": 0, "max_length": 3}
    trainer = DataParallelTrainer(
        train_func, train_loop_config=settings, scaling_config=ScalingConfig(num_workers=1)
    )
    trainer.fit()
