"""The method as a library: from a table of results, wherever the runs were made, to effects."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from orchestrator.errors import Fault, InputError
from orchestrator.stats.fixed import fixed_effects, summarise
from orchestrator.stats.moderated import GRID, Variance
from orchestrator.stats.pairing import Pairing, pairing
from orchestrator.stats.results import Effect, Mode, Sample
from orchestrator.stats.table import read_values
from orchestrator.study.designs import Contrast
from orchestrator.study.faults import nearest, show

_LOWER = re.compile(
    r"(?<![a-z])(bp[bct]|[cw]er|err(ors?)?|fid|loss|mae|mape|r?mse|nll|perplexity|ppl|regret)(?![a-z])"
)
"""Words of a metric's name that nobody wants to be high."""


@dataclass(frozen=True)
class Analysis:
    """The effects of a table of results: every arm beside the baseline, in the order of the table.

    A mapping-like view: `found["no-dropout"].delta`, `for effect in found`. `values`: arm -> seed -> value,
    the baseline's first; `seeds`: all of the table. Units are the metric's own.
    """

    metric: str
    mode: Mode
    baseline: str
    alpha: float
    margin: float | None
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[int, float]]
    effects: tuple[Effect, ...]
    pairing: Pairing

    @property
    def samples(self) -> dict[str, Sample]:
        """Runs, mean and SD of every arm, the baseline's first."""
        return {arm: summarise(arm, by_seed) for arm, by_seed in self.values.items()}

    @property
    def missing(self) -> dict[str, tuple[int, ...]]:
        """Arm -> seeds of the table for which it has no finite value: no pair, and no guess in its place."""
        found = {arm: tuple(s for s in self.seeds if s not in row) for arm, row in self.values.items()}
        return {arm: seeds for arm, seeds in found.items() if seeds}

    def rows(self) -> list[dict[str, Any]]:
        """Return the effects as plain rows, for a DataFrame."""
        return [asdict(effect) for effect in self.effects]

    def __iter__(self) -> Iterator[Effect]:
        return iter(self.effects)

    def __len__(self) -> int:
        return len(self.effects)

    def __getitem__(self, arm: str) -> Effect:
        found = next((effect for effect in self.effects if effect.arm == arm), None)
        if found is None:
            raise KeyError(arm)
        return found


def effects(
    results: Any,
    baseline: str = "baseline",
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    arm: str = "arm",
    seed: str = "seed",
    margin: float | None = None,
    alpha: float = 0.05,
    variance: Variance = "moderated",
) -> Analysis:
    """Estimate the effect of every arm of a table that has one row per run: paired by seed, Holm-corrected.

    The estimator, the corrections and the verdicts are those of a study's report under `rule: none`: all
    runs are looked at once. A run without a finite value has no pair, whatever the reason.

    Args:
        results: a pandas or Polars `DataFrame`, a `pyarrow.Table`, rows as dicts, or a dict of columns.
        baseline: the arm that the others are compared with.
        metric: the column of values; by default the only further one with numbers.
        mode: "max" where higher is better, "min" where lower is; by default "max", which is refused for a
            metric that is called a loss or an error.
        arm, seed: names of these columns.
        margin: differences below it are practically equal, in the metric's units.
        alpha: the level over all arms.
        variance: "moderated", or "per_arm" for plain paired t-tests.

    Raises:
        InputError: with all faults that were found; nothing is guessed.
    """
    _check(mode, margin, alpha, variance)
    name, cells = read_values(results, arm, seed, metric)
    if mode is None and _LOWER.search(name.lower()):
        hint = "say mode: min where lower is better, max where higher is"
        raise InputError(
            Fault("lower seems to be better, by its name", field="mode", value=show(name), hint=hint)
        )
    if baseline not in cells:
        hint = nearest(baseline, cells)
        raise InputError(Fault("there is no such arm", field="baseline", value=show(baseline), hint=hint))
    values = {
        one: {number: value for number, value in sorted(cells[one].items()) if value is not None}
        for one in (baseline, *(other for other in cells if other != baseline))
    }
    others = {one: by_seed for one, by_seed in values.items() if one != baseline}
    _check_pairs(values[baseline], others)
    contrasts = [Contrast(one, "main", (), {one: 1.0, baseline: -1.0}, baseline) for one in others]
    better: Mode = mode or "max"
    judged: dict[str, Any] = {"alpha": alpha, "margin": margin, "variance": variance, "pooling": GRID}
    found = fixed_effects(values, contrasts, better, **judged)
    seeds = tuple(sorted({number for by_seed in cells.values() for number in by_seed}))
    worth = pairing(values[baseline], others)
    return Analysis(name, better, baseline, alpha, margin, seeds, values, found, worth)


def _check(mode: Mode | None, margin: float | None, alpha: float, variance: Variance) -> None:
    said = "cannot be used"
    faults = []
    if mode is not None and mode not in get_args(Mode):
        faults.append(Fault(said, field="mode", value=show(mode), hint="valid: max, min"))
    if margin is not None and not 0 < margin < math.inf:
        faults.append(Fault(said, field="margin", value=show(margin), hint="valid: a number above 0"))
    if not 0 < alpha < 1:
        faults.append(Fault(said, field="alpha", value=show(alpha), hint="valid: a level between 0 and 1"))
    if variance not in get_args(Variance):
        faults.append(Fault(said, field="variance", value=show(variance), hint="valid: moderated, per_arm"))
    if faults:
        raise InputError(faults)


def _check_pairs(baseline: Mapping[int, float], others: Mapping[str, Mapping[int, float]]) -> None:
    """Refuse a table that cannot have an interval: no arm has two seeds in common with the baseline."""
    if not others:
        raise InputError(
            Fault("there is no arm beside the baseline", hint="one more arm, under the same seeds")
        )
    most = max(len(baseline.keys() & by_seed.keys()) for by_seed in others.values())
    if most < 2:
        said = "no arm has two seeds in common with the baseline, so that nothing can be tested"
        hint = "at least two seeds, three are better; the same ones for every arm"
        raise InputError(Fault(said, value="one seed" if most else "no seed in common", hint=hint))
