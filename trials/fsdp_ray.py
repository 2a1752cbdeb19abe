"""FSDP (`fully_shard`) as a plain Ray Train function; it knows nothing of the orchestrator.

Parameters and optimizer state are split over the workers, each of which stores its own part of a checkpoint.
Config keys: model.{width, depth}, data.batch_size (per worker), optim.{lr, weight_decay}; `seed` and
`max_length` (epochs) are added for every trial.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed.checkpoint as dcp
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F  # noqa: N812 - the usual name


def train(config: dict[str, Any]) -> None:
    """Train a classifier of handwritten digits for `config["max_length"]` epochs, on two workers or more."""
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    seed = int(config["seed"])
    train_images, train_labels, val_images, val_labels = (part.to(device) for part in load_data(seed))

    torch.manual_seed(seed)  # the same weights on every worker, before they are split
    model = shard(build_model(config).to(device), world_size)
    optim = config["optim"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=optim["lr"], weight_decay=optim["weight_decay"])
    start = resume(model, optimizer)

    for epoch in range(start, int(config["max_length"])):
        # An epoch's order and dropout follow from the seed and the epoch: a resumed run takes the same ones.
        torch.manual_seed((seed * 10_000 + epoch) * 1_000 + rank)
        order = torch.randperm(
            len(train_labels), generator=torch.Generator().manual_seed(seed * 10_000 + epoch)
        )
        model.train()
        for rows in batches(order, config["data"]["batch_size"], rank, world_size):
            loss = F.cross_entropy(model(train_images[rows]), train_labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        report({"epoch": epoch + 1, **evaluate(model, val_images, val_labels)}, model, optimizer)


def load_data(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training (80 %) and validation set: images [N, 64] float32 in [0, 1] and labels [N] int64, of each."""
    digits = load_digits()
    images = torch.from_numpy(digits.data).float() / 16.0
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    cut = int(0.8 * len(order))
    train_rows, val_rows = order[:cut], order[cut:]
    return images[train_rows], labels[train_rows], images[val_rows], labels[val_rows]


def build_model(config: dict[str, Any]) -> nn.Sequential:
    """[B, 64] -> [B, 10]."""
    width, depth = int(config["model"]["width"]), int(config["model"]["depth"])
    blocks = [
        nn.Sequential(nn.Linear(64 if i == 0 else width, width), nn.ReLU(), nn.Dropout(0.1))
        for i in range(depth)
    ]
    return nn.Sequential(*blocks, nn.Linear(width, 10))


def shard(model: nn.Sequential, world_size: int) -> nn.Sequential:
    """Split every block's parameters over the workers, in place."""
    mesh = init_device_mesh(ray.train.torch.get_device().type, (world_size,))
    for block in model:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def batches(order: Tensor, batch_size: int, rank: int, world_size: int) -> Iterator[Tensor]:
    """Yield this worker's rows of each batch, [batch_size]; the last, incomplete batch is left out."""
    step = batch_size * world_size
    for first in range(0, len(order) - step + 1, step):
        yield order[first + rank * batch_size : first + (rank + 1) * batch_size]


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss and accuracy on the whole validation set, the same on every worker."""
    model.eval()
    logits = model(images)
    return {
        "val/loss": F.cross_entropy(logits, labels).item(),
        "val/accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
    }


def resume(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint, if there is one, each worker its part; returns the epochs that are done."""
    checkpoint = ray.train.get_checkpoint()
    if not checkpoint:
        return 0
    weights, state = get_state_dict(model, optimizer)
    saved = {"model": weights, "optimizer": state, "epoch": 0}
    with checkpoint.as_directory() as folder:
        dcp.load(saved, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=saved["model"], optim_state_dict=saved["optimizer"])
    return int(saved["epoch"])


def report(metrics: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Report an epoch, with every worker's part of the checkpoint."""
    weights, state = get_state_dict(model, optimizer)
    with tempfile.TemporaryDirectory() as folder:
        # worker 0 also writes the table of contents; each has a directory of its own, on its own machine
        dcp.save(
            {"model": weights, "optimizer": state, "epoch": metrics["epoch"]},
            storage_writer=dcp.FileSystemWriter(Path(folder)),
        )
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
