from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.faults import FaultKind, RankEnd, fault_of, retry, why_lost
from orchestrator.decide.nodes import NodeWatch
from orchestrator.decide.states import Cause

OF_THE_ARM = {FaultKind.EXCEPTION, FaultKind.OUT_OF_MEMORY, FaultKind.SHORT}
FREE = {FaultKind.PREEMPTED, FaultKind.MOVED, FaultKind.CHECKPOINT}


@pytest.mark.parametrize("fault", sorted(OF_THE_ARM))
def test_outcomes_of_the_arm_are_not_tried_again(fault: FaultKind) -> None:
    assert not retry(fault, 1, 3).again
    assert fault.cause in (Cause.USER, Cause.OOM, Cause.SHORT)


@pytest.mark.parametrize("fault", sorted(set(FaultKind) - OF_THE_ARM - FREE))
def test_infrastructure_is_tried_again_up_to_the_limit(fault: FaultKind) -> None:
    assert [retry(fault, attempt, 3).again for attempt in (1, 2, 3, 4)] == [True, True, True, False]
    assert not retry(fault, 1, 0).again
    assert "2 of 3" in retry(fault, 2, 3).reason


@given(st.sampled_from(sorted(FREE)), st.integers(1, 10_000), st.integers(0, 5))
def test_what_was_announced_or_our_own_doing_never_counts(
    fault: FaultKind, attempts: int, limit: int
) -> None:
    assert retry(fault, attempts, limit).again


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_a_kind_of_its_own(cause: Cause) -> None:
    assert fault_of(cause).cause is cause


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, *FaultKind])), min_size=1, max_size=4)
)
def test_a_lost_node_explains_the_workers_that_went_with_it(
    ranks: list[tuple[str, FaultKind | None]],
) -> None:
    ends = [RankEnd(rank, node, fault) for rank, (node, fault) in enumerate(ranks)]
    found = why_lost(ends)
    kinds = {end.fault for end in ends}
    if FaultKind.PREEMPTED in kinds:
        assert found.fault is FaultKind.PREEMPTED
    elif FaultKind.NODE_LOST in kinds:
        assert found.fault is FaultKind.NODE_LOST
    assert set(found.nodes) <= {end.node for end in ends}
    assert all(ends[rank].fault is found.fault for rank in found.ranks)


def test_three_different_trials_set_a_node_aside() -> None:
    watch, both = NodeWatch(), ["bad", "good"]
    assert watch.failed("bad", "a/seed-0", FaultKind.WORKER_KILLED, both).aside is None
    assert watch.failed("bad", "a/seed-1", FaultKind.HANG, both).aside is None
    found = watch.failed("bad", "b/seed-0", FaultKind.STORAGE, both)
    assert found.aside == "bad"
    assert found.whole
    named = ("a/seed-0 (worker killed)", "a/seed-1 (hang)", "b/seed-0 (storage)")
    assert all(name in found.why for name in named)
    assert watch.set_aside == {"bad"}
    assert watch.failed("bad", "c/seed-0", FaultKind.HANG, both).aside is None  # told once


def test_a_trial_that_fails_twice_on_a_node_is_tried_elsewhere() -> None:
    watch, both = NodeWatch(), ["bad", "good"]
    watch.failed("bad", "a", FaultKind.WORKER_KILLED, both)
    found = watch.failed("bad", "a", FaultKind.WORKER_KILLED, both)
    assert (found.aside, found.whole) == ("bad", False)
    watch.worked(["good"])  # it was the node
    assert watch.set_aside == {"bad"}


def test_a_trial_that_fails_elsewhere_too_clears_the_node() -> None:
    watch, both = NodeWatch(), ["one", "two"]
    for _ in range(2):
        watch.failed("one", "a", FaultKind.WORKER_KILLED, both)
    found = watch.failed("two", "a", FaultKind.WORKER_KILLED, both)
    assert found.back == ("one",)
    assert watch.set_aside == set()


def test_progress_clears_a_node() -> None:
    watch = NodeWatch()
    for trial in ("a", "b"):
        watch.failed("n", trial, FaultKind.HANG, ["n", "m"])
    watch.worked(["n"])
    assert watch.failed("n", "c", FaultKind.HANG, ["n", "m"]).aside is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("xyz"), st.sampled_from("abcd"), st.sampled_from(list(FaultKind)), st.booleans()
        )
    )
)
def test_one_node_always_stays(story: list[tuple[str, str, FaultKind, bool]]) -> None:
    watch, told = NodeWatch(), set[str]()
    for node, trial, fault, worked in story:
        if worked:
            watch.worked([node])
            continue
        found = watch.failed(node, trial, fault, "xyz")
        told = (told | ({found.aside} if found.aside else set())) - set(found.back)
        assert told == watch.set_aside
    assert len(watch.set_aside) < 3
