"""The gates that a LightningModule can be asked: data and `training_step` on the bench, real short trials.

A `training_step` takes the batch and gives the loss: what the model says of a sample is not seen in between.
Gates that need it are skipped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import default_collate

from orchestrator.training.gates.bench import Bench, HookFault, NotShown, called, checked_samples
from orchestrator.training.gates.repeat import weights_of
from orchestrator.training.gates.results import CheckRequest, GateVerdict, failed, passed
from orchestrator.training.lightning.callbacks import FirstLosses, LightningPlace
from orchestrator.training.lightning.fit import Lit, fit, trainer_for
from orchestrator.training.samples import Samples
from orchestrator.training.task import ID, TRAIN, VAL, Batch, Optimizer, Outputs, Task

BARE = "batch"
"""Name of the tensor where samples are bare tensors; items of tuples are called 0, 1, ..."""
HALF = 3


def lightning_bench(lit: Lit, request: CheckRequest) -> Bench:
    """Return what the gates look at."""
    return LitBench(_as_task(lit), request, lit=lit)


def _as_task(lit: Lit) -> type[Task]:
    """Return what the gates ask of a Task's class, where the module declares it."""
    classes, lowest = (getattr(lit.module, name, None) for name in ("classes", "lowest_loss"))
    declared = {
        "classes": classes if isinstance(classes, int) else None,
        "lowest_loss": float(lowest) if isinstance(lowest, int | float) else None,
        "loss": lambda _task, outputs, _batch: outputs["loss"],
    }
    return type(lit.module.__name__, (Task,), declared)


@dataclass
class LitBench(Bench):
    """A LightningModule under the reference arm's config; see `Bench`."""

    lit: Lit = field(kw_only=True)
    data_of: ClassVar[tuple[str, ...]] = ("loaders", "sets")
    reports_known: ClassVar[bool] = False

    def config_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, "seed": self.request.seed, "max_length": 1}

    # --- data ----------------------------------------------------------------------------------------
    @cached_property
    def loaders(self) -> dict[str, DataLoader[Any]]:
        """{"train", "val"}, as the DataModule (or the module itself) makes them."""
        module, data = called("__init__", lambda: self.lit.build(self.config))
        source, kind = (module, "LightningModule") if data is None else (data, "DataModule")
        called("prepare_data", source.prepare_data)
        called("setup", lambda: source.setup("fit"))
        found: dict[str, DataLoader[Any]] = {}
        for name in (TRAIN, VAL):
            hook = f"{name}_dataloader"
            loader = called(hook, getattr(source, hook), f"the {kind} gives a DataLoader")
            first = loader[0] if isinstance(loader, Sequence) and len(loader) == 1 else loader
            if not isinstance(first, DataLoader) or not hasattr(first.dataset, "__getitem__"):
                raise NotShown(f"{hook} gives no DataLoader over samples that can be counted")
            if first.collate_fn is not default_collate:
                raise NotShown(f"{hook} has a collate_fn of its own: what a sample is only it knows")
            found[name] = first
        return found

    @cached_property
    def sets(self) -> dict[str, Samples]:
        return {name: checked_samples(name, _Named(loader.dataset)) for name, loader in self.loaders.items()}

    @cached_property
    def batch_size(self) -> int:
        return min(int(self.loaders[TRAIN].batch_size or 1), self.sets[TRAIN].count)

    # --- model ---------------------------------------------------------------------------------------
    def model(self) -> nn.Module:
        module, _ = called("__init__", lambda: self.lit.build(self.config))
        if not module.automatic_optimization:
            said = "it optimises by hand (automatic_optimization = False)"
            raise NotShown(f"{said}: only Lightning can step it")
        called("configure_model", module.configure_model)
        module.log = module.log_dict = _nothing
        with trainer_for(self.lit, self._place(self.config, 1)) as trainer:
            module.trainer = trainer  # for modules that look at it
        ready: nn.Module = module.to(self.device).train()
        return ready

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        there = _restored({name: value.to(self.device) for name, value in batch.items() if name != ID})
        step: Any = model
        given = called("training_step", lambda: step.training_step(there, 0))
        loss = given["loss"] if isinstance(given, Mapping) and "loss" in given else given
        if not isinstance(loss, Tensor):
            raise HookFault("training_step", f"gives a {type(given).__name__}", "return the loss")
        return {"loss": loss}

    def optimizer(self, model: nn.Module) -> Optimizer:
        module: Any = model
        given = called("configure_optimizers", module.configure_optimizers)
        while isinstance(given, tuple | list) and given:
            if isinstance(given, list) and len(given) > 1:
                raise NotShown(f"configure_optimizers gives {len(given)} optimizers")
            given = given[0]
        chosen: Any = given["optimizer"] if isinstance(given, Mapping) else given
        if not isinstance(chosen, torch.optim.Optimizer):
            raise HookFault("configure_optimizers", f"gives a {type(given).__name__}", "return an optimizer")
        return chosen

    # --- whole trials --------------------------------------------------------------------------------
    def first_steps(self, config: Mapping[str, Any], steps: int) -> tuple[tuple[float, ...], nn.Module]:
        seen = FirstLosses()
        quick = {"limit_val_batches": 0, "log_every_n_steps": 1}
        place = self._place(config, steps, callbacks=[seen], **quick)
        model = fit(self.lit, replace(place, unit="step"))
        return tuple(seen.losses), model

    def _place(
        self, config: Mapping[str, Any], length: float, callbacks: Sequence[Any] = (), **options: Any
    ) -> LightningPlace:
        where = {"accelerator": "cpu" if self.device.type == "cpu" else "auto", "devices": 1}
        return LightningPlace(
            config, "epoch", length, _nothing, options={**where, **options}, callbacks=callbacks
        )


