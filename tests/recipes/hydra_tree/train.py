"""A tree of configs with groups, and `key=value` on the command line: least squares on made-up data.

The few lines of `load` stand for `@hydra.main(config_path="conf", config_name="config")`.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf


def load():
    """Return conf/config.yaml with the files of its groups, and what the command line says."""
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    config = OmegaConf.load("conf/config.yaml")
    for group, name in config.pop("defaults").items():
        chosen = words.pop(group, name)
        config[group] = OmegaConf.load(f"conf/{group}/{chosen}.yaml")
    return OmegaConf.merge(config, OmegaConf.from_dotlist([f"{key}={value}" for key, value in words.items()]))


def main(config):
    """Fit by gradient descent; the history is a CSV file."""
    rng = np.random.default_rng(config.seed)
    x = rng.normal(size=(300, 4))
    y = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(0, 0.1, 300)
    if config.model.products:
        x = np.concatenate([x, x[:, [0]] * x[:, 1:], x[:, [1]] * x[:, 2:]], axis=1)
    w = rng.normal(0, 0.1, x.shape[1])
    velocity = np.zeros_like(w)
    with Path("history.csv").open("w", newline="") as file:
        history = csv.writer(file)
        history.writerow(["epoch", "train/mse", "val/mse"])
        for epoch in range(1, config.trainer.epochs + 1):
            error = x[:200] @ w - y[:200]
            velocity = config.optim.momentum * velocity - config.optim.lr * x[:200].T @ error / 200
            w += velocity
            history.writerow([epoch, (error**2).mean(), ((x[200:] @ w - y[200:]) ** 2).mean()])
            file.flush()


if __name__ == "__main__":
    main(load())
