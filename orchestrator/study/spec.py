"""The study file as frozen, typed data: exactly its keys, nothing else is accepted.

A `StudySpec` holds what one section can say about itself. What several sections say together (a component
that addresses a key which the baseline lacks, two equal arms) is checked in `rules` and `designs`.
`${...}` references in `baseline` and `components` are kept: they are resolved after an arm's changes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from orchestrator.study.values import (
    AutoCount,
    AutoSeconds,
    AutoShare,
    Name,
    PositiveNumber,
    Seconds,
    Seeds,
)

Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, serialize_by_alias=True, use_attribute_docstrings=True
    )


class MetricSpec(_Section):
    """What is compared."""

    name: Text
    """The key that the trial reports."""
    mode: Literal["min", "max"]
    """Whether lower or higher is better."""
    average_last: Annotated[int, Field(ge=1)] = 1
    """The score at a rung, and at the end, is the mean of this many last reports."""
    also: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Further reported keys that are kept for the report; no decision looks at them."""


class Component(_Section):
    """One thing that the study takes away (`without`) or exchanges (`swap`)."""

    without: dict[str, Any] | None = None
    """Dotted baseline keys and the values that switch the component off."""
    swap: dict[str, dict[str, Any]] | None = None
    """Name of each alternative, with its dotted baseline keys and values."""
    why: str | None = None
    """The question that this component answers, for the report."""


class StoppingSpec(_Section):
    """How long a trial is, and when it may end before that."""

    rule: Literal["none", "asha"] = "none"
    """`none` runs every trial to `max`; `asha` stops the unpromising ones at rungs."""
    max: PositiveNumber
    """Full length in `unit`; the entrypoint sees it as config["max_length"]."""
    unit: Literal["epoch", "step", "report", "seconds"] = "epoch"
    """`epoch`, `step`: keys that the trial reports; `report`: number of reports; `seconds`: asha only."""
    grace: PositiveNumber = 1
    """First rung (asha): no trial is stopped before it."""
    reduction: Annotated[PositiveNumber, Field(gt=1)] = 3
    """Rungs at grace · reduction^i below max; at each, the best 1/reduction go on (asha)."""


class ResourcesSpec(_Section):
    """What one trial gets, and how many run at once."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Processes per trial; more than one train data-parallel."""
    cpus_per_worker: PositiveNumber = 1
    """CPUs of one worker."""
    gpus_per_worker: AutoShare = "auto"
    """GPUs of one worker; `auto` is one where the cluster has any, and none otherwise."""
    max_parallel: AutoCount = "auto"
    """Most trials at the same time."""
    reuse_workers: bool = True
    """Keep the worker group between trials; false starts a fresh one for every trial."""


class BudgetSpec(_Section):
    """When to stop starting trials."""

    gpu_hours: PositiveNumber | None = None
    """GPU hours of the whole study."""
    wall_s: Seconds | None = Field(default=None, alias="wall")
    """Wall time of the whole study: `2h`, `90m`, or seconds."""


class FailuresSpec(_Section):
    """What happens when a trial fails."""

    max_retries: Annotated[int, Field(ge=0)] = 3
    """Second tries after infrastructure failures; counted afresh from every new checkpoint."""
    report_timeout: AutoSeconds = "auto"
    """A trial that is silent for longer hangs; `auto` is max(30 min, 5 × the longest interval seen)."""


class CheckpointSpec(_Section):
    """Which checkpoints are made and kept."""

    every: PositiveNumber = 1
    """Distance of checkpoints, in the study's unit."""
    keep_best: Annotated[int, Field(ge=0)] = 1
    """How many of the best are kept."""
    keep_latest: Annotated[int, Field(ge=1)] = 2
    """How many of the latest are kept."""


class ReportSpec(_Section):
    """How effects are judged; part of what is registered before the first run."""

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Family-wise error level."""
    margin: PositiveNumber | None = None
    """Differences below this are practically equal, in the metric's units."""


class StudySpec(_Section):
    """An ablation study: a baseline, its components, seeds, and how long each trial runs."""

    name: Name
    """Names the study and its directory under `storage`."""
    entrypoint: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=300)]
    """`package.module:name` of a Task or a plain Ray Train function."""
    metric: MetricSpec
    baseline: dict[str, Any]
    """Free-form settings, handed to the entrypoint with `seed` and `max_length` added."""
    components: dict[str, Component] = {}
    """What is taken away or exchanged, by name."""
    design: Literal["leave-one-out", "add-one-in"] = "leave-one-out"
    """`leave-one-out` compares with the baseline, `add-one-in` with everything taken away."""
    seeds: Seeds
    """A number n means 0..n-1; or a list."""
    stopping: StoppingSpec
    resources: ResourcesSpec = ResourcesSpec()
    budget: BudgetSpec = BudgetSpec()
    failures: FailuresSpec = FailuresSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    storage: Text = "runs"
    """A path, or a URI such as s3://bucket/prefix."""
    report: ReportSpec = ReportSpec()
    deterministic: bool = False
    """Ask torch for deterministic kernels."""
    allow_short: bool = False
    """Accept trials that return before `max`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the keys of the study file; `StudySpec.model_validate` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


LATER_KEYS = frozenset({"tune", "interactions", "loggers", "monitor", "datasets", "max_seeds", "looks"})
"""Top-level keys that a later version brings."""
LATER_VALUES = {"design": ("pairs", "factorial", "fractional"), "stopping.rule": ("resolve",)}
"""Values that a later version brings."""
LATER_NESTED = {"stopping": frozenset({"goal", "max_seeds", "futility", "gamma"})}
"""Keys within a section that a later version brings."""
