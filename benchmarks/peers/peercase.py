"""What every way runs: twelve trials of one small function, two at a time; and what a way says at its end.

A *way* is a script: `WAY.py CASE [VARIANT]`, `CASE` being `short-1` (length of a trial, workers of a trial).
Its last line of output is what `answer` prints. It trains through `train`, and through nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

AT_A_TIME = 2
SEEDS = 4
ARMS: dict[str, dict[str, float]] = {
    "baseline": {"lr": 0.05, "momentum": 0.9},
    "no-momentum": {"lr": 0.05, "momentum": 0.0},
    "lr=small": {"lr": 0.005, "momentum": 0.9},
}
"""The first one is the baseline; the others differ from it in one key."""
BATCH, FEATURES, WIDTH = 64, 32, 64
Report = Callable[[int, float], bool]
"""Takes epoch and loss; returns whether the trial is to be left."""


@dataclass(frozen=True)
class Length:
    """Of a trial: epochs, each of so many steps, with a report at its end."""

    epochs: int
    steps: int


LENGTHS = {
    "tiny": Length(2, 2),  # to see that a way works
    "short": Length(4, 50),
    "middle": Length(9, 600),
    "long": Length(9, 4000),
}


@dataclass(frozen=True)
class Case:
    """One column of the comparison."""

    length: str
    workers: int

    @classmethod
    def of(cls, word: str) -> Case:
        """From `short-1`; raises ValueError."""
        length, _, workers = word.rpartition("-")
        if length not in LENGTHS or workers not in ("1", "2"):
            raise ValueError(
                f"no case: {word}; valid: LENGTH-WORKERS, LENGTH of {', '.join(LENGTHS)}, 1 or 2"
            )
        return cls(length, int(workers))

    def __str__(self) -> str:
        return f"{self.length}-{self.workers}"

    @property
    def epochs(self) -> int:
        return LENGTHS[self.length].epochs

    def configs(self) -> list[dict[str, Any]]:
        """The trials, in the order in which they are to be begun."""
        extent = {**asdict(LENGTHS[self.length]), "workers": self.workers}
        return [
            {"trial": f"{arm} seed {seed}", "seed": seed, **values, **extent}
            for arm, values in ARMS.items()
            for seed in range(SEEDS)
        ]


@dataclass(frozen=True)
class Answer:
    """How a way ended. `values`: last loss of the trials that came to their end; `stopped`: how many a rule
    has left early, or not begun; `cannot`: why it cannot do the case at all.
    """

    values: Mapping[str, float]
    stopped: int = 0
    cannot: str | None = None

    @property
    def lost(self) -> int:
        """Trials with neither an end nor a decision."""
        return len(ARMS) * SEEDS - len(self.values) - self.stopped


def answer(values: Mapping[str, float], stopped: int = 0) -> None:
    """Say how a way ended."""
    sys.stdout.write(f"\n{json.dumps(asdict(Answer(dict(values), stopped)))}\n")
    sys.stdout.flush()


def cannot(why: str) -> None:
    """Say that a way cannot do a case."""
    sys.stdout.write(f"\n{json.dumps(asdict(Answer({}, 0, why)))}\n")


def from_arguments() -> tuple[Case, str]:
    """The case and the variant that a way was started with."""
    return Case.of(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""


def train(config: Mapping[str, Any], report: Report, rank: int = 0, world: int = 1) -> float:
    """Train a small network on generated data; returns the last loss, of all ranks.

    With `world` > 1 a process group of torch has to be there; each rank has its part of every batch.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(int(config["seed"]))
    draw = torch.Generator().manual_seed(1000 + int(config["seed"]))
    teacher = torch.randn(FEATURES, generator=draw)
    model: nn.Module = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
    if world > 1:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])
    mean = math.nan
    for epoch in range(1, int(config["epochs"]) + 1):
        losses = []
        for _ in range(int(config["steps"])):
            inputs = torch.randn(BATCH, FEATURES, generator=draw)[rank::world]
            targets = torch.tanh(inputs @ teacher).unsqueeze(1)
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        whole = torch.stack(losses).mean()
        if world > 1:
            torch.distributed.all_reduce(whole)
        mean = float(whole) / world
        if report(epoch, mean):
            break
    return mean


def use_one_thread() -> None:
    """So many threads as a trial has CPUs, in every process to come."""
    os.environ["OMP_NUM_THREADS"] = "1"
