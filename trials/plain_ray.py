"""A plain Ray Train function as in Ray Train's PyTorch tutorial; it knows nothing of the orchestrator.

Config keys: model.{width, dropout}, data.batch_size (per worker), optim.{lr, weight_decay}; `seed` and
`max_length` (epochs) are added for every trial.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import DataLoader, TensorDataset


def train(config: dict[str, Any]) -> None:
    """Train a classifier of handwritten digits for `config["max_length"]` epochs, on one worker or more."""
    seed = int(config["seed"])
    torch.manual_seed(seed)
    rank = ray.train.get_context().get_world_rank()
    train_set, val_set = load_data(seed)
    shuffle = torch.Generator()
    train_loader = ray.train.torch.prepare_data_loader(
        DataLoader(train_set, batch_size=config["data"]["batch_size"], shuffle=True, generator=shuffle)
    )
    val_images, val_labels = (part.to(ray.train.torch.get_device()) for part in val_set.tensors)

    model = build_model(config)
    start = 0
    checkpoint = ray.train.get_checkpoint()
    saved: dict[str, Any] = {}
    if checkpoint:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(saved["model"])
        start = saved["epoch"]
    model = ray.train.torch.prepare_model(model)
    optim = config["optim"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=optim["lr"], weight_decay=optim["weight_decay"])
    if saved:
        optimizer.load_state_dict(saved["optimizer"])

    for epoch in range(start, int(config["max_length"])):
        # An epoch's order and dropout follow from the seed and the epoch: a resumed run takes the same ones.
        shuffle.manual_seed(seed * 10_000 + epoch)
        if ray.train.get_context().get_world_size() > 1:
            train_loader.sampler.set_epoch(seed * 10_000 + epoch)
        torch.manual_seed((seed * 10_000 + epoch) * 1_000 + rank)
        metrics = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * len(train_loader),
            "train/loss": train_epoch(model, optimizer, train_loader),
            **evaluate(model, val_images, val_labels),
        }
        report(metrics, model, optimizer, rank)


def load_data(seed: int) -> tuple[TensorDataset, TensorDataset]:
    """Training (80 %) and validation set: images [N, 64] float32 in [0, 1], labels [N] int64."""
    digits = load_digits()
    images = torch.from_numpy(digits.data).float() / 16.0
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    cut = int(0.8 * len(order))
    train_rows, val_rows = order[:cut], order[cut:]
    return TensorDataset(images[train_rows], labels[train_rows]), TensorDataset(
        images[val_rows], labels[val_rows]
    )


def build_model(config: dict[str, Any]) -> nn.Module:
    """[B, 64] -> [B, 10]."""
    width = int(config["model"]["width"])
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Dropout(float(config["model"]["dropout"])), nn.Linear(width, 10)
    )


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, loader: Any) -> float:
    """One pass over this worker's share; returns its mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss and accuracy on the whole validation set, the same on every worker."""
    model.eval()
    logits = model(images)
    return {
        "val/loss": F.cross_entropy(logits, labels).item(),
        "val/accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
    }


def report(metrics: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, rank: int) -> None:
    """Report an epoch, with a checkpoint from rank 0."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
            state = {
                "model": inner.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": metrics["epoch"],
            }
            torch.save(state, Path(folder) / "state.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)
