"""Calls the monitors of a trial, each where it has something to say, within a share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.training.monitors.base import HOOKS, Monitor, MonitoredTrial, Unfit, has_hook
from orchestrator.training.monitors.reading import READ, Joined, read
from orchestrator.training.pace import Pace
from orchestrator.training.ranks import sum_over_ranks
from orchestrator.training.streams import preserved_random_state
from orchestrator.training.validation import Seen, evaluating

EVERY = 20
"""Steps between two looks at gradients and throughput."""
SHARE = 0.04
"""Share of the training time that goes to validation passes with monitors; room for the last one is kept."""
_GUESS = 10.0  # steps that such a pass is taken to cost before the first one
_DRAWING = 3.0  # what a pass costs, with what is drawn and written later, in times of what monitors take


class Watch:
    """The monitors of one trial on one rank; made once the model is on its device.

    With no monitor every call returns at once. What monitors draw from the global generators, and the modes
    of modules that they change, is put back.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        run: MonitoredTrial,
        every: int | str = "auto",
        *,
        named: bool = True,
    ) -> None:
        """Start the monitors. `named`: the study asked for each of them.

        Raises:
            ValueError: a monitor that is named cannot watch this trial. One that is not is left out, with a
            note.
        """
        self.run = run
        self.pace = Pace("auto", SHARE, _GUESS, keep=1)
        self._every = every
        self._passes = 0
        self._step = 0
        self._spent_s = 0.0
        unread = _unreadable(run) if any(has_hook(m, "predictions") for m in monitors) else None
        started = []
        for monitor in monitors:
            monitor.run = run
            try:
                if unread and has_hook(monitor, "predictions"):
                    raise Unfit(unread)
                monitor.start()
                started.append(monitor)
            except Unfit as error:
                if named:
                    raise ValueError(f"monitor {monitor.name} cannot watch this trial: {error}") from None
                if unread:  # something that the user can mend; a network without convolutions is as it is
                    run.sink.text(f"monitors/{monitor.name}", f"left out: {error}")
        self.monitors = tuple(started)
        self._of = {hook: [m for m in started if has_hook(m, hook)] for hook in HOOKS}
        self._joined = Joined(lambda predictions: self._tell("predictions", predictions))

    # --- beside a training step ----------------------------------------------------------------------
    def looks(self, step: int) -> bool:
        """Is this one of the steps that monitors look at?"""
        return bool(self.monitors) and (step == 1 or step % EVERY == 0)

    def after_backward(self, step: int) -> None:
        """Between the backward pass and the update of step `step` (from 1)."""
        if self.looks(step) and self._of["after_backward"]:
            with preserved_random_state():
                self._tell("after_backward", step)

    def after_step(self, step: int, seconds: float) -> None:
        """Count a step of so many seconds, which the caller has counted in `run.clock`."""
        if self.monitors:
            self.pace.trained(seconds)
            if self.looks(step):
                with preserved_random_state():
                    self._tell("after_step", step)

    # --- around a validation pass --------------------------------------------------------------------
    def start_pass(self, step: int, *, last: bool) -> bool:
        """Whether the monitors look at the validation pass after step `step`: the same on all ranks.

        At the last one in any case, at the others as `every` says, or as their share of the time allows.
        """
        if not self._of["validation_end"]:
            return False
        self._passes += 1
        if isinstance(self._every, int):
            wanted = last or self._passes % self._every == 0
        else:
            wanted = last or self.pace.due(step)
        if self.run.world_size > 1:
            mine = [float(wanted and self.run.world_rank == 0)]
            wanted = sum_over_ranks(mine, self.run.world_size, self.run.device)[0] > 0
        if wanted:
            self._step, self._spent_s = step, 0.0
            self._tell("validation_start")
        return wanted

    def batch(self, seen: Seen) -> None:
        """One batch of the pass."""
        self._tell("validation_batch", seen)
        if self._of["predictions"] and self.run.task.kind in READ:
            began = time.perf_counter()
            self._joined.add(read(self.run.task, seen.outputs, seen.batch))
            self._spent_s += time.perf_counter() - began

    def end_pass(self) -> None:
        """End the pass: hand on what was joined, and let the monitors write."""
        self._joined.flush()
        self._tell("validation_end", self._step)
        self.pace.validated(_DRAWING * self._spent_s)

    def _tell(self, hook: str, *args: Any) -> None:
        began = time.perf_counter()
        for monitor in self._of[hook]:
            call: Callable[..., None] = getattr(monitor, hook)
            try:
                call(*args)
            except Exception as error:
                note = f"raised by the monitor {monitor.name} in {hook}; `monitor:` chooses without it"
                error.add_note(note)
                raise
        self._spent_s += time.perf_counter() - began


def _unreadable(run: MonitoredTrial) -> str | None:
    """Why predictions and targets cannot be read from a batch of this task; None when they can."""
    if run.task.kind not in READ:
        return None
    with evaluating(run.model):
        batch = run.first_samples(2)
        try:
            read(run.task, run.forward(batch), batch)
        except ValueError as error:
            return str(error)
    return None
