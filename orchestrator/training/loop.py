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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training import divergence, snapshot
from orchestrator.training.batchlog import BatchLog
from orchestrator.training.loading import Feed, PoolSettings, Request, feed_for
from orchestrator.training.monitors.base import Clock, MonitoredTrial
from orchestrator.training.monitors.catalogue import choose
from orchestrator.training.monitors.watch import Watch
from orchestrator.training.pace import Pace
from orchestrator.training.patience import Patience
from orchestrator.training.ranks import mean_over_ranks, to_device, unwrapped
from orchestrator.training.recipe import ONLY, Recipe, laid_out, prepare
from orchestrator.training.samples import Samples, Shard, TrainingOrder
from orchestrator.training.scores import SampleScores
from orchestrator.training.session import Diverged, Session
from orchestrator.training.settings import LoopSettings, loop_settings
from orchestrator.training.snapshot import Position, TrainingSnapshot
from orchestrator.training.task import TEST, TRAIN, VAL, Batch, Table, Task, collate_of, data_key
from orchestrator.training.validation import Measured, Validator, evaluating

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        parts = [part for part in (TRAIN, VAL, TEST) if part in data]
        samples = {part: Samples(data[part], collate_of(task)) for part in parts}
        self.train = samples[TRAIN]
        label = task.label_key if self.settings.balanced else None
        self.order = TrainingOrder(self.train, task.streams, label)
        self.steps_per_epoch = self.shard.steps_per_epoch(self.train.count)
        self.device = session.device
        dtype = _DTYPES[self.settings.precision]
        self.autocast = torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)
        self.feed = _feed(task, samples, self.settings, session)
        measured = {part: Measured(part, samples[part], self._fetch) for part in parts if part != TRAIN}
        self.scores = SampleScores(task, session)
        self.validator, *self.testers = (
            Validator(task, each, self.shard, self.device, self.autocast, self.scores)
            for each in measured.values()
        )
        self.pace = Pace(self.settings.val_batch_every)
        self.log = BatchLog(session.scalars, session.world_size, self.device)
        self.position = Position()
        self.clock = Clock()
        self.recipe: Recipe
        self.guard: divergence.DivergenceGuard
        self.watch: Watch
        self.patience: Patience | None = None
        if self.settings.patience is not None:
            self.patience = Patience(
                self.settings.patience, session.metric, session.mode, self.settings.min_delta
            )
        self._shown: dict[str, float] = {}
        self._told = False
        self._val_ahead: list[int] = []  # steps whose validation batch is being loaded
        self._last_clock = time.perf_counter()
        self._pending_s = 0.0

    @property
    def model(self) -> nn.Module:
        """What is trained, perhaps in a data-parallel wrapper."""
        return self.recipe.model

    def run(self) -> None:
        """From the checkpoint to go on from, or from the start, to the full length or the end of patience."""
        self._build()
        self._last_clock = time.perf_counter()
        try:
            while not (self._finished() or self._out_of_patience()):
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
            self.recipe = prepare(self.task, model, self.session, self.settings)
            if saved and folder:
                self.recipe.load(saved)
                snapshot.load_random_state(folder, self.session.world_rank)
            else:
                streams.seed_globals("runtime", self.session.world_rank)
        optimizer = self.recipe.optimizer
        self.guard = divergence.DivergenceGuard(optimizer, self.session.world_size, self.device)
        self.watch = self._watch()
        self.feed.begin(self._plan())

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
            lambda: float(self.recipe.scaler.get_scale()),
        )
        chosen = choose(session.monitors, self.task)
        named = not isinstance(session.monitors, str)
        return Watch(chosen, run, self.settings.monitor_every, named=named)

    # --- one step ------------------------------------------------------------------------------------
    def _step(self) -> None:
        recipe, step = self.recipe, self.position.step + 1
        recipe.set_learning_rates(self._factor())
        batches: Iterable[Batch] = map(self._fetch_timed, self._requests(step - 1))
        if len(recipe.optimizers) > 1:
            batches = list(batches)  # each of them gets all
        self.position.step = step
        settings, total = self._changed_settings(), None
        for name in recipe.optimizers:
            loss = self._forward_backward(name, batches)
            total = loss if total is None else total + loss
            if self.guard.stop(loss):
                self.log.add(step, total, settings)
                self.log.flush()  # raises
            self.watch.after_backward(step)
            recipe.update(name)
        assert total is not None
        self.log.add(step, total, settings)
        recipe.after_step(step, step % self.steps_per_epoch == 0)
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

    def _requests(self, step: int) -> list[Request]:
        """Return what this rank trains on in a step (from 0), for each of its forward passes."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        shares = self.shard.train_indices(self.order.of(epoch), step_in_epoch)
        return [Request(TRAIN, indices, epoch) for indices in shares]

    def _plan(self) -> Iterator[Request]:
        """Yield what will be asked for from here on, as far as that is known beforehand."""
        step = self.position.step
        self._val_ahead.clear()
        while step < self._last_step():
            yield from self._requests(step)
            step += 1
            if self._may_plan_validation() and self.pace.due(step):
                self._val_ahead.append(step)
                yield self.validator.batch_request(step)
            if step % self._report_interval() == 0 or step >= self._last_step():
                yield from self._measuring()

    def _measuring(self) -> Iterator[Request]:
        """Yield what a report asks for."""
        for measured in (self.validator, *self.testers):
            yield from measured.requests()

    def _fetch(self, request: Request) -> Batch:
        """Return a batch on the device."""
        batch = to_device(self.feed.take(request), self.device)
        return laid_out(batch, self.settings.channels_last)

    def _fetch_timed(self, request: Request) -> Batch:
        began = time.perf_counter()
        batch = self._fetch(request)
        self.clock.data_s += time.perf_counter() - began
        return batch

    def _forward_backward(self, name: str, batches: Iterable[Batch]) -> Tensor:
        """Gradients of a step's batches; ranks exchange them at the last one only. Returns the loss."""
        losses: list[Tensor] = []
        for batch in batches:
            alone = len(losses) < self.settings.accumulate - 1 and hasattr(self.model, "no_sync")
            with self.model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                with self.autocast:
                    loss = self._loss(name, batch)
                self.recipe.scaler.scale(loss / self.settings.accumulate).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        self.recipe.exchange(name)
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _loss(self, name: str, batch: Batch) -> Tensor:
        if name != ONLY:
            return _scalar(self.task, "loss_of", self.task.loss_of(name, unwrapped(self.model), batch))
        outputs = self.task.forward(self.model, batch)
        return _scalar(self.task, "loss", self.task.loss(outputs, batch))

    def _factor(self) -> float:
        """Return the factor on the learning rates of the next step."""
        progress = self._progress()
        factor = self.task.schedule(progress, self.session.config)
        return self.recipe.optim.factor(progress, self.position.step) if factor is None else factor

    def _changed_settings(self) -> dict[str, float]:
        """Learning rate, momentum and weight decay of the first group, where they changed."""
        group = self.recipe.optimizer.param_groups[0]
        momentum = group.get("momentum", group.get("betas", (0.0,))[0])
        now = {"lr": group["lr"], "momentum": momentum, "weight_decay": group.get("weight_decay", 0.0)}
        values = {f"optim/{name}": float(value) for name, value in now.items()}
        changed = {name: value for name, value in values.items() if self._shown.get(name) != value}
        self._shown = values
        return changed

    def _may_plan_validation(self) -> bool:
        """May one be planned? Where they are due by time, one at a time: what it takes is known later."""
        return self.session.world_rank == 0 and not (self.pace.every == "auto" and self._val_ahead)

    def _validation_due(self, step: int) -> bool:
        if self.feed.settings is None:
            return self.session.world_rank == 0 and self.pace.due(step)
        planned = self._val_ahead[:1] == [step]
        if planned:
            del self._val_ahead[0]
        return planned

    def _validate_batch(self) -> None:
        step = self.position.step
        if self._validation_due(step):
            loss = self.validator.batch_loss(self.recipe.evaluated, step)
            self.session.scalars({"val/batch_loss": loss}, step)
            self.pace.validated(self._tick())

    def _origin(self, step: int) -> str:
        """Where a loss that is not finite came from: the step (from 1) once more, without its update."""
        told = self._first_finding(map(self._fetch, self._requests(step - 1)))
        return told or "but a replay of the step did not show it again"

    def _tell_validation_origin(self) -> None:
        """Say once where a validation loss that is not finite came from; it alone does not end the trial."""
        self._told = True
        model = self.recipe.evaluated
        with evaluating(model):
            origin = self._first_finding(map(self._fetch, self.validator.requests()), model)
        origin = origin or "in the sum over all samples"
        text = f"val/loss is not finite at step {self.position.step}, {origin}"
        self.session.sink.text("diverged/validation", text, self.position.step)
        log.warning(text)

    def _first_finding(self, batches: Iterable[Batch], module: nn.Module | None = None) -> str | None:
        """Return what the first batch that is not finite shows, on any rank; the same on all of them."""
        model = module or unwrapped(self.model)
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
        if not self.feed.expects(next(self._measuring())):
            self.feed.begin(chain(self._measuring(), self._plan()))
        metrics = self.validator.full(self.recipe.evaluated, self.watch if watched else None)
        for tester in self.testers:
            metrics |= tester.full(self.recipe.evaluated)
        self.scores.hand_over()
        self.recipe.after_report(metrics["val/loss"])
        if not (math.isfinite(metrics["val/loss"]) or self._told):
            self._tell_validation_origin()
        self._tick()
        self.position.reports += 1
        if self.patience is not None:
            self.patience.saw(metrics, self.position)
        step = self.position.step
        whole = self.settings.report_every == "epoch" and step % self.steps_per_epoch == 0
        epoch = step // self.steps_per_epoch if whole else step / self.steps_per_epoch
        taken = self._checkpoint() if self.session.checkpoint_due(self._length()) else None
        self.session.report({"epoch": epoch, "step": step, "train/loss": train_loss, **metrics}, taken)

    def _checkpoint(self) -> TrainingSnapshot:
        state: dict[str, Any] = {}
        if self.session.world_rank == 0:
            state = self.recipe.state()
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

    def _out_of_patience(self) -> bool:
        why = self.patience.over(self.position) if self.patience is not None else None
        if why is not None:
            self.session.ends_early(why)
        return why is not None

    def _progress(self) -> float:
        if self.session.unit == "seconds":
            return min(1.0, self.position.elapsed_s / self.session.max_length)
        return min(1.0, self.position.step / self._last_step())

    def _last_step(self) -> float:
        """Return the step of the full length; infinite where that is a time."""
        unit = self.session.unit
        if unit == "seconds":
            return math.inf
        each = {"epoch": self.steps_per_epoch, "step": 1, "report": self._report_interval()}[unit]
        return math.ceil(self.session.max_length * each)

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


def _scalar(task: Task, hook: str, loss: Any) -> Tensor:
    """Return the loss, which has to be one number. Raises ValueError when it is not."""
    if isinstance(loss, Tensor) and loss.dim() == 0:
        return loss
    found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise ValueError(
        f"{type(task).__name__}.{hook} gives {found}, not a scalar tensor; "
        "average over the batch: loss.mean()"
    )


def _feed(task: Task, samples: Mapping[str, Samples], settings: LoopSettings, session: Session) -> Feed:
    wanted = settings.num_workers
    loading = PoolSettings(
        workers=session.loader_workers if wanted == "auto" else int(wanted),
        prefetch=settings.prefetch_factor,
        pin_memory=settings.pin_memory is not False and session.device.type == "cuda",
    )
    return feed_for(task, samples, loading, wanted, session.cache)


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
