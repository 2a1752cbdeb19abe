"""Samples to a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

Room = Callable[[torch.Size, torch.dtype], Tensor | None]
"""Gives memory for a tensor, or None where it has none."""
_ROOM: ContextVar[Room] = ContextVar("_ROOM")


@contextmanager
def stacking_into(room: Room) -> Iterator[None]:
    """Let `stacked` put what it makes where others look for it."""
    before = _ROOM.set(room)
    try:
        yield
    finally:
        _ROOM.reset(before)


def stacked(samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Stack tensors, arrays and numbers of the same name.

    Raises:
        ValueError: a sample is no dict of named tensors.
    """
    odd = next((sample for sample in samples if not isinstance(sample, Mapping)), None)
    if odd is not None:
        raise ValueError(
            f"build_data: a sample of the dataset is a {type(odd).__name__}, not a dict of named tensors; "
            'let __getitem__ return {"image": image, "label": label}'
        )

    def column(name: str) -> Tensor:
        values = [sample[name] for sample in samples]
        tensors = [v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values]
        out = _out_for(tensors)
        whole: Tensor = default_collate(tensors) if out is None else torch.stack(tensors, out=out)
        return whole

    return {name: column(name) for name in samples[0]}


def _out_for(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return where the tensors are to be stacked, if somebody has said so and they are alike."""
    room, first = _ROOM.get(None), tensors[0]
    if room is None or any(
        tensor.shape != first.shape or tensor.dtype != first.dtype or tensor.requires_grad
        for tensor in tensors
    ):
        return None
    return room(torch.Size((len(tensors), *first.shape)), first.dtype)
