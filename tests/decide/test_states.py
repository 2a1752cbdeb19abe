from __future__ import annotations

import pickle

import pytest

from orchestrator.decide.states import TRANSITIONS, Cause, IllegalTransition, TrialState, advance

ANSWERED = {"done", "stopped", "diverged", "skipped"}


@pytest.mark.parametrize("state", list(TrialState))
def test_every_state_knows_what_it_is(state: TrialState) -> None:
    assert state.terminal == (state not in ("pending", "running"))
    assert state.answered == (state in ANSWERED)
    # what was skipped may be called for again; every other answer is final
    assert not state.answered or state is TrialState.SKIPPED or TRANSITIONS[state] == frozenset()


@pytest.mark.parametrize("old", list(TrialState))
@pytest.mark.parametrize("new", list(TrialState))
def test_the_table_is_the_only_authority(old: TrialState, new: TrialState) -> None:
    if new in TRANSITIONS[old]:
        assert advance(old, new) is new
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
            advance(old, new)


def test_an_unanswered_end_can_be_run_again() -> None:
    for state in (TrialState.FAILED, TrialState.CANCELLED):
        assert advance(state, TrialState.RUNNING) is TrialState.RUNNING


def test_illegal_transition_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(IllegalTransition(TrialState.DONE, TrialState.RUNNING)))
    assert (error.old, error.new) == (TrialState.DONE, TrialState.RUNNING)
    assert "final" in str(error)


def test_causes_are_the_words_of_the_results_table() -> None:
    assert [str(cause) for cause in Cause] == ["user", "oom", "short", "hang", "infra"]
