"""The plain Ray Train function of the examples; rank 1 goes wrong in epoch 3 as config["fault"] says."""

from __future__ import annotations

import os
from typing import Any

import ray.train

from trials import plain_ray

FAULT_EPOCH = 3


def train(config: dict[str, Any]) -> None:
    real, epochs = plain_ray.train_epoch, 0

    def train_epoch(*arguments: Any) -> float:
        nonlocal epochs
        epochs += 1
        if epochs == FAULT_EPOCH and ray.train.get_context().get_world_rank() == 1:
            go_wrong(config)
        return real(*arguments)  # rank 0 waits in the exchange of the gradients

    plain_ray.train_epoch = train_epoch
    try:
        plain_ray.train(config)
    finally:
        plain_ray.train_epoch = real


def go_wrong(config: dict[str, Any]) -> None:
    if config["fault"] == "raises":
        raise ValueError("rank 1 alone")
    if config["fault"] == "dies":
        ray.train.get_all_reported_checkpoints()  # waits until they are stored
        os._exit(9)
