"""Step 4: ten samples, regularisers off, and the loss goes to zero, or data, model and loss do not fit together."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from {{package}}.training import Recipe

CONFIG = {
    "seed": 0,
    "max_length": 1,
    "data": {"samples": 1500, "noise": 0.15, "batch_size": 10, "jitter": 0.0},
    "model": {"width": 64, "depth": 3, "batchnorm": False, "dropout": 0.0},
}


def test_overfits_ten_samples() -> None:
    torch.manual_seed(0)
    task = Recipe(CONFIG)
    batch = {name: column[:10] for name, column in task.build_data(CONFIG)["train"].items()}
    model = task.build_model(CONFIG)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        loss = task.loss(model(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-2
    assert task.scores(model(batch), batch)["accuracy"].mean() == 1.0
