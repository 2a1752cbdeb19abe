"""What the ranks of one trial have to agree on. With one rank everything here is free."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def sum_over_ranks(values: list[float], world_size: int, device: torch.device) -> list[float]:
    """Element-wise sums, in float64, the same on every rank."""
    if world_size == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    summed: list[float] = total.tolist()
    return summed


def mean_over_ranks(values: list[float], world_size: int, device: torch.device) -> list[float]:
    """Element-wise means, in float64, the same on every rank."""
    return [total / world_size for total in sum_over_ranks(values, world_size, device)]


def total_over_ranks(counts: Tensor, world_size: int) -> Tensor:
    """Element-wise sum of tensors of one shape, in their own type (whole numbers exactly)."""
    if world_size > 1:
        counts = counts.clone()
        dist.all_reduce(counts)
    return counts


def rows_of_all_ranks(rows: Tensor, world_size: int) -> Tensor:
    """[ΣN, ...]: the rows of all ranks, in the order of the ranks; their numbers may differ."""
    if world_size == 1:
        return rows
    parts: list[Any] = [None] * world_size
    dist.all_gather_object(parts, rows.cpu())
    return torch.cat(parts).to(rows.device)


def share_buffers(model: nn.Module, world_size: int) -> None:
    """Give every rank the buffers of rank 0 (running statistics), as DDP does at the next forward pass."""
    if world_size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the task's own module inside a data-parallel wrapper."""
    inner = getattr(model, "module", None)
    parallel = hasattr(model, "no_sync") and isinstance(inner, nn.Module)
    return inner if parallel and isinstance(inner, nn.Module) else model


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the batch on `device`; nothing is copied where it is there already."""
    if device.type == "cpu":
        return batch
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
