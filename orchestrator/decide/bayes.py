"""Bayesian search: Optuna's tree-structured Parzen estimator as a pure function of what was tried.

Optuna comes with the extra [bayes], and is imported when a sample is asked for.
Source of the method: Bergstra et al. 2011, Algorithms for hyper-parameter optimization.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.study.faults import Problem
from orchestrator.study.identity import canonical
from orchestrator.study.methods import Sentence
from orchestrator.study.publications import OPTUNA, TPE
from orchestrator.study.search import (
    Choice,
    Dimension,
    Params,
    RandInt,
    Search,
    Space,
    Tried,
    Uniform,
    first_random,
    random_draws,
    seed_text,
    share,
)
from orchestrator.study.spec import TuneSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_TRIES = 20


class _Bayes(Search):
    name = "bayes"
    adaptive = True

    def draws(self, space: Space, tune: TuneSpec) -> list[Params]:
        return random_draws(space, min(first_random(space), tune.samples), seed_text(tune))

    def methods(self, tune: TuneSpec) -> Sentence:
        text = (
            "After first random draws, the same for every arm, a tree-structured Parzen estimator proposed "
            "each setting from the results of the arm's earlier ones"
        )
        return Sentence(text, (TPE, OPTUNA))

    def suggest(self, space: Space, tried: Tried, sample: int, seed_text: str) -> Params:
        """Propose nothing twice as long as the space has something else.

        The first samples are those of `random_draws`, so that every arm begins alike. One that still runs
        keeps others away from it, one whose score is not finite (diverged, failed) is as bad as the worst.
        """
        scores = [score for _, score in tried if score is not None and math.isfinite(score)]
        known = {canonical(params) for params, _ in tried}
        if sample < first_random(space) or not scores:
            return random_draws(space, sample + 1, seed_text)[sample]
        for attempt in range(_TRIES):
            seed = int(share(seed_text, "bayes", sample, attempt) * 2**32)
            with _quiet():
                params = _ask(space, tried, min(scores), seed)
            if canonical(params) not in known:
                return params
        fresh = (draw for draw in random_draws(space, sample + len(known) + 1, seed_text))
        return next((draw for draw in fresh if canonical(draw) not in known), params)

    def problems(self, tune: TuneSpec, space: Space) -> Iterator[Problem]:
        if importlib.util.find_spec("optuna") is None:
            hint = "pip install 'orchestrator[bayes]', or use search: random"
            yield Problem(("tune", "search"), "bayes needs Optuna, which is not installed", "bayes", hint)
        yield from super().problems(tune, space)


BAYES = _Bayes()


def _ask(space: Space, tried: Tried, worst: float, seed: int) -> Params:
    import optuna

    states = optuna.trial.TrialState
    sampler = optuna.samplers.TPESampler(n_startup_trials=1, constant_liar=True, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {key: _distribution(dimension) for key, dimension in space.items()}
    for params, score in tried:
        trial = optuna.trial.create_trial(
            state=states.RUNNING if score is None else states.COMPLETE,
            value=score if score is None or math.isfinite(score) else worst,
            params={key: _coded(dimension, params[key]) for key, dimension in space.items()},
            distributions=distributions,
        )
        study.add_trial(trial)
    coded = study.ask(distributions).params
    return {key: at.values[coded[key]] if isinstance(at, Choice) else coded[key] for key, at in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))
    if isinstance(dimension, RandInt):
        return IntDistribution(dimension.low, dimension.high)
    return FloatDistribution(dimension.low, dimension.high, log=not isinstance(dimension, Uniform))


def _coded(dimension: Dimension, value: Any) -> Any:
    """Choices as their index: a list or a mapping is no category for Optuna."""
    if not isinstance(dimension, Choice):
        return value
    return [canonical(item) for item in dimension.values].index(canonical(value))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's notes on every trial out of the log; the level is put back."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
