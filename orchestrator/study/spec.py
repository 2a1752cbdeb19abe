"""The study file as frozen, typed data: exactly its keys, nothing else is accepted.

A `StudySpec` holds what one section can say about itself. What several sections say together (a component
that addresses a key which the baseline lacks, two equal arms) is checked in `checks` and `designs`.
`${...}` references in `baseline` and `components` are kept: they are resolved after an arm's changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    StringConstraints,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from orchestrator.study.command import CommandSpec
from orchestrator.study.names import Loggers, Monitors
from orchestrator.study.notify import NotifySpec
from orchestrator.study.plugins import OneOf
from orchestrator.study.registered import DESIGNS, GOALS, RULES, SEARCHES
from orchestrator.study.section import Section, Text
from orchestrator.study.values import (
    AutoCount,
    AutoLooks,
    AutoNumber,
    AutoSeconds,
    AutoShare,
    Groups,
    Interactions,
    Label,
    Name,
    PositiveNumber,
    Seconds,
    Seeds,
)

Phase = Literal["fixed", "retuned"]
"""Arms are compared with the settings of the study file, or each with the winner of its own search."""
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=300)]
"""`package.module:name`."""


class MetricSpec(Section):
    """What is compared."""

    name: Text
    """The key that the trial reports."""
    mode: Literal["min", "max"]
    """Whether lower or higher is better."""
    average_last: Annotated[int, Field(ge=1)] = 1
    """The score at a rung, and at the end, is the mean of this many last reports."""
    also: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Further reported keys, columns of the report; no decision looks at them."""
    at: Literal["last", "best"] = "last"
    """The report that a trial counts with: its last, or the one where `name` was best (so far, at rungs)."""
    test: Text | None = None
    """Key that effects are claimed on, taken from the report that counts; `name` then only selects: the
    report (`at: best`), who goes on at a rung, the winner of a search."""
    test_mode: Literal["min", "max"] | None = None
    """Whether lower or higher is better of `test`; null: as of `name`."""

    @property
    def claimed(self) -> str:
        """The key that effects are differences of."""
        return self.test or self.name

    @property
    def claimed_mode(self) -> Literal["min", "max"]:
        """Whether lower or higher is better of that key."""
        return self.test_mode or self.mode


class Component(Section):
    """One thing that the study takes away (`without`) or exchanges (`swap`)."""

    without: dict[str, Any] | None = None
    """Dotted baseline keys and the values that switch the component off."""
    swap: dict[str, dict[str, Any]] | None = None
    """Name of each alternative, with its dotted baseline keys and values."""
    why: str | None = None
    """The question that this component answers, for the report."""
    label: Label | None = None
    """How reports call it: `batch normalisation`."""
    labels: dict[str, Label] = Field(default_factory=dict)
    """How reports call the alternatives of `swap`, by name."""
    acts_after: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps before which the component does nothing: `check` then does not ask for a difference."""


class StoppingSpec(Section):
    """How long a trial is, and when it may end before that."""

    rule: Annotated[str, OneOf(RULES)] = "none"
    """`none`: the whole grid; `resolve`: full-length seeds until each effect is resolved; `asha`: stops the
    unpromising trials at rungs (exploration, no claim at full length)."""
    version: AutoCount = "auto"
    """Of the rule, with resolve of its goal; `auto`: the newest, and that of a study that has begun. It is
    registered before the first run, so that a study goes on as it began."""
    goal: Annotated[str, OneOf(GOALS)] = "save"
    """`save`: what resolved arms leave over is saved; `screen`: so is what arms would have got that one seed
    shows little of; `reinvest`: it is given to the unresolved arms (resolve)."""
    max_seeds: Annotated[int, Field(ge=2)] = 12
    """Most seeds of an arm (resolve with goal: reinvest)."""
    looks: AutoLooks = "auto"
    """After how many seeds the effects are looked at; `auto`: those of 2, 3, 4, 5, 6, 8, 10, 12 below the
    most seeds (from 3 in the first version of a goal), and the most seeds (resolve)."""
    gamma: AutoNumber = "auto"
    """Exponent of the spending function; `auto`: 3; with goal: reinvest 2 for up to six seeds, else
    1.5 (resolve)."""
    futility: Annotated[float, Field(ge=0, lt=1)] = 0.10
    """An arm gets no more seeds when the chance to resolve it falls below this; 0: never (resolve)."""
    max: PositiveNumber
    """Full length in `unit`; the entrypoint sees it as config["max_length"]."""
    unit: Literal["epoch", "step", "report", "seconds"] = "epoch"
    """`epoch`, `step`: keys that the trial reports; `report`: number of reports; `seconds`: asha only."""
    grace: PositiveNumber = 1
    """First rung. With asha no trial is stopped before it; under every rule the report compares at rungs."""
    reduction: Annotated[PositiveNumber, Field(gt=1)] = 3
    """Rungs at grace · reduction^i below max; with asha, the best 1/reduction go on at each."""


def _of_its_rule(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check the section by the model of the rule that it names, which may add settings of its own."""
    settings = section_of(value)
    return handler(value) if settings is None else settings.model_validate(value)


