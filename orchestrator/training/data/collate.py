"""Samples to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate


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
        # in a worker process into the memory that is shared: no copy when the batch is sent
        whole: Tensor = default_collate([v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values])
        return whole

    return {name: column(name) for name in samples[0]}
