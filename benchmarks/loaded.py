"""Two sets that are loaded sample by sample, and three loops over each: ours, a plain one, Lightning's.

Started by `loop.py`, one process for each run: `loaded.py SET WAY WORKERS EPOCHS FOLDER` prints JSON.
All three have a DataLoader of torch with the same settings, workers that stay, the same network, SGD
and batch size, and measure on the validation set after every epoch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import DataLoader, Subset

from orchestrator import Task
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task

PREFETCH = 2
WAIT_S, STEP_S = 0.004, 0.060
SAMPLES = {"waiting": 960, "jpeg": 3000}
BATCH = {"waiting": 24, "jpeg": 32}
SIDE = 160
STAMPS: list[float] = []
"""When the forward passes of training began."""


class Waiting:
    """Samples for which a disk or a network takes 4 ms each."""

    def __len__(self) -> int:
        return SAMPLES["waiting"]

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        time.sleep(WAIT_S)
        generator = torch.Generator().manual_seed(index)
        return {"image": torch.rand(3, 8, 8, generator=generator), "label": index % 10}


class Jpegs:
    """Pictures of 160 x 160, decoded by Pillow and mirrored at random."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(str(file) for file in folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        import numpy as np
        from PIL import Image

        with Image.open(self.files[index]) as picture:
            image = torch.from_numpy(np.asarray(picture)).permute(2, 0, 1).float() / 255
        return {"image": image.flip(2) if torch.rand(()) < 0.5 else image, "label": index % 10}


def make_jpegs(folder: Path, count: int = SAMPLES["jpeg"]) -> None:
    """Write smooth random pictures, about as large in bytes as photographs of that size."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{index:05d}.jpg", quality=90)


class Stamped(nn.Module):
    """A small network; with `rest_s`, a device that computes that long while the processor is free."""

    def __init__(self, side: int, rest_s: float) -> None:
        super().__init__()
        self.rest_s = rest_s
        stride = max(1, side // 40)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=stride),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            STAMPS.append(time.perf_counter())
            time.sleep(self.rest_s)
        return self.body(image)


def parts(which: str, folder: Path) -> dict[str, Any]:
    """Nine of ten samples for training, the rest for validation."""
    table: Any = Waiting() if which == "waiting" else Jpegs(folder)
    cut = len(table) * 9 // 10
    return {"train": Subset(table, range(cut)), "val": Subset(table, range(cut, len(table)))}


def network(which: str) -> Stamped:
    """The same weights in every loop."""
    torch.manual_seed(0)
    return Stamped(8, STEP_S) if which == "waiting" else Stamped(SIDE, 0.0)


def loaders(which: str, workers: int, folder: Path) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """What a careful user writes."""
    kept: dict[str, Any] = {"batch_size": BATCH[which], "num_workers": workers}
    if workers:
        kept |= {"persistent_workers": True, "prefetch_factor": PREFETCH}
    train, val = parts(which, folder).values()
    return DataLoader(train, shuffle=True, drop_last=True, **kept), DataLoader(val, **kept)


class Loaded(Task):
    """Ours."""

    def build_data(self, config: Mapping[str, Any]) -> Any:
        return parts(config["data"]["which"], Path(config["data"]["folder"]))

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        return network(config["data"]["which"])

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(batch["image"])}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"])


def ours(which: str, workers: int, epochs: int, folder: Path) -> list[Any]:
    """`run_task`, with its validation batches beside training as they come."""
    config = {
        "seed": 0,
        "data": {
            "which": which,
            "folder": str(folder),
            "batch_size": BATCH[which],
            "num_workers": workers,
            "prefetch_factor": PREFETCH,
        },
        "optim": {"name": "sgd", "lr": 0.01},
    }
    session = LocalSession(config, epochs, str(folder))
    run_task(Loaded, session)
    return session.reports


def plain(which: str, workers: int, epochs: int, folder: Path) -> list[Any]:
    """The loop of torch's tutorials."""
    model = network(which)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    train, val = loaders(which, workers, folder)
    for _ in range(epochs):
        model.train()
        for batch in train:
            loss = F.cross_entropy(model(batch["image"]), batch["label"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            float(loss.detach())
        model.eval()
        with torch.no_grad():
            for batch in val:
                float(F.cross_entropy(model(batch["image"]), batch["label"]))
    return []


def lightning(which: str, workers: int, epochs: int, folder: Path) -> list[Any]:
    """Lightning's Trainer, without a progress bar, a logger or checkpoints."""
    import lightning.pytorch as L  # noqa: N812 - the usual name

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network(which)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return F.cross_entropy(self.model(batch["image"]), batch["label"])

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val/loss", F.cross_entropy(self.model(batch["image"]), batch["label"]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, enable_model_summary=False, **quiet
    )
    trainer.fit(Module(), *loaders(which, workers, folder))
    return []


WAYS = {"ours": ours, "plain": plain, "lightning": lightning}


def rate(stamps: list[float], batch: int, epochs: int) -> float:
    """Samples a second from the first step of the second epoch to that of the last one.

    In that time every loop measures on the validation set as often as it trains an epoch, whether it does so
    after each or beside the next.
    """
    first = len(stamps) // epochs
    return (epochs - 2) * first * batch / (stamps[(epochs - 1) * first] - stamps[first])


def main(which: str, way: str, workers: str, epochs: str, folder: str) -> None:
    """Run one, and print what was seen."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    reports = WAYS[way](which, int(workers), int(epochs), Path(folder))
    found = {
        "way": way,
        "samples_per_s": rate(STAMPS, BATCH[which], int(epochs)),
        "first_step_s": STAMPS[0] - began,
        "reports": reports,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
