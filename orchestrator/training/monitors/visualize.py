"""What the task's own `visualize` draws of a few validation samples."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from orchestrator.training.monitors.base import Monitor, Unfit
from orchestrator.training.task import ID, Task

_SAMPLES = 8


class Visualize(Monitor):
    """visualize/<name>: the same few samples after every pass, so that pictures can be compared over time."""

    def start(self) -> None:
        if type(self.run.task).visualize is Task.visualize:
            raise Unfit(f"{type(self.run.task).__name__} has no visualize(outputs, batch)")

    def validation_end(self, step: int) -> None:
        if self.run.world_rank > 0:
            return
        batch = self.run.first_samples(_SAMPLES)
        drawn = self.run.task.visualize(self.run.forward(batch), batch)
        ids = [f"id {int(i)}" for i in batch[ID]]
        for name, value in drawn.items():
            if isinstance(value, Tensor):
                self._draw(name, value, ids, step)
            else:
                texts = [value] if isinstance(value, str) else value
                text = "\n\n".join(f"**{who}**\n\n    {t}" for who, t in zip(ids, texts, strict=False))
                self.run.sink.text(f"visualize/{name}", text, step)

    def _draw(self, name: str, pictures: Tensor, ids: list[str], step: int) -> None:
        from orchestrator.training.monitors import drawing

        if pictures.dim() != 4 or pictures.shape[1] not in (1, 3):
            raise ValueError(
                f"{type(self.run.task).__name__}.visualize gives {name!r} of shape {list(pictures.shape)}; "
                "pictures are [B, 1 or 3, H, W]"
            )
        captions = ids + [""] * (len(pictures) - len(ids))
        draw = partial(drawing.panel, drawing.to_pixels(pictures), captions[: len(pictures)])
        self.run.sink.image(f"visualize/{name}", draw, step)
