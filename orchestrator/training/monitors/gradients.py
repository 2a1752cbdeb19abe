"""The gradients, per parameter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orchestrator.training.monitors.base import Monitor


class Gradients(Monitor):
    """Min, mean and max of the gradient of every parameter, and the norm of all together, before clipping.

    With several ranks these are the gradients that all of them share.
    """

    def after_backward(self, step: int) -> None:
        if self.run.world_rank > 0:
            return
        gradients = _gradients(self)
        if not gradients:
            return
        values: dict[str, float] = {}
        squares = 0.0
        rows = [
            torch.stack((g.amin(), g.mean(), g.amax(), torch.linalg.vector_norm(g))) for _, g in gradients
        ]
        scaled = torch.stack(rows).double().div(self.run.gradient_scale())
        for (name, _), (*numbers, norm) in zip(
            gradients, scaled.tolist(), strict=True
        ):  # one wait for the GPU
            values |= dict(
                zip((f"gradients/{name}/{of}" for of in ("min", "mean", "max")), numbers, strict=True)
            )
            squares += norm * norm
        self.run.sink.scalars({"gradients/norm": math.sqrt(squares), **values}, step)


class GradientHistograms(Monitor):
    """The gradient of every parameter as a histogram."""

    def after_backward(self, step: int) -> None:
        if self.run.world_rank > 0:
            return
        scale = self.run.gradient_scale()
        for name, gradient in _gradients(self):
            self.run.sink.histogram(f"gradients/{name}", (gradient / scale).flatten().cpu().numpy(), step)


def _gradients(monitor: Monitor) -> list[tuple[str, Tensor]]:
    """Name and dense gradient of every parameter that has one, in float32 at least."""
    found = []
    for name, parameter in monitor.run.model.named_parameters():
        gradient = parameter.grad
        if gradient is None or gradient.numel() == 0:
            continue
        gradient = gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
        found.append((name, gradient.float() if gradient.dtype.itemsize < 4 else gradient))
    return found