def section_of(stopping: Any) -> type[StoppingSpec] | None:
    """Return the model of a `stopping` section whose rule has settings of its own; None of other sections."""
    rule = stopping.get("rule") if isinstance(stopping, Mapping) else None
    return RULES.get(rule).settings if isinstance(rule, str) and rule in RULES else None


class TuneStopping(Section):
    """How samples of one arm compete."""

    rule: Annotated[str, OneOf(RULES, lambda rule: rule.for_samples)] = "asha"
    """`asha` stops a sample against the samples of the same arm; `none` runs all of them to `max`."""
    grace: PositiveNumber = 1
    """First rung, in the study's unit."""
    reduction: Annotated[PositiveNumber, Field(gt=1)] = 3
    """Rungs at grace · reduction^i below max; at each, the best 1/reduction go on."""


class TuneSpec(Section):
    """The same search for every arm, the baseline included; the winners are compared on fresh seeds."""

    samples: Annotated[int, Field(ge=1)] = 8
    """Settings tried per arm (random, bayes); a grid has as many as its choices make."""
    search: Annotated[str, OneOf(SEARCHES)] = "random"
    """`grid` needs `choice` everywhere; `bayes` needs the extra [bayes]."""
    space: dict[str, dict[str, Any]]
    """Dotted baseline keys, each with one of choice, uniform, loguniform, randint."""
    stopping: TuneStopping = TuneStopping()
    """When a sample ends before `stopping.max`."""
    compare: Literal["fixed", "retuned", "both"] = "retuned"
    """Effects with each arm's own winner (retuned), with the settings of this file (fixed: nothing is tuned),
    or both side by side."""
    seed: Annotated[int, Field(ge=10_000)] = 10_000
    """Seed of all samples; no evaluation may use it."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in which arms are compared: with the settings of the file, with each arm's winner."""
        return ("fixed", "retuned") if self.compare == "both" else (self.compare,)

    @property
    def searches(self) -> bool:
        """Whether anything is tuned: `compare: fixed` says that nothing is."""
        return "retuned" in self.phases


class ResourcesSpec(Section):
    """What one trial gets, and how many run at once."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Processes per trial; more than one train data-parallel."""
    cpus_per_worker: PositiveNumber = 1
    """CPUs of one worker; those beside the first load samples, where `data.num_workers` says nothing else."""
    gpus_per_worker: AutoShare = "auto"
    """GPUs of one worker; `auto` is one where the cluster has any, and none otherwise."""
    accelerator_type: Text | None = None
    """GPU type of all workers, by Ray's name (`H100`); null: any, and the report marks pairs on several."""
    max_parallel: AutoCount = "auto"
    """Most trials at the same time."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Which study goes first where several share a machine or a cluster: the higher one."""
    reuse_workers: bool = True
    """Keep the worker group between trials; false starts a fresh one for every trial."""
    run_ahead: bool = True
    """Let lanes that would be idle start seeds which a look may turn out not to need (resolve)."""


class BudgetSpec(Section):
    """When to stop starting trials."""

    gpu_hours: PositiveNumber | None = None
    """GPU hours of the whole study."""
    wall_s: Seconds | None = Field(default=None, alias="wall")
    """Wall time of the whole study: `2h`, `90m`, or seconds."""


StopWhen = Literal["first", "all", "never"]
"""Which failures of their own end a study."""


class FailuresSpec(Section):
    """What happens when a trial fails."""

    max_retries: Annotated[int, Field(ge=0)] = 3
    """Second tries after infrastructure failures; counted afresh from every new checkpoint."""
    report_timeout: AutoSeconds = "auto"
    """A trial that is silent for longer hangs; `auto` is max(30 min, 5 × the longest interval seen). It
    begins with the first report, or when another rank waits there for rank 0."""
    stop_when: StopWhen = "first"
    """The study stops when `first`: a run of the reference arm fails for its own reasons and none of it has
    come to its end; `all`: so for every arm; `never`: every cell gets its run, whatever fails."""


