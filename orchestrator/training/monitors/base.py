"""What a monitor is, what it is shown, and where it writes. For one of your own:

    class Largest(Monitor):
        def after_step(self, step):
            largest = max(float(p.detach().abs().max()) for p in self.run.model.parameters())
            self.run.sink.scalars({"weights/largest": largest}, step)

    monitor: [gradients, mypackage.monitors:Largest]

A monitor looks and never touches: training draws the same numbers and gives the same reports with and
without it. So nothing that a monitor computes can be the metric of a study; that comes from `Task.scores` and
`Task.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from orchestrator.training.monitors.reading import Predictions
from orchestrator.training.ranks import to_device
from orchestrator.training.samples import Samples
from orchestrator.training.sink import Sink
from orchestrator.training.task import Batch, Outputs, Task
from orchestrator.training.validation import Seen


@dataclass
class Clock:
    """Seconds of this rank since the loop began; monitors read differences."""

    data_s: float = 0.0
    """Taking, augmenting and moving batches."""
    step_s: float = 0.0
    """Whole training steps, data included."""
    samples: int = 0
    """Samples trained on, of this rank."""


@dataclass
class MonitoredTrial:
    """The trial that a monitor watches, as one rank sees it."""

    task: Task
    model: nn.Module
    """The task's own module, without a data-parallel wrapper; do not change it."""
    val: Samples
    sink: Sink
    device: torch.device
    forward: Callable[[Batch], Outputs]
    """Outputs of the model for a batch on the device, in the trial's precision."""
    world_rank: int = 0
    world_size: int = 1
    clock: Clock = field(default_factory=Clock)
    gradient_scale: Callable[[], float] = lambda: 1.0
    """What gradients are multiplied by after a backward pass (fp16)."""

    def first_samples(self, count: int) -> Batch:
        """Return the first samples of the validation set on the device, at most `count`."""
        return to_device(self.val.take(torch.arange(min(count, self.val.count))), self.device)


HOOKS = (
    *("start", "after_backward", "after_step"),
    *("validation_start", "validation_batch", "predictions", "validation_end"),
)
"""What a monitor may bring, in the order of the calls."""


def has_hook(monitor: Monitor, hook: str) -> bool:
    """Tell whether the class of this monitor brings this hook."""
    return getattr(type(monitor), hook) is not getattr(Monitor, hook)


class Unfit(Exception):
    """A monitor cannot watch this trial; the text says why. Raised from `start`."""


class Monitor:
    """Watches one trial on one rank. Every hook may be left out; those left out cost nothing.

    The `validation_*` hooks are called around a full validation pass, on all ranks alike, so they may use
    collectives. They are left out of passes that would bring the monitors above their share of the time
    (`train.monitor_every: 1` sees every one).
    """

    kinds: ClassVar[frozenset[str] | None] = None
    """The kinds of task (`Task.kind`) that it can watch; None: all of them, those without a kind too."""
    name: str
    """What the study file calls it; there before `start`, as `run` is."""
    run: MonitoredTrial

    def start(self) -> None:
        """`self.run` is there; the model is on its device.

        Raises:
            Unfit: there is nothing here that this monitor could watch.
        """

    def after_backward(self, step: int) -> None:
        """Look at the gradients of every 20th step (and of the first), neither clipped nor used yet."""

    def after_step(self, step: int) -> None:
        """Look at a training step that is over; called for every 20th (and the first)."""

    def validation_start(self) -> None:
        """Prepare for a validation pass that begins."""

    def validation_batch(self, seen: Seen) -> None:
        """One batch of it."""

    def predictions(self, predictions: Predictions) -> None:
        """Predictions and targets of one or several batches of it, for tasks that have a kind."""

    def validation_end(self, step: int) -> None:
        """Sum over the ranks and write: the pass is over. Still in evaluation mode and without gradients."""
