"""Grad-CAM heat maps: where a convolutional network looks (Selvaraju et al. 2017, section 3).

The channels of the last convolution are weighted by the mean gradient of the chosen class's score, summed,
and cut at zero.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.monitors.base import Monitor, Unfit
from orchestrator.training.monitors.reading import class_name, read
from orchestrator.training.task import ID, Batch

_SAMPLES = 8


class GradCam(Monitor):
    """gradcam/<layer>: the same few validation samples after every pass."""

    kinds = frozenset({"classification"})

    def start(self) -> None:
        convolutions = [(n, m) for n, m in self.run.model.named_modules() if isinstance(m, nn.Conv2d)]
        if not convolutions:
            raise Unfit(f"{type(self.run.model).__name__} has no nn.Conv2d")
        self._layer, self._module = convolutions[-1]
        from orchestrator.training.monitors.drawing import picture_in

        if picture_in(self.run.val.take(torch.arange(1))) is None:
            raise Unfit("the batches hold no pictures [B, 1 or 3, H, W]")

    def validation_end(self, step: int) -> None:
        if self.run.world_rank > 0:
            return
        from orchestrator.training.monitors import drawing

        batch = self.run.first_samples(_SAMPLES)
        pictures = drawing.picture_in(batch)
        assert pictures is not None  # looked for at the start
        heat, chosen = self.heat(batch, pictures.shape[2:])
        names = self.run.task.class_names
        captions = [
            f"id {int(i)}\n{class_name(names, int(c))}" for i, c in zip(batch[ID], chosen, strict=True)
        ]
        overlaid = drawing.heat_on(drawing.to_pixels(pictures), heat.double().cpu().numpy())
        self.run.sink.image(f"gradcam/{self._layer}", partial(drawing.panel, overlaid, captions), step)

    def heat(self, batch: Batch, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Heat [B, H, W] in [0, 1] of each sample's chosen class, and the classes [B]."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            del module, inputs
            kept.append(output if output.requires_grad else output.detach().requires_grad_())
            return kept[-1]

        handle = self._module.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                predictions = read(self.run.task, self.run.forward(batch), batch)
                score = predictions.scores.amax(1).sum()
                (gradient,) = torch.autograd.grad(score, kept[-1])  # leaves the parameters' gradients alone
        finally:
            handle.remove()
        weight = gradient.float().mean(dim=(2, 3), keepdim=True)
        heat = (weight * kept[-1].detach().float()).sum(1).clamp_min(0)  # [B, h, w]
        heat = F.interpolate(heat[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12), predictions.chosen
