"""What the outputs of a task mean: scores and targets, one row per decision, whatever the kind of task.

    kind             outputs                 target            rows R
    classification   [B, C] logits           [B] int64         B
    multilabel       [B, L] logits           [B, L] 0/1        B
    segmentation     [B, C, H, W] logits     [B, H, W] int64   B·H·W
    language         [B, T, V] logits        [B, T] int64      B·T
    regression       [B] or [B, D]           same              B

Targets below 0 are left out (the usual mark of padding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.task import ID, Batch, Outputs, Task

EXCLUSIVE = frozenset({"classification", "segmentation", "language"})
"""Kinds that choose one of several classes."""
READ = EXCLUSIVE | {"multilabel", "regression"}
"""Kinds that have predictions and targets."""
_SCORES = ("logits", "scores", "prediction", "predictions", "output")
_TARGETS = ("label", "labels", "target", "targets", "mask", "y")
_JOINED = 1 << 18


@dataclass(frozen=True)
class Predictions:
    """Rows of scores and their targets."""

    kind: str
    scores: Tensor
    """[R, C] float: logits or probabilities; regression: values [R, D]."""
    target: Tensor
    """[R] int64; multilabel [R, C] int64; regression [R, D]."""

    @cached_property
    def probabilities(self) -> Tensor:
        """[R, C] float32 in [0, 1]; scores that are probabilities already are taken as they are."""
        scores = self.scores.float()
        if self.kind == "multilabel":
            return scores if bool(((scores >= 0) & (scores <= 1)).all()) else scores.sigmoid()
        sums_to_one = bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-4).all())
        return scores if sums_to_one else scores.softmax(1)

    @cached_property
    def chosen(self) -> Tensor:
        """[R] int64: the most likely class; multilabel [R, C]: 1 where it is more likely than not."""
        if self.kind == "multilabel":
            return (self.probabilities > 0.5).long()
        return self.scores.argmax(1)


def read(task: Task, outputs: Outputs, batch: Batch) -> Predictions:
    """Return the rows of a batch.

    Raises:
        ValueError: the task has no kind that is read, or its outputs or batch do not look like it.
    """
    kind = task.kind or ""
    if kind not in READ:
        raise ValueError(f"{type(task).__name__}.kind is {task.kind!r}, which has no predictions and targets")
    scores, target = _pair(task, outputs, batch)
    if kind == "regression":
        rows = len(scores)
        return Predictions(kind, scores.float().reshape(rows, -1), target.float().reshape(rows, -1))
    if kind == "multilabel":
        if scores.shape != target.shape or scores.dim() != 2:
            raise ValueError(_shapes(task, kind, "[B, L] and [B, L]", scores, target))
        return Predictions(kind, scores, target.long())
    if kind == "segmentation":
        if scores.dim() != 4 or target.shape != scores[:, 0].shape:
            raise ValueError(_shapes(task, kind, "[B, C, H, W] and [B, H, W]", scores, target))
        scores = scores.movedim(1, -1)
    if scores.dim() < 2 or target.shape != scores.shape[:-1]:
        raise ValueError(_shapes(task, kind, "[..., C] and [...]", scores, target))
    scores, target = scores.reshape(-1, scores.shape[-1]), target.reshape(-1).long()
    if bool((target < 0).any()):
        scores, target = scores[target >= 0], target[target >= 0]
    if len(target) and int(target.max()) >= scores.shape[1]:
        raise ValueError(
            f"a target of {type(task).__name__} is {int(target.max())}, but the outputs have "
            f"{scores.shape[1]} classes (0 to {scores.shape[1] - 1})"
        )
    return Predictions(kind, scores, target)


def class_name(names: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number where there is none."""
    return str(names[index]) if index < len(names) else str(index)


def _pair(task: Task, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predictions and targets: from `metric_inputs` where the task has it, else found by their names."""
    if type(task).metric_inputs is not Task.metric_inputs:
        found = task.metric_inputs(outputs, batch)
        return found[0], found[1]
    tensors = [name for name, value in outputs.items() if isinstance(value, Tensor)]
    score = tensors[0] if len(tensors) == 1 else next((name for name in _SCORES if name in outputs), None)
    others = [name for name in batch if name != ID]
    target = next((name for name in _TARGETS if name in others), None)
    if score is None or target is None:
        raise ValueError(
            f"{type(task).__name__}: no clear predictions and targets in its outputs ({', '.join(outputs)}) "
            f"and its batch ({', '.join(batch)}); define metric_inputs(outputs, batch), which returns them"
        )
    return outputs[score], batch[target]


def _shapes(task: Task, kind: str, wanted: str, scores: Tensor, target: Tensor) -> str:
    return (
        f"{type(task).__name__} is a {kind} task: predictions and targets are {wanted}, "
        f"not {list(scores.shape)} and {list(target.shape)}"
    )


class Joined:
    """Joins small batches, so that counting over a pass costs few large operations, not many small ones."""

    def __init__(self, give: Callable[[Predictions], None]) -> None:
        self._give = give
        self._waiting: list[Predictions] = []
        self._held = 0

    def add(self, predictions: Predictions) -> None:
        """Add a batch; hand over what waits when there is enough of it."""
        self._waiting.append(predictions)
        self._held += predictions.scores.numel()
        if self._held >= _JOINED:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        waiting, self._waiting, self._held = self._waiting, [], 0
        if len(waiting) == 1:
            self._give(waiting[0])
        elif waiting:
            scores, target = (torch.cat([getattr(p, name) for p in waiting]) for name in ("scores", "target"))
            self._give(Predictions(waiting[0].kind, scores, target))


def sample_losses(task: Task, outputs: Outputs, batch: Batch, loss: Tensor) -> Tensor:
    """[B] float32: the loss of every sample, in the cheapest way that agrees with the task's own `loss` [].

    `Task.sample_losses` where it is overridden; the usual loss of the kind where its mean is the task's loss
    on this batch; else the task's loss, sample by sample.
    """
    if type(task).sample_losses is Task.sample_losses:
        usual = _usual_losses(task, outputs, batch)
        if usual is not None and torch.allclose(usual.mean(), loss.float(), rtol=1e-4, atol=1e-6):
            return usual
    return task.sample_losses(outputs, batch).detach().float()


def _usual_losses(task: Task, outputs: Outputs, batch: Batch) -> Tensor | None:
    """[B]: the loss that most tasks of this kind have; None where there is none."""
    if task.kind not in READ:
        return None
    try:
        scores, target = _pair(task, outputs, batch)
    except ValueError:
        return None  # not clear: the task's own loss is
    scores = scores.float()
    if task.kind == "regression":
        if scores.shape != target.shape:
            return None
        each = F.mse_loss(scores, target.float(), reduction="none")
    elif task.kind == "multilabel":
        each = F.binary_cross_entropy_with_logits(scores, target.float(), reduction="none")
    else:
        scores = scores.movedim(-1, 1) if task.kind == "language" else scores
        each = F.cross_entropy(scores, target.long(), reduction="none", ignore_index=-100)
    return each.reshape(len(each), -1).mean(1)
