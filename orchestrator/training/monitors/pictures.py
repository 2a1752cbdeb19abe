"""Monitors that draw samples: the easiest and the hardest, where a network looks, what the task itself draws.

Grad-CAM (Selvaraju et al. 2017, section 3): the channels of the last convolution are weighted by the mean
gradient of the chosen class's score, summed, and cut at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.monitors.base import Monitor, MonitoredTrial, Unfit
from orchestrator.training.monitors.reading import EXCLUSIVE, class_name, read, sample_losses
from orchestrator.training.ranks import rows_of_all_ranks, to_device
from orchestrator.training.task import ID, Batch, Outputs, Task
from orchestrator.training.validation import Seen

SHOWN = 16
"""Samples in each list of the best and the worst."""
_SAMPLES = 8


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
            _draw(self.run, f"samples/{name}", pictures, [_caption(row) for row in rows], step)


class GradCam(Monitor):
    """gradcam/<layer>: the same few validation samples after every pass."""

    kinds = frozenset({"classification"})

    def start(self) -> None:
        convolutions = [(n, m) for n, m in self.run.model.named_modules() if isinstance(m, nn.Conv2d)]
        if not convolutions:
            raise Unfit(f"{type(self.run.model).__name__} has no nn.Conv2d")
        self._layer, self._module = convolutions[-1]
        if _picture_in(self.run.val.take(torch.arange(1))) is None:
            raise Unfit("the batches hold no pictures [B, 1 or 3, H, W]")

    def validation_end(self, step: int) -> None:
        if self.run.world_rank > 0:
            return
        batch = self.run.first_samples(_SAMPLES)
        pictures = _picture_in(batch)
        assert pictures is not None  # looked for at the start
        heat, chosen = self.heat(batch, pictures.shape[2:])
        names = self.run.task.class_names
        captions = [
            f"id {int(i)}\n{class_name(names, int(c))}" for i, c in zip(batch[ID], chosen, strict=True)
        ]
        _draw(self.run, f"gradcam/{self._layer}", pictures, captions, step, heat)

    def heat(self, batch: Batch, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Heat [B, H, W] in [0, 1] of each sample's chosen class, and the classes [B]."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            del module, inputs
            kept.append(output if output.requires_grad else output.detach().requires_grad_())
            return kept[-1]

        with self._module.register_forward_hook(keep), torch.enable_grad():
            predictions = read(self.run.task, self.run.forward(batch), batch)
            score = predictions.scores.amax(1).sum()
            (gradient,) = torch.autograd.grad(score, kept[-1])  # leaves the parameters' gradients alone
        weight = gradient.float().mean(dim=(2, 3), keepdim=True)
        heat = (weight * kept[-1].detach().float()).sum(1).clamp_min(0)  # [B, h, w]
        heat = F.interpolate(heat[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12), predictions.chosen


class Visualize(Monitor):
    """visualize/<name>, what the task draws: the same few samples after every pass, to compare over time."""

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
        if pictures.dim() != 4 or pictures.shape[1] not in (1, 3):
            raise ValueError(
                f"{type(self.run.task).__name__}.visualize gives {name!r} of shape {list(pictures.shape)}; "
                "pictures are [B, 1 or 3, H, W]"
            )
        captions = ids + [""] * (len(pictures) - len(ids))
        _draw(self.run, f"visualize/{name}", pictures, captions[: len(pictures)], step)


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
    drawn = task.visualize(outputs, batch)
    own = _picture_in({name: value for name, value in drawn.items() if isinstance(value, Tensor)})
    return own if own is not None else _picture_in(batch)


def _caption(row: dict[str, Any]) -> str:
    chosen = f"\n{row['target']} as {row['prediction']}" if "target" in row else ""
    return f"id {row['id']}\nloss {row['loss']:.3g}{chosen}"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [name for name in rows[0] if name not in ("list", "index")]
    cells = ([f"{row[name]:.4g}" if name == "loss" else str(row[name]) for name in columns] for row in rows)
    lines = [f"| {' | '.join(line)} |" for line in (columns, *cells)]
    return "\n".join([lines[0], f"|{' --- |' * len(columns)}", *lines[1:]])


def _picture_in(batch: Batch) -> Tensor | None:
    """Pictures [B, 1 | 3, H, W] in a batch: "image", else the first tensor of that shape; or None."""
    named = [batch["image"]] if "image" in batch else []
    for tensor in (*named, *batch.values()):
        if tensor.dim() == 4 and tensor.shape[1] in (1, 3) and min(tensor.shape[2:]) > 1:
            return tensor
    return None


def _draw(
    run: MonitoredTrial,
    tag: str,
    pictures: Tensor,
    captions: Sequence[str],
    step: int,
    heat: Tensor | None = None,
) -> None:
    """Write pictures [N, 1 | 3, H, W] with their captions, heat [N, H, W] in [0, 1] laid over them."""
    from orchestrator.training.monitors import drawing

    pixels = drawing.to_pixels(pictures)
    pixels = pixels if heat is None else drawing.heat_on(pixels, heat.double().cpu().numpy())
    run.sink.image(tag, partial(drawing.panel, pixels, captions), step)
