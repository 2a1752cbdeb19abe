"""Reports of whatever Python has: for threads of the test, and for a real worker."""

from __future__ import annotations

import dataclasses
import enum
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


class Phase(str, enum.Enum):  # noqa: UP042 - as people write it
    WARM = "warm"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Stats:
    a: int = 1


class Sly:
    """Raises at whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # those of whoever prints it
            raise AttributeError(name)
        raise RuntimeError(f"no {name} here \udce9")


LOOP: list[Any] = []
LOOP.append(LOOP)


def anything(draw: random.Random) -> dict[Any, Any]:
    texts = ["a", "caf\udce9", "\x1b]52;c\x07", "", "x" * 20_000, "loss/", "🙂", "\u2028\u202e"]
    values: list[Any] = [
        *texts,
        *(None, True, 3, -(2**63), 2**64, 10**400, 1e308, float("nan"), float("-inf"), 1j, b"x"),
        *(
            Phase.WARM,
            Level.HIGH,
            Stats(),
            Sly(),
            LOOP,
            len,
            np.float16(1),
            np.zeros((2, 2)),
            np.array(["a"]),
        ),
        *(np.datetime64("NaT"), Decimal("NaN"), Fraction(1, 3), Path("/x"), {1, 2}, (1, [2, {"k": None}])),
        {"deep": {"deeper": 1, 3: "x"}},
    ]
    keys: list[Any] = [*texts, "step", "epoch", "report", "attempt", 3, None, Phase.WARM, (1,), "a/b"]
    return {draw.choice(keys): draw.choice(values) for _ in range(draw.randint(0, 4))}


def train(config: dict[str, Any]) -> None:
    """Report anything beside the metric; without it where it is refused."""
    from ray import train as ray_train

    draw = random.Random(f"{config['seed']} {config['level']}")
    for epoch in range(1, int(config["max_length"]) + 1):
        row = {"epoch": epoch, "loss": draw.random()}
        try:
            ray_train.report({**anything(draw), **row})
        except ValueError:  # refused, with its key and type
            ray_train.report(row)
    if config["level"] == 2.0:
        raise ValueError(*anything(draw))
