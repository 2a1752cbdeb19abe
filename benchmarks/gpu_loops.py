"""Three loops over one network in bf16, ours, a plain one, Lightning's, with and without `torch.compile`.

Started by `gpu.py`, one process for each run: `gpu_loops.py WAY COMPILED DEVICE SIZE` prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gpu_trial import TOKENS, Network, loss_of, tables
from loaded import rate
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from orchestrator import Task
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task

LR = 1e-4


@dataclass(frozen=True)
class Size:
    """Of the network and the data; `epochs`: the first and the last do not count."""

    width: int
    layers: int
    context: int
    samples: int
    batch: int
    epochs: int

    def network(self) -> Network:
        """The same weights in every loop."""
        torch.manual_seed(0)
        return Network(self.width, self.layers, self.context)

    def tables(self) -> dict[str, Tensor]:
        """Training and validation."""
        return tables(self.samples, self.context)


SIZES = {"whole": Size(512, 8, 128, 8192, 64, 6), "tiny": Size(16, 1, 8, 40, 8, 3)}
STAMPS: list[float] = []
"""When the forward passes of training began."""


class _Ours(Task):
    """The built-in loop's."""

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        found = SIZES[config["data"]["size"]].tables()
        return {part: {TOKENS: tokens, "id": torch.arange(len(tokens))} for part, tokens in found.items()}

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        return SIZES[config["data"]["size"]].network()

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if model.training:
            STAMPS.append(time.perf_counter())
        return {"logits": model(batch[TOKENS][:, :-1])}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return loss_of(outputs["logits"], batch[TOKENS])


def ours(name: str, compiled: bool, device: torch.device) -> None:
    """`run_task`; it measures on the validation set after every epoch, as the others do."""
    size = SIZES[name]
    config = {
        "seed": 0,
        "data": {"size": name, "batch_size": size.batch},
        "optim": {"name": "adamw", "lr": LR},
        "train": {"precision": "bf16", "compile": compiled, "val_batch_every": 0},
    }
    run_task(_Ours, LocalSession(config, size.epochs, "", device=device))


def plain(name: str, compiled: bool, device: torch.device) -> None:
    """The loop of torch's tutorials, at its fastest: all data on the device, no value fetched in between."""
    size = SIZES[name]
    model = size.network().to(device)
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), LR, fused=device.type == "cuda")
    train, val = (tokens.to(device) for tokens in size.tables().values())
    for _ in range(size.epochs):
        model.train()
        order = torch.randperm(len(train), device=device)
        for rows in order[: len(order) // size.batch * size.batch].split(size.batch):
            STAMPS.append(time.perf_counter())
            batch = train[rows]
            with torch.autocast(device.type, torch.bfloat16):
                loss = loss_of(model(batch[:, :-1]), batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            total = sum(loss_of(model(batch[:, :-1]), batch) for batch in val.split(size.batch))
        float(total)


def lightning(name: str, compiled: bool, device: torch.device) -> None:
    """Lightning's Trainer with torch's loader, without a progress bar, a logger or checkpoints."""
    import lightning.pytorch as L  # noqa: N812 - the usual name

    size = SIZES[name]

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = size.network()
            if compiled:
                self.model.compile()

        def training_step(self, batch: Any, _: int) -> Tensor:
            STAMPS.append(time.perf_counter())
            return loss_of(self.model(batch[0][:, :-1]), batch[0])

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val/loss", loss_of(self.model(batch[0][:, :-1]), batch[0]))

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), LR, fused=device.type == "cuda")

    workers = 0 if name == "tiny" else 2
    kept: dict[str, Any] = {
        "batch_size": size.batch,
        "num_workers": workers,
        "pin_memory": device.type == "cuda",
    }
    kept |= {"persistent_workers": True} if workers else {}
    train, val = (TensorDataset(tokens) for tokens in size.tables().values())
    trainer = L.Trainer(
        max_epochs=size.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        num_sanity_val_steps=0,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Module(), DataLoader(train, shuffle=True, drop_last=True, **kept), DataLoader(val, **kept))


WAYS = {"ours": ours, "plain": plain, "lightning": lightning}


def main(way: str, compiled: str, device: str, name: str) -> None:
    """Run one, and print what was seen."""
    size, began = SIZES[name], time.perf_counter()
    WAYS[way](name, compiled == "compiled", torch.device(device))
    found = {
        "samples_per_s": rate(STAMPS, size.batch, size.epochs),
        "first_step_s": STAMPS[0] - began,
        "steps": len(STAMPS),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
