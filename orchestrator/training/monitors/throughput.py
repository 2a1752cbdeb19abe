"""Where the time of a step goes: waiting for data or the model; samples per second; GPU memory."""

from __future__ import annotations

from dataclasses import replace

import torch

from orchestrator.training.monitors.base import Clock, Monitor

_GIB = 1024.0**3


class Throughput(Monitor):
    """Means over the steps since the last look, of rank 0.

    `data` is taking, augmenting and moving the batch, as the loop waits for it; `model` is the rest of the
    step.
    """

    def start(self) -> None:
        self._seen = Clock()
        self._step = 0

    def after_step(self, step: int) -> None:
        now, before = self.run.clock, self._seen
        steps, seconds = step - self._step, now.step_s - before.step_s
        if self._step == 0 and steps > 1:  # resumed: the steps before were of another attempt
            steps = 0
        data_s, samples = now.data_s - before.data_s, now.samples - before.samples
        self._seen, self._step = replace(now), step
        if seconds <= 0 or steps <= 0:
            return
        values = {
            "time/step_ms": 1000 * seconds / steps,
            "time/data_ms": 1000 * data_s / steps,
            "time/data_share": data_s / seconds,
            "time/samples_per_s": samples * self.run.world_size / seconds,
        }
        if self.run.device.type == "cuda":
            values["gpu/memory_gib"] = torch.cuda.memory_allocated(self.run.device) / _GIB
            values["gpu/memory_peak_gib"] = torch.cuda.max_memory_allocated(self.run.device) / _GIB
        self.run.sink.scalars(values, step)
