"""What the ranks of one trial have to agree on. With one rank everything here is free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 32 << 20


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


def average_gradients(parameters: Sequence[Tensor], world_size: int) -> None:
    """Give every rank the mean of all ranks' gradients, the same to the last bit.

    For losses that DDP cannot follow: it exchanges gradients of what one call of the whole model has used. A
    parameter without a gradient on every rank keeps none.
    """
    if world_size == 1 or not parameters:
        return
    used = torch.tensor([each.grad is not None for each in parameters], device=parameters[0].device)
    together = used.to(torch.uint8)
    dist.all_reduce(together, op=dist.ReduceOp.MAX)
    moved = [each for each, some in zip(parameters, together.tolist(), strict=True) if some]
    for bucket in _buckets(moved):
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
        flat = torch.cat([grad.reshape(-1) for grad in grads]) / world_size
        dist.all_reduce(flat)
        means = torch.split_with_sizes(flat, [each.numel() for each in bucket])
        for each, mean in zip(bucket, means, strict=True):
            each.grad = mean.view_as(each)


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield parameters that are exchanged together: of one type, neighbours, not too many bytes at once."""
    bucket: list[Tensor] = []
    for each in parameters:
        full = sum(one.nbytes for one in bucket) + each.nbytes > BUCKET_BYTES
        if bucket and (full or each.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket


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
