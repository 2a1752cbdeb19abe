from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.asha import Halving
from orchestrator.decide.rungs import Alone, Decision, RungReport, RungRule, decide
from orchestrator.decide.states import TrialState

ASHA = Halving((2, 6, 18), 3)
NONE = Alone()
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
any_float = st.floats(width=32)
tables = st.dictionaries(st.sampled_from([f"peer{i}" for i in range(12)]), any_float, max_size=12)
rules = st.builds(Halving, st.just((2, 6)), st.floats(1.1, 6))


def report(score: float, rung: float = 2, cell: str = "me") -> RungReport:
    return RungReport(cell, "no-bn", rung, rung + 0.5, score)


def at(peers: dict[str, float]) -> dict[float, dict[str, float]]:
    return {2: peers, 6: {"elsewhere": 1e9}}


def test_only_the_best_third_continues() -> None:
    table = at({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5, "f": 0.4})
    stopped = decide(ASHA, table, report(0.65), protected=False)
    assert stopped == Decision(
        "stop", TrialState.STOPPED, "asha", "rank 4 of 7 at rung 2, only the best 3 continue", 2, 0.7, 4, 7
    )
    kept = decide(ASHA, table, report(0.75), protected=False)
    assert (kept.action, kept.state, kept.cutoff, kept.rank) == ("continue", None, 0.75, 3)


def test_ties_continue() -> None:
    table = at({"a": 0.5, "b": 0.5})
    assert decide(ASHA, table, report(0.5), protected=False).action == "continue"


def test_other_rungs_do_not_count() -> None:
    assert decide(ASHA, at({}), report(-1e9), protected=False).reason == "first to reach rung 2"


def test_a_cell_that_comes_back_does_not_compete_with_itself() -> None:
    again = decide(ASHA, at({"me": 0.9}), report(0.5), protected=False)
    assert (again.action, again.peers) == ("continue", 1)


@pytest.mark.parametrize("rule", [ASHA, NONE])
@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("protected", [True, False])
def test_what_is_not_finite_has_diverged(rule: RungRule, score: float, protected: bool) -> None:
    decision = decide(rule, at({}), report(score), protected)
    assert (decision.action, decision.state) == ("stop", TrialState.DIVERGED)
    assert "not finite" in decision.reason


@given(tables, finite, st.booleans())
def test_rule_none_never_stops(peers: dict[str, float], score: float, protected: bool) -> None:
    assert decide(NONE, at(peers), report(score), protected).action == "continue"


@given(rules, tables, finite)
def test_the_reference_is_never_stopped(rule: RungRule, peers: dict[str, float], score: float) -> None:
    decision = decide(rule, at(peers), report(score), protected=True)
    assert (decision.action, decision.state) == ("continue", None)


@given(rules, finite)
def test_the_first_to_arrive_is_never_stopped(rule: RungRule, score: float) -> None:
    assert decide(rule, {}, report(score), protected=False).action == "continue"


@given(rules, tables, finite, st.randoms(use_true_random=False))
def test_decisions_depend_on_results_only(rule, peers, score, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(peers.items())
    random.shuffle(shuffled)
    first = decide(rule, at(peers), report(score), protected=False)
    assert first == decide(rule, at(dict(shuffled)), report(score), protected=False)


@given(rules, tables, finite, finite)
def test_a_better_score_never_fares_worse(
    rule: RungRule, peers: dict[str, float], one: float, two: float
) -> None:
    worse, better = sorted((one, two))
    if decide(rule, at(peers), report(worse), protected=False).action == "continue":
        assert decide(rule, at(peers), report(better), protected=False).action == "continue"


@pytest.mark.slow
@given(rules, tables, finite)
def test_the_decision_agrees_with_what_explains_it(
    rule: RungRule, peers: dict[str, float], score: float
) -> None:
    decision = decide(rule, at(peers), report(score), protected=False)
    assert decision.cutoff is not None
    assert decision.rank is not None
    assert (decision.action == "continue") == (score >= decision.cutoff)
    assert 1 <= decision.rank <= decision.peers == len(peers) + 1


@given(st.integers(2, 5), st.lists(st.floats(-1e3, 1e3), max_size=15), st.floats(-1e3, 1e3))
def test_the_cut_off_is_the_quantile(reduction: int, others: list[float], score: float) -> None:
    """The same trials continue as with numpy's interpolated quantile over all scores at the rung."""
    scores = np.sort([*others, score])
    exact = (len(scores) - 1) * (reduction - 1)
    low, part = divmod(exact, reduction)
    quantile = scores[low] if part == 0 else scores[low + 1]  # who is above an interpolated value
    table = at({str(i): value for i, value in enumerate(others)})
    decision = decide(Halving((2,), reduction), table, report(score), protected=False)
    assert (decision.action == "continue") == (score >= quantile)
    assert np.all(np.quantile(scores, 1 - 1 / reduction) <= quantile + 1e-9 * abs(quantile) + 1e-9)
