"""What a module logs while it trains, in the trial's own curves; and what `self.logger.experiment` offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger

from orchestrator.training.sink import Sink


class LightningCurves(Logger):
    """Values of training steps. Those of epochs are reported, and are in the curves by that."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._experiment = Experiment(sink)
        self._sink = sink
        self.in_a_step = False

    @property
    def name(self) -> str:
        return "orchestrator"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Experiment:
        """Takes what a TensorBoard writer takes."""
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        if self.in_a_step and values and step is not None:
            self._sink.scalars(values, step + 1)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the trial's config is in its record."""


class Experiment:
    """The calls of `torch.utils.tensorboard.SummaryWriter` that modules use, into the trial's record."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int = 0, *_: Any, **__: Any) -> None:
        """Write a number."""
        self._sink.scalars({tag: float(scalar_value)}, global_step)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int = 0, *_: Any, **__: Any
    ) -> None:
        """Write numbers under one heading."""
        values = {f"{main_tag}/{tag}": float(value) for tag, value in tag_scalar_dict.items()}
        self._sink.scalars(values, global_step)

    def add_text(self, tag: str, text_string: str, global_step: int = 0, *_: Any, **__: Any) -> None:
        """Write Markdown."""
        self._sink.text(tag, text_string, global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int = 0, *_: Any, **__: Any) -> None:
        """Write the distribution of numbers."""
        self._sink.histogram(tag, _array(values).reshape(-1), global_step)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int = 0, *_: Any, dataformats: str = "CHW", **__: Any
    ) -> None:
        """Write a picture, uint8 or floats in [0, 1]: [C, H, W], or as `dataformats` says."""
        pixels = _array(img_tensor)
        if dataformats == "HW":
            pixels = pixels[None]
        elif dataformats == "HWC":
            pixels = np.moveaxis(pixels, -1, 0)
        if pixels.dtype != np.uint8:
            pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
        self._sink.image(tag, np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), global_step)


def _array(values: Any) -> Any:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
