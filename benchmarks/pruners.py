"""Optuna's own pruners on recorded curves: every report is handed to them, and they say who goes on.

Optuna is one of the tools that benchmarks compare with (`peers/requirements.txt`), nothing that this project
needs; without it these rows are left out in words.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from answers import LANES, Answer
from curves import Recorded

TITLES = {
    "median": "Optuna, `MedianPruner`",
    "halving": "Optuna, `SuccessiveHalvingPruner`",
    "hyperband": "Optuna, `HyperbandPruner`",
}


def version() -> str | None:
    """Optuna's, None where it is not installed."""
    try:
        import optuna
    except ImportError:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return str(optuna.__version__)


def pruners(reports: int) -> dict[str, Callable[[], Any]]:
    """As they come; Hyperband is told how many reports a whole run makes, as it asks for."""
    import optuna

    return {
        "median": optuna.pruners.MedianPruner,
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=reports),
    }


def pruned(
    recorded: Recorded, mode: str, picked: Sequence[int], name: str, make: Callable[[], Any]
) -> Answer:
    """Run the drawn study through a pruner: seed by seed, the reference first, on the lanes of the others.

    At its last report a run has ended and is not asked for: a pruner could only lose its value there.
    """
    import optuna

    study = optuna.create_study(
        study_name=f"{name} {list(picked)}",  # Hyperband deals its brackets by it
        direction="maximize" if mode == "max" else "minimize",
        pruner=make(),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    cells = [(arm, seed) for seed in picked for arm in recorded.arms]
    ended: dict[str, list[float]] = {arm: [] for arm in recorded.arms}
    trained, waiting = 0.0, iter(enumerate(cells))
    arrivals: list[tuple[float, int, int, float, Any]] = []

    def start(now: float) -> None:
        number, _ = next(waiting, (None, None))
        if number is not None:
            heapq.heappush(arrivals, (now + recorded.lengths[0], number, 0, now, study.ask()))

    for _ in range(LANES):
        start(0.0)
    while arrivals:
        now, number, report, started, trial = heapq.heappop(arrivals)
        arm, seed = cells[number]
        values = recorded.curves[arm][seed]
        last = report + 1 == len(recorded.lengths)
        if report < len(values):
            trial.report(values[report], report + 1)
        if report < len(values) and last:
            study.tell(trial, values[report])
            ended[arm].append(values[report])
        elif report >= len(values):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            heapq.heappush(
                arrivals, (started + recorded.lengths[report + 1], number, report + 1, started, trial)
            )
            continue
        trained += recorded.lengths[report]
        start(now)
    return Answer(trained / (len(cells) * recorded.lengths[-1]), (), _means(ended, mode))


def _means(ended: Mapping[str, Sequence[float]], mode: str) -> tuple[float | None, ...]:
    sign = 1.0 if mode == "max" else -1.0
    return tuple(sign * fmean(values) if values else None for values in ended.values())