def repeats(bench: Bench) -> GateVerdict:
    """A10 by Lightning's own loop: two short epochs twice, then stopped after the first and resumed."""
    assert isinstance(bench, LitBench)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        first, weights = _trial(bench, save=Path(folder))
        missing = [name for name in bench.request.metrics if name not in first[-1]]
        if missing:
            return failed(
                f"the study waits for {', '.join(missing)}, but a trial reports {', '.join(first[-1])}",
                "log it in validation_step: self.log('val_loss', loss)",
                "or name another one under `metric:` in the study file",
            )
        second, again = _trial(bench)
        if first != second or not all(map(torch.equal, weights, again)):
            return failed(
                "the same seed twice gives different trials",
                "random numbers that do not come from torch, numpy or random after seeding",
                "the order of a set, or of files as the directory lists them (sort them)",
                "state that outlives the trial: a module's global, data changed in place",
            )
        torch.rand(7)  # another trial ran in between
        late, resumed = _trial(bench, resume=Path(folder))
    if late != first[1:] or not all(map(torch.equal, weights, resumed)):
        return failed(
            "a trial that is interrupted after an epoch and resumed differs",
            "state that the checkpoint does not hold: attributes that are no buffers (register_buffer)",
            "random numbers drawn in on_train_epoch_start",
        )
    resumed_when = f"resumed after the first of 2 epochs of {HALF} batches"
    return passed(f"the same seed twice, and a trial {resumed_when}: equal")


def _trial(
    bench: LitBench, save: Path | None = None, resume: Path | None = None
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Return reports of two short epochs, and the weights at the end."""
    rows: list[dict[str, Any]] = []

    def report(metrics: Mapping[str, Any], write: Any) -> None:
        rows.append(dict(metrics))
        if write is not None and save is not None and len(rows) == 1:
            write(save)

    place = bench._place(bench.config, 2, limit_train_batches=HALF, limit_val_batches=2)
    return rows, weights_of(fit(bench.lit, replace(place, report=report, resume=resume)))


INSTEAD = {"A10": repeats}
"""Gates that are asked in another way than of a Task."""


class _Named:
    """A dataset's samples as dicts of named tensors."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self._dataset[index]
        if isinstance(sample, Mapping):
            items = {str(key): value for key, value in sample.items()}
        elif isinstance(sample, tuple | list):
            items = {str(place): value for place, value in enumerate(sample)}
        else:
            items = {BARE: sample}
        try:
            return {name: torch.as_tensor(value) for name, value in items.items()}
        except (TypeError, ValueError, RuntimeError):
            kinds = ", ".join(sorted({type(value).__name__ for value in items.values()}))
            raise NotShown(f"samples hold {kinds}: the gates read tensors and numbers") from None


def _restored(batch: Mapping[str, Tensor]) -> Any:
    """Return the batch as Lightning hands it to the module: a tensor, a list or a dict."""
    if set(batch) == {BARE}:
        return batch[BARE]
    if all(name.isdigit() for name in batch):
        return [batch[str(place)] for place in range(len(batch))]
    return dict(batch)


def _nothing(*_: Any, **__: Any) -> None:
    """In place of `self.log`, which only works inside Lightning's loop; and of a report."""
