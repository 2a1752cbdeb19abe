"""A trial for `gpu.py`: a small transformer on made-up tokens, which writes down when what happened and what
memory was taken then. Imports nothing of the other benchmarks: studies run a copy of this file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Task

TOKENS = "tokens"
ALPHABET = 256
PAGE_B = os.sysconf("SC_PAGE_SIZE")


class Network(nn.Module):
    """Embedding, causal transformer blocks, a score for every token that may come next.

    `held`: memory that the trial takes beside that, MiB.
    """

    def __init__(self, width: int, layers: int, context: int, held: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ALPHABET, width)
        block = nn.TransformerEncoderLayer(
            width, width // 16, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, ALPHABET)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))
        self.register_buffer("held", torch.zeros(int(held * 2**18)), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, T] -> logits [B, T, ALPHABET]."""
        return self.head(self.blocks(self.embedding(tokens), mask=self.mask, is_causal=True))


def loss_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of the next token; tokens [B, T + 1]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def tables(samples: int, context: int) -> dict[str, Tensor]:
    """Nine of ten for training, the rest for validation: [N, T + 1] int64."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(ALPHABET, (samples, context + 1), generator=generator)
    cut = samples * 9 // 10
    return {"train": tokens[:cut], "val": tokens[cut:]}


class Stamped(Task):
    """Reports the level that its config names, so that a rule stops whom the benchmark wants stopped.

    Config keys: data.{samples, context, batch_size, level, stamps}, model.{width, layers, held}.
    """

    data_keys = ("samples", "context")

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._began = False
        self._stamp("began")

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        data = config["data"]
        found = tables(int(data["samples"]), int(data["context"]))
        return {part: {TOKENS: tokens, "id": torch.arange(len(tokens))} for part, tokens in found.items()}

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        return Network(context=int(config["data"]["context"]), **config["model"])

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if model.training and not self._began:
            self._began = True
            self._stamp("stepped")
        return {"logits": model(batch[TOKENS][:, :-1])}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return loss_of(outputs["logits"], batch[TOKENS])

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self._stamp("validated", samples=len(batch[TOKENS]))
        level = float(self.config["data"]["level"])
        return {"level": torch.full((len(batch[TOKENS]),), level, device=outputs["logits"].device)}

    def _stamp(self, event: str, **also: int) -> None:
        data = self.config["data"]
        line = {"event": event, "trial": f"{data['level']:g} {self.config['seed']}", "pid": os.getpid()}
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        line |= {"t": time.time(), **also, **memory()}
        with Path(data["stamps"]).open("a", encoding="utf-8") as lines:
            lines.write(f"{json.dumps(line)}\n")


def memory() -> dict[str, float]:
    """MiB of this process: resident; on the GPU what tensors take, what torch keeps, what all have taken."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_B
    found = {"resident_mib": resident / 2**20}
    if torch.cuda.is_initialized():
        free, whole = torch.cuda.mem_get_info()
        taken = torch.cuda.memory_allocated(), torch.cuda.memory_reserved(), whole - free
        names = ("tensors_mib", "kept_mib", "gpu_mib")
        found |= {name: size / 2**20 for name, size in zip(names, taken, strict=True)}
    return found
