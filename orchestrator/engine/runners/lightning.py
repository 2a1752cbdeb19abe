"""A LightningModule as a trial: Ray's strategies for Lightning, the study's reports and checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.engine.runners.runner import Code, ImportedRunner, NoEntrypoint, TrialPlace, load_name
from orchestrator.training.sink import Silent

if TYPE_CHECKING:
    from orchestrator.engine.attempts import TrialRun
    from orchestrator.training.gates.bench import Bench
    from orchestrator.training.gates.ladder import Gate
    from orchestrator.training.gates.results import CheckRequest

# Lightning is imported by trials that need it: two seconds


class LightningRunner(ImportedRunner):
    """The class of a module, and of the DataModule that goes with it."""

    noun = "a LightningModule"
    takes_datamodule = True
    without: ClassVar[Mapping[str, str]] = {
        "A5": "a training_step takes inputs and targets together: zeros would replace both",
        "A9": "the loop is Lightning's: `trainer: {profiler: simple}` measures it",
        "A13": "set by the module's configure_optimizers: Lightning's own Tuner has a range test",
        "A14": "what it learns is seen in the study: the metrics are the module's own",
        **dict.fromkeys(
            ("P1", "P2", "P3"), "the loop is Lightning's: `trainer: {profiler: simple}` measures it"
        ),
    }

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self._data: Any = None
        if code.datamodule is not None:
            self._data = load_name(code.datamodule, code.root)
            if not _is_lightning(self._data, "LightningDataModule", code.datamodule):
                raise NoEntrypoint(
                    f"{code.datamodule} is no LightningDataModule; `datamodule` names a subclass of it"
                )

    @classmethod
    def takes(cls, target: Any, code: Code) -> bool:
        return _is_lightning(target, "LightningModule", code.entrypoint)

    def run(self, run: TrialRun, place: TrialPlace) -> None:
        from orchestrator.training.lightning.callbacks import LightningPlace
        from orchestrator.training.lightning.fit import Lit, fit

        config = run.config()
        with place.bound(run), run.resume_dir(loading=False) as folder:
            where = LightningPlace(
                config=config,
                unit=run.spec.stopping.unit,
                max_length=float(run.spec.stopping.max),
                report=_reporter(run),
                complete=lambda: run.complete,
                resume=folder,
                rank=run.rank,
                world_size=run.world_size,
                sink=run.log or Silent(),
                monitors=run.spec.monitor,
                options=_options(config),
            )
            fit(Lit(self.target, self._data), where)

    def runs_without_ray(self, workers: int) -> bool:  # noqa: ARG002 - its strategies are Ray's
        return False

    def bench(self, request: CheckRequest, cache: MutableMapping[str, Any]) -> Bench:  # noqa: ARG002
        from orchestrator.training.gates.lightning import lightning_bench
        from orchestrator.training.lightning.fit import Lit

        return lightning_bench(Lit(self.target, self._data), request)

    def gates(self) -> Mapping[str, Gate]:
        from orchestrator.training.gates.lightning import INSTEAD

        return INSTEAD


def _is_lightning(target: Any, base: str, path: Any) -> bool:
    """Whether it is a subclass of Lightning's `base`; told by names: Lightning takes seconds to import."""
    if not inspect.isclass(target):
        return False
    packages = {kind.__module__.partition(".")[0] for kind in target.__mro__ if kind.__name__ == base}
    if "pytorch_lightning" in packages:
        raise NoEntrypoint(f"{path} is built on pytorch_lightning; import lightning.pytorch instead")
    return "lightning" in packages


def _reporter(run: TrialRun) -> Callable[[Mapping[str, Any], Callable[[Path], None] | None], None]:
    from orchestrator.engine.attempts import StagedPart, Staging

    def report(metrics: Mapping[str, Any], save: Callable[[Path], None] | None) -> None:
        part = None
        length = metrics.get(run.spec.stopping.unit, run.index + 1)
        if save is not None and run.checkpoint_due(float(length)):
            part = StagedPart(Staging())
            try:
                save(part.files())
            except BaseException:
                part.discard()
                raise
        run.report(metrics, part)

    return report


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the Trainer needs to work in a Ray worker; the strategy by the name that the config gives
    it.
    """
    from ray.train.lightning import RayDDPStrategy, RayFSDPStrategy, RayLightningEnvironment

    strategies = {
        "ddp": RayDDPStrategy,
        "ddp_find_unused_parameters_true": lambda: RayDDPStrategy(find_unused_parameters=True),
        "fsdp": RayFSDPStrategy,
    }
    name = (config.get("trainer") or {}).get("strategy", "ddp")
    return {
        "strategy": strategies[name](),
        "plugins": [RayLightningEnvironment()],
        "accelerator": "auto",
        "devices": "auto",
    }
