"""The built-in training loop: one Task, one Session, exact resume.

What a trial computes follows from its config alone: the validation beside it, the reports and an interruption
change nothing. A *step* is one optimizer step.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training import divergence, snapshot
from orchestrator.training.batchlog import BatchLog
from orchestrator.training.monitors.base import Clock, MonitoredTrial
from orchestrator.training.monitors.catalogue import choose
from orchestrator.training.monitors.watch import Watch
from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.pace import Pace
from orchestrator.training.ranks import mean_over_ranks, to_device, unwrapped
from orchestrator.training.samples import Samples, Shard, TrainingOrder
from orchestrator.training.session import Diverged, Session
from orchestrator.training.settings import loop_settings, optim_settings
from orchestrator.training.snapshot import Position, TrainingSnapshot
from orchestrator.training.task import TRAIN, VAL, Batch, Optimizer, Table, Task, data_key
from orchestrator.training.validation import Validator, evaluating

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OPTIMIZER = "optimiser"
"""Its key in checkpoints, as the first version spelled it."""


def run_task(task_class: type[Task], session: Session) -> None:
    """Train one trial to its full length, reporting as it goes.

    Reports `{epoch, step, train/loss, val/loss, val/<score or metric>}`; `epoch` is a whole number when there
    is one report per epoch, else a fraction.

    Raises:
        TrialStopped: the session ended the trial at a report.
        Diverged: the training loss is NaN or infinite.
        ValueError: config or data that the loop cannot use.
    """
    Trainer(task_class(session.config), session).run()


class Trainer:
    """One trial in the making: set up, then step by step."""

    def __init__(self, task: Task, session: Session) -> None:
        self.task = task
        self.session = session
        self.settings = loop_settings(session.config)
        self.shard = Shard(
            self.settings.batch_size, self.settings.accumulate, session.world_rank, session.world_size
        )
        data = _load_data(task, session)
        self.train, val = Samples(data[TRAIN]), Samples(data[VAL])
        label = task.label_key if self.settings.balanced else None
        self.order = TrainingOrder(self.train, task.streams, label)
        self.steps_per_epoch = self.shard.steps_per_epoch(self.train.count)
        self.device = session.device
        dtype = _DTYPES[self.settings.precision]
        self.autocast = torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.validator = Validator(task, val, self.shard, self.device, self.autocast)
        self.pace = Pace(self.settings.val_batch_every)
        self.log = BatchLog(session.scalars, session.world_size, self.device)
        self.position = Position()
        self.clock = Clock()
        self.model: nn.Module
        self.optimizer: Optimizer
        self.guard: divergence.DivergenceGuard
        self.watch: Watch
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._shown: dict[str, float] = {}
        self._told = False
        self._last_clock = time.perf_counter()
        self._pending_s = 0.0

    def run(self) -> None:
        """From the checkpoint to go on from, or from the start, to the full length."""
        self._build()
        self._last_clock = time.perf_counter()
        try:
            while not self._finished():
                self._step()
                if self.position.step % self._report_interval() == 0 or self._finished():
                    self._report()
        except Diverged as error:
            raise Diverged(error.step, error.loss, self._origin(error.step)) from None

    def first_losses(self, count: int) -> list[float]:
        """Losses of the first `count` steps, without validation or a report (for `orchestrate check`)."""
        self._build()
        losses = []
        for _ in range(count):
            self._step()
            losses.append(self.log.take_mean())
        return losses

    # --- set-up --------------------------------------------------------------------------------------
    def _build(self) -> None:
        streams, config = self.task.streams, self.session.config
        streams.seed_globals("build")
        model = self.task.build_model(config)
        self.task.init_weights(model, streams)
        with self.session.resume_dir() as folder:
            saved, self.position = snapshot.load(folder) if folder else (None, Position())
            if saved:
                model.load_state_dict(saved["model"])
            self.model = self.session.prepare_model(model)
            self.model.train()
            own = self.task.optimizer(self.model, config)
            self.optim = optim_settings(config, extra_keys=own is not None)
            self.optimizer = own or PlainOptimizer(self.model.parameters(), self.optim)
            for group in self.optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
            if saved and folder:
                self.optimizer.load_state_dict(saved[OPTIMIZER])
                self.scaler.load_state_dict(saved["scaler"])
                snapshot.load_random_state(folder, self.session.world_rank)
            else:
                streams.seed_globals("runtime", self.session.world_rank)
        self.guard = divergence.DivergenceGuard(self.optimizer, self.session.world_size, self.device)
        self.watch = self._watch()

    def _watch(self) -> Watch:
        """Return the monitors, which see the trial as it is now; costs nothing when there are none."""
        session, model = self.session, unwrapped(self.model)
        run = MonitoredTrial(
            self.task,
            model,
            self.validator.samples,
            session.sink,
            self.device,
            lambda batch: self.validator.forward(model, batch),
            session.world_rank,
            session.world_size,
            self.clock,
            lambda: float(self.scaler.get_scale()),
        )
        chosen = choose(session.monitors, self.task)
        named = not isinstance(session.monitors, str)
        return Watch(chosen, run, self.settings.monitor_every, named=named)

    # --- one step ------------------------------------------------------------------------------------
    def _step(self) -> None:
        epoch, step_in_epoch = divmod(self.position.step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.order.of(epoch))
        self._set_learning_rate()
        losses = []
        shares = list(self.shard.train_indices(self._order[1], step_in_epoch))
        for i, indices in enumerate(shares):
            losses.append(self._forward_backward(indices, epoch, last=i == len(shares) - 1))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        self.position.step += 1
        self.log.add(self.position.step, loss, self._changed_settings())
        if self.guard.stop(loss):
            self.log.flush()  # raises
        self.watch.after_backward(self.position.step)
        self._update()
        if self.log.full:
            self.log.flush()
        self._count_time(self._tick())
        if not self.log.pending:
            self._agree_on_time()
        self._validate_batch()

    def _count_time(self, seconds: float) -> None:
        """Hand the seconds of a step to everything that is paced by it."""
        self.pace.trained(seconds)
        self.clock.step_s += seconds
        self.clock.samples += self.settings.batch_size * self.settings.accumulate
        self.watch.after_step(self.position.step, seconds)
        if self.watch.looks(self.position.step):
            self._tick()  # what monitors take is not part of the next step

    def _batch(self, indices: Tensor, epoch: int) -> Batch:
        batch = self.order.take(indices)
        batch = self.task.augment(batch, self.order.draws(batch, indices, epoch))
        return to_device(batch, self.device)

    def _forward_backward(self, indices: Tensor, epoch: int, *, last: bool) -> Tensor:
        """Gradients of one batch; ranks exchange them at the last one of the step only. Returns the loss."""
        began = time.perf_counter()
        batch = self._batch(indices, epoch)
        self.clock.data_s += time.perf_counter() - began
        alone = not last and hasattr(self.model, "no_sync")
        with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with self.autocast:
                outputs = self.task.forward(self.model, batch)
                loss = _scalar(self.task, self.task.loss(outputs, batch))
            self.scaler.scale(loss / self.settings.accumulate).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _update(self) -> None:
        optimizer: Any = self.optimizer  # the scaler asks for param_groups and step only
        if self.settings.clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.scaler.step(optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _set_learning_rate(self) -> None:
        progress = self._progress()
        factor = self.task.schedule(progress, self.session.config)
        if factor is None:
            factor = self.optim.factor(progress, self.position.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def _changed_settings(self) -> dict[str, float]:
        """Learning rate, momentum and weight decay of the first group, where they changed."""
        group = self.optimizer.param_groups[0]
        momentum = group.get("momentum", group.get("betas", (0.0,))[0])
        now = {"lr": group["lr"], "momentum": momentum, "weight_decay": group.get("weight_decay", 0.0)}
        values = {f"optim/{name}": float(value) for name, value in now.items()}
        changed = {name: value for name, value in values.items() if self._shown.get(name) != value}
        self._shown = values
        return changed

    def _validate_batch(self) -> None:
        step = self.position.step
        if self.session.world_rank == 0 and self.pace.due(step):
            loss = self.validator.batch_loss(unwrapped(self.model), step)
            self.session.scalars({"val/batch_loss": loss}, step)
            self.pace.validated(self._tick())

    def _origin(self, step: int) -> str:
        """Where a loss that is not finite came from: the step (from 1) once more, without its update."""
        epoch, step_in_epoch = divmod(step - 1, self.steps_per_epoch)
        shares = self.shard.train_indices(self.order.of(epoch), step_in_epoch)
        told = self._first_finding(self._batch(indices, epoch) for indices in shares)
        return told or "but a replay of the step did not show it again"

    def _tell_validation_origin(self) -> None:
        """Say once where a validation loss that is not finite came from; it alone does not end the trial."""
        self._told = True
        samples = self.validator.samples
        shares = self.shard.val_indices(samples.count)
        with evaluating(unwrapped(self.model)):
            origin = self._first_finding(to_device(samples.take(i), self.device) for i in shares)
        origin = origin or "in the sum over all samples"
        text = f"val/loss is not finite at step {self.position.step}, {origin}"
        self.session.sink.text("diverged/validation", text, self.position.step)
        log.warning(text)

    def _first_finding(self, batches: Iterable[Batch]) -> str | None:
        """Return what the first batch that is not finite shows, on any rank; the same on all of them."""
        model = unwrapped(self.model)
        findings = (
            divergence.find(model, batch, lambda b: self.validator.forward(model, b), self.validator.loss)
            for batch in batches
        )
        finding = next((found for found in findings if found is not None), None)
        return divergence.best_of_ranks(finding, self.session.world_size)

    # --- reports -------------------------------------------------------------------------------------
    def _report(self) -> None:
        train_loss = self.log.take_mean()
        self._agree_on_time()
        watched = self.watch.start_pass(self.position.step, last=self._finished())
        metrics = self.validator.full(unwrapped(self.model), self.watch if watched else None)
        if not (math.isfinite(metrics["val/loss"]) or self._told):
            self._tell_validation_origin()
        self._tick()
        self.position.reports += 1
        step = self.position.step
        whole = self.settings.report_every == "epoch" and step % self.steps_per_epoch == 0
        epoch = step // self.steps_per_epoch if whole else step / self.steps_per_epoch
        taken = self._checkpoint() if self.session.checkpoint_due(self._length()) else None
        self.session.report({"epoch": epoch, "step": step, "train/loss": train_loss, **metrics}, taken)

    def _checkpoint(self) -> TrainingSnapshot:
        state: dict[str, Any] = {}
        if self.session.world_rank == 0:
            state = {
                "model": unwrapped(self.model).state_dict(),
                OPTIMIZER: self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
        return snapshot.take(state, self.position, self.session.world_rank)

    # --- length --------------------------------------------------------------------------------------
    def _report_interval(self) -> int:
        every = self.settings.report_every
        return self.steps_per_epoch if every == "epoch" else int(every)

    def _length(self) -> float:
        """How far the trial is, in the session's unit."""
        position = self.position
        if self.session.unit == "epoch":
            return position.step / self.steps_per_epoch
        of = {"step": position.step, "report": position.reports, "seconds": position.elapsed_s}
        return of[self.session.unit]

    def _finished(self) -> bool:
        return self._progress() >= 1.0

    def _progress(self) -> float:
        unit, longest, position = self.session.unit, self.session.max_length, self.position
        if unit == "seconds":
            return min(1.0, position.elapsed_s / longest)
        each = {"epoch": self.steps_per_epoch, "step": 1, "report": self._report_interval()}[unit]
        return min(1.0, position.step / math.ceil(longest * each))

    def _tick(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        passed, self._last_clock = now - self._last_clock, now
        self._pending_s += passed
        return passed

    def _agree_on_time(self) -> None:
        """Add the time since the last agreement to the trial's, the same on every rank."""
        self._tick()
        self.position.elapsed_s += mean_over_ranks([self._pending_s], self.session.world_size, self.device)[0]
        self._pending_s = 0.0


def _scalar(task: Task, loss: Any) -> Tensor:
    """Return the loss, which has to be one number. Raises ValueError when it is not."""
    if isinstance(loss, Tensor) and loss.dim() == 0:
        return loss
    found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise ValueError(
        f"{type(task).__name__}.loss gives {found}, not a scalar tensor; average over the batch: loss.mean()"
    )


def _load_data(task: Task, session: Session) -> Mapping[str, Table]:
    """Return the task's data, split for its seed; the session's cache keeps what no seed changes."""
    key = data_key(task)
    if key not in session.cache:
        if type(task).prepare_data is not Task.prepare_data:
            _prepare_once_at_a_time(task, session)
        for old in [name for name in session.cache if name.startswith("data:")]:
            del session.cache[old]  # one data set at a time: a lane's memory is a trial's memory
        session.cache[key] = task.build_data(session.config)
    data = task.split_data(session.cache[key], task.streams.generator("split"))
    missing = ", ".join(sorted({TRAIN, VAL} - set(data)))
    if missing:
        raise ValueError(f"{type(task).__name__} gives no {missing} data; it has {sorted(data)}")
    return data


def _prepare_once_at_a_time(task: Task, session: Session) -> None:
    """`prepare_data` on one rank per node, under a lock that all trials of the node share."""
    if session.local_rank == 0:
        digest = hashlib.sha256(data_key(task).encode()).hexdigest()[:16]
        lock = Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}-{digest}.lock"
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            task.prepare_data(session.config)
    session.barrier()
