"""A task whose samples are loaded one by one, and draw from every global generator; importable by workers."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, random_split
from toy import FEATURES, SAMPLES, Toy


class Drawing:
    """`SAMPLES` samples, each with noise of its own, which says where it was loaded."""

    def __init__(self) -> None:
        self.x = torch.randn(SAMPLES, FEATURES, generator=torch.Generator().manual_seed(7))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        x = self.x[index]
        noise = random.random() + np.random.rand() + torch.rand(FEATURES)
        return {"x": x + 0.1 * noise, "label": int(x[:3].argmax()), "process": os.getpid()}


class OnDisk(Toy):
    """`Toy` over such a set, split anew by every seed."""

    data_keys = ()
    processes: set[int]

    def build_data(self, config: Any) -> Any:
        return {"all": Drawing()}

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        train, val, test = random_split(data["all"], [65, 15, 10], generator)
        return {"train": train, "val": val, "test": test}

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        seen = getattr(self, "processes", None)
        self.processes = (seen or set()) | set(batch["process"].tolist())
        return super().loss(outputs, batch)


class InWorkers(OnDisk):
    """Augmented where it is loaded."""

    augment_in_workers = True


class Ragged(OnDisk):
    """Samples of different sizes, which its own function makes a batch of."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        return {name: Cut(table) for name, table in super().split_data(data, generator).items()}

    def collate_fn(self, samples: Any) -> Any:
        padded = torch.nn.utils.rnn.pad_sequence([s["x"] for s in samples], batch_first=True)
        padded = torch.nn.functional.pad(padded, (0, FEATURES - padded.shape[1]))
        rest = {name: torch.tensor([s[name] for s in samples]) for name in ("label", "process")}
        return {"x": padded, **rest}


class Cut:
    """Some numbers of each sample."""

    def __init__(self, table: Subset[Any]) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        sample = self.table[index]
        return {**sample, "x": sample["x"][: 3 + index % 3]}


class Broken(OnDisk):
    """One sample cannot be loaded."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        return {name: Unreadable(table) for name, table in super().split_data(data, generator).items()}


class Unreadable(Cut):
    """The fortieth is no picture."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if index == 40:
            raise OSError("sample-40.jpg is no picture")
        return self.table[index]
