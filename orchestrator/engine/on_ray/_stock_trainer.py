"""A lane on Ray's stock `TorchTrainer`: public names only, more processes, a slower start."""

from __future__ import annotations

from typing import Any

import torch
from ray.train.torch import TorchConfig, TorchTrainer


def lane_trainer(loop: Any, config: dict[str, Any], use_gpu: bool, **configs: Any) -> Any:
    """As `ray_private.trainer.lane_trainer`."""
    backend = "nccl" if use_gpu and torch.version.cuda else "gloo"
    return TorchTrainer(loop, train_loop_config=config, torch_config=TorchConfig(backend=backend), **configs)