class CheckpointSpec(Section):
    """Which checkpoints are made and kept."""

    every: PositiveNumber = 1
    """Distance of checkpoints, in the study's unit."""
    at: Annotated[tuple[PositiveNumber, ...], Field(strict=False)] = ()
    """Further lengths, in the study's unit, at which one is made; those are kept for good."""
    keep_best: Annotated[int, Field(ge=0)] = 1
    """How many of the best are kept."""
    keep_latest: Annotated[int, Field(ge=1)] = 2
    """How many of the latest are kept."""


class ReportSpec(Section):
    """How effects are judged; part of what is registered before the first run."""

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Family-wise error level."""
    margin: PositiveNumber | None = None
    """Differences below this are practically equal, in the metric's units."""
    variance: Literal["moderated", "per_arm"] = "moderated"
    """`moderated` borrows strength from all arms; `per_arm` is strict: plain paired t, union-bound levels."""


_CODE = TypeAdapter[str](Code)


def _of_its_kind(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Check a mapping as a command and everything else as a name, so that faults say which is meant."""
    del handler
    if isinstance(value, (Mapping, CommandSpec)):
        return CommandSpec.model_validate(value)
    return _CODE.validate_python(value, strict=True)


class StudySpec(Section):
    """An ablation study: a baseline, its components, seeds, and how long each trial runs."""

    name: Name
    """Names the study and its directory under `storage`."""
    entrypoint: Annotated[Code | CommandSpec, WrapValidator(_of_its_kind)]
    """`package.module:name` of a Task, a LightningModule or a plain Ray Train function; or a `command`."""
    metric: MetricSpec
    baseline: dict[str, Any]
    """Free-form settings, handed to the entrypoint with `seed` and `max_length` added."""
    components: dict[str, Component] = {}  # noqa: RUF012 - pydantic copies it
    """What is taken away or exchanged, by name."""
    design: Annotated[str, OneOf(DESIGNS)] = "leave-one-out"
    """`leave-one-out` compares with the baseline, `add-one-in` with everything taken away; `pairs` adds every
    pair of components with `without`, `factorial` is all combinations, `fractional` a resolution-IV part."""
    interactions: Interactions = "none"
    """`none`, `auto` (pairs among the resolved effects), or pairs of components: [[a, b], ...]."""
    exclude: Groups = ()
    """Components that must not be taken away together: [[a, b], ...]."""
    max_cells: Annotated[int, Field(ge=1)] = 2000
    """A study with more cells than this is refused."""
    seeds: Seeds
    """A number n means 0..n-1; or a list."""
    stopping: Annotated[SerializeAsAny[StoppingSpec], WrapValidator(_of_its_rule)]
    tune: TuneSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    budget: BudgetSpec = BudgetSpec()
    failures: FailuresSpec = FailuresSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    storage: Text = "runs"
    """A path, or a URI such as s3://bucket/prefix."""
    report: ReportSpec = ReportSpec()
    monitor: Monitors = "auto"
    """What watches a Task, by name or as module:Class; `auto`: what fits its `kind`; []: nothing."""
    datamodule: Code | None = None
    """`package.module:name` of the LightningDataModule that goes with a LightningModule."""
    datasets: Code | None = None
    """`package.module:name` of a function, config -> Ray datasets by name: what a plain Ray Train function
    gets from ray.train.get_dataset_shard."""
    loggers: Loggers = ("tensorboard",)
    """Where curves go beside the trial's own tables: tensorboard, wandb, mlflow."""
    notify: NotifySpec | None = None
    deterministic: bool = False
    """Ask torch for deterministic kernels."""
    allow_short: bool = False
    """Accept trials that return before `max`."""

    @property
    def code(self) -> str | dict[str, Any]:
        """What names the user's code, as plain data."""
        return (
            self.entrypoint if isinstance(self.entrypoint, str) else self.entrypoint.model_dump(mode="json")
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in which arms are compared: fixed, retuned, or both."""
        return ("fixed",) if self.tune is None else self.tune.phases

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the keys of the study file; `validation.read_spec` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


RESERVED = {"seed": "seeds", "max_length": "stopping.max"}
"""Keys that the orchestrator adds to the config, and the setting that fills each."""
