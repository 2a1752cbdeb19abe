"""The validation samples with the lowest and highest loss: what is easy, what may be labelled wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.monitors.base import Monitor
from orchestrator.training.monitors.reading import EXCLUSIVE, class_name, read, sample_losses
from orchestrator.training.ranks import rows_of_all_ranks, to_device
from orchestrator.training.task import ID, Batch, Outputs, Task
from orchestrator.training.validation import Seen

SHOWN = 16
"""Samples in each list."""


class BestWorst(Monitor):
    """samples/worst and samples/best: pictures where samples have any, ids and losses as text and as rows.

    Each row has list, place (from 1), id, index (in the validation set) and loss; where a class is chosen
    also target and prediction. Rows are in the order of the loss, equal losses in that of the index: the
    same list whatever the number of ranks.
    """

    def validation_start(self) -> None:
        self._seen: list[tuple[Tensor, Tensor]] = []

    def validation_batch(self, seen: Seen) -> None:
        losses = sample_losses(self.run.task, seen.outputs, seen.batch, seen.loss)
        self._seen.append((seen.indices, losses))

    def validation_end(self, step: int) -> None:
        indices = torch.cat([indices for indices, _ in self._seen]).to(self.run.device)
        losses = torch.cat([losses for _, losses in self._seen]).double()
        losses = torch.where(losses.isnan(), torch.inf, losses)
        for name in ("worst", "best"):
            places = _extreme(losses, indices, name == "worst")
            rows = torch.stack((losses[places], indices[places].double()), dim=1)  # [K, 2]; indices are exact
            rows = rows_of_all_ranks(rows, self.run.world_size).cpu()
            loss, index = rows[:, 0], rows[:, 1].long()
            order = _extreme(loss, index, name == "worst")
            if self.run.world_rank == 0:
                self._show(name, loss[order], index[order], step)

    def _show(self, name: str, losses: Tensor, indices: Tensor, step: int) -> None:
        batch = to_device(self.run.val.take(indices), self.run.device)
        outputs = self.run.forward(batch)
        rows: list[dict[str, Any]] = [
            {"list": name, "place": place, "id": int(i), "index": int(index), "loss": float(loss)}
            for place, (i, index, loss) in enumerate(zip(batch[ID], indices, losses, strict=True), start=1)
        ]
        for row, more in zip(rows, _classes(self.run.task, outputs, batch), strict=False):
            row.update(more)
        sink = self.run.sink
        sink.observe(self.name, rows, step)
        sink.text(f"samples/{name}", _table(rows), step)
        pictures = _pictures(self.run.task, outputs, batch)
        if pictures is not None:
            from orchestrator.training.monitors import drawing

            captions = [_caption(row) for row in rows]
            draw = partial(drawing.panel, drawing.to_pixels(pictures), captions)
            sink.image(f"samples/{name}", draw, step)


def _extreme(losses: Tensor, indices: Tensor, highest: bool) -> Tensor:
    """Places of the SHOWN highest or lowest losses, the most extreme first."""
    by_index = indices.argsort()
    order = losses[by_index].argsort(descending=highest, stable=True)
    return by_index[order[:SHOWN]]


def _classes(task: Task, outputs: Outputs, batch: Batch) -> list[dict[str, Any]]:
    """Target and prediction of every sample, for tasks with one class per sample."""
    if task.kind not in EXCLUSIVE - {"segmentation", "language"}:
        return []
    try:
        predictions = read(task, outputs, batch)
    except ValueError:
        return []  # not clear from names; the losses are
    pairs = zip(predictions.target.tolist(), predictions.chosen.tolist(), strict=True)
    names = task.class_names
    return [{"target": class_name(names, t), "prediction": class_name(names, c)} for t, c in pairs]


def _pictures(task: Task, outputs: Outputs, batch: Batch) -> Tensor | None:
    """Return what the task draws of its samples, else pictures among the inputs. [B, 1 | 3, H, W]."""
    from orchestrator.training.monitors.drawing import picture_in

    drawn = task.visualize(outputs, batch)
    own = picture_in({name: value for name, value in drawn.items() if isinstance(value, Tensor)})
    return own if own is not None else picture_in(batch)


def _caption(row: dict[str, Any]) -> str:
    chosen = f"\n{row['target']} as {row['prediction']}" if "target" in row else ""
    return f"id {row['id']}\nloss {row['loss']:.3g}{chosen}"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [name for name in rows[0] if name not in ("list", "index")]
    cells = ([f"{row[name]:.4g}" if name == "loss" else str(row[name]) for name in columns] for row in rows)
    lines = [f"| {' | '.join(line)} |" for line in (columns, *cells)]
    return "\n".join([lines[0], f"|{' --- |' * len(columns)}", *lines[1:]])
