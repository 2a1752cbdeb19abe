"""Bayesian search as a function of what was tried."""

from __future__ import annotations

import copy
import math

import pytest

optuna = pytest.importorskip("optuna")

from orchestrator.decide.bayes import BAYES  # noqa: E402 - after the check for the extra
from orchestrator.study.identity import canonical  # noqa: E402
from orchestrator.study.search import (  # noqa: E402  # noqa: E402
    Choice,
    LogUniform,
    Params,
    RandInt,
    Space,
    Uniform,
    first_random,
    random_draws,
)

SPACE: Space = {
    "lr": LogUniform(1e-4, 1e-1),
    "layers": Choice(([1, 2], None, {"a": 1})),
    "width": RandInt(1, 4),
}


def score(params: Params) -> float:
    return -((math.log10(params["lr"]) + 2) ** 2) - (params["layers"] is not None) - abs(params["width"] - 3)


def run(space: Space, samples: int, seed_text: str = "s") -> list[tuple[Params, float | None]]:
    history: list[tuple[Params, float | None]] = []
    for sample in range(samples):
        params = BAYES.suggest(space, history, sample, seed_text)
        history.append((params, score(params)))
    return history


def test_it_begins_with_the_random_draws() -> None:
    first = first_random(SPACE)
    assert first == 4
    assert first_random({"a": Uniform(0, 1)}) == 3
    assert [params for params, _ in run(SPACE, first)] == random_draws(SPACE, first, "s")
    assert BAYES.suggest(SPACE, [], 7, "s") == random_draws(SPACE, 8, "s")[7]


def test_the_same_history_gives_the_same_suggestion() -> None:
    history = run(SPACE, 9)
    before = copy.deepcopy(history)
    assert BAYES.suggest(SPACE, history, 9, "s") == BAYES.suggest(SPACE, history, 9, "s")
    assert history == before
    assert BAYES.suggest(SPACE, history, 9, "s") != BAYES.suggest(SPACE, history, 9, "other")
    assert BAYES.suggest(SPACE, history, 9, "s") != BAYES.suggest(SPACE, history, 10, "s")


def test_it_learns() -> None:
    history = run(SPACE, 30)
    early = [score for _, score in history[:4] if score is not None]
    late = [score for _, score in history[-10:] if score is not None]
    assert sum(late) / len(late) > max(early) - 0.5
    assert max(late) > -0.5


@pytest.mark.slow
def test_what_runs_is_not_proposed_again() -> None:
    space: Space = {"a": RandInt(0, 3), "b": Choice((False, True))}
    history: list[tuple[Params, float | None]] = []
    for sample in range(8):
        params = BAYES.suggest(space, history, sample, "s")
        history.append((params, float(params["a"]) if sample < 3 else None))
    assert len({canonical(params) for params, _ in history}) == 8
    assert BAYES.suggest(space, history, 8, "s") in [params for params, _ in history]


def test_failed_samples_count_as_the_worst() -> None:
    history = run(SPACE, 6)
    params, _ = history[2]
    low = min(score for _, score in history if score is not None)
    for failed in (math.nan, -math.inf, math.inf):
        bad = [*history[:2], (params, failed), *history[3:]]
        assert BAYES.suggest(SPACE, bad, 6, "s") == BAYES.suggest(
            SPACE, [*bad[:2], (params, low), *bad[3:]], 6, "s"
        )
    assert BAYES.suggest(SPACE, [(params, math.nan) for params, _ in history], 6, "s")


def test_optuna_stays_quiet_and_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    run(SPACE, 7)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
