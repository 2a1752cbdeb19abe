"""Arms that go wrong one after the other on a warm lane: each ends as specified, and none harms the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workbench import Bench, Finished

from orchestrator.engine.workers._capture import CAP_BYTES

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: faulty
entrypoint: faulty:train
metric: {name: loss, mode: min, also: [noise]}
baseline: {fault: none, note: ''}
components:
  fault:
    swap:
      nan: {fault: nan}
      prints: {fault: prints}
      thread: {fault: thread}
      flags: {fault: flags}
      early: {fault: early}
      raises: {fault: raises}
      silent: {fault: silent}
      leaves: {fault: leaves}
      tensor: {fault: tensor}
  last: {swap: {clean: {note: clean}}}
seeds: [0]
stopping: {rule: none, max: 4, unit: epoch}
resources: {max_parallel: 1}
"""
# fault -> state, cause, attempts, reports in the record, words of the reason
ENDS: dict[str, tuple[str, str | None, int, int, str]] = {
    "nan": ("diverged", None, 1, 3, "loss is nan at report 3"),
    "prints": ("done", None, 1, 4, ""),
    "thread": ("done", None, 1, 4, ""),
    "flags": ("done", None, 1, 4, ""),
    "early": ("failed", "short", 1, 2, "returned at 2 of 4 epochs"),
    "raises": ("failed", "user", 1, 2, "ValueError: the fault of the user's own code"),
    "silent": ("failed", "user", 1, 4, "never reported 'loss'"),
    "leaves": ("failed", "user", 1, 2, "SystemExit: 3"),
    "tensor": ("failed", "user", 1, 2, "metric 'loss' is a torch tensor"),
}


@pytest.fixture(scope="module")
def study(shared_bench: Callable[[str, str], Bench]) -> Bench:
    return shared_bench("faulty", STUDY)


@pytest.fixture(scope="module")
def finished(study: Bench) -> Finished:
    return study.run()


def test_the_command_says_that_some_cells_failed(finished: Finished) -> None:
    assert finished.code == 1, finished.err
    assert "--retry-failed" in finished.err


@pytest.mark.parametrize("fault", ENDS)
def test_each_fault_ends_as_specified(study: Bench, finished: Finished, fault: str) -> None:
    state, cause, attempts, reports, reason = ENDS[fault]
    row = study.results()[f"fault={fault}", 0]
    assert (row["state"], row["cause"], row["attempts"]) == (state, cause, attempts), row
    assert reason in (row["reason"] or "")
    assert [r["report"] for r in study.rows(f"fault={fault}")] == list(range(1, reports + 1))
    assert (row["length"], row["used"]) == (reports, state == "done")


def test_no_trial_is_changed_by_the_one_before_it(study: Bench, finished: Finished) -> None:
    alone = study.curve("baseline")
    assert len(alone) == 4
    assert study.curve("last=clean") == alone
    for fault in set(ENDS) - {"silent"}:
        assert study.curve(f"fault={fault}")[:2] == alone[:2], fault
    for fault in ("prints", "thread"):
        assert study.curve(f"fault={fault}") == alone


def test_workers_are_replaced_only_where_something_was_left(study: Bench, finished: Finished) -> None:
    assert {event["lane"] for event in study.events("end")} == {study.events("end")[0]["lane"]}
    notes = [line for line in finished.err.splitlines() if "fresh workers" in line]
    assert len(notes) == 1, notes
    assert "fault=thread" in notes[0]
    assert "left-behind" in notes[0]
    failures = [(event["cause"], event["attempt"], event["again"]) for event in study.events("failure")]
    assert not any(again for _, _, again in failures)


def test_the_log_keeps_head_and_tail_of_what_was_printed(study: Bench, finished: Finished) -> None:
    log = study.trial_file("fault=prints", 0, "log.txt")
    assert log.stat().st_size <= CAP_BYTES + 100
    text = log.read_text()
    assert "bytes dropped" in text
    assert text.endswith("the last line\n")


def test_the_log_has_the_traceback(study: Bench, finished: Finished) -> None:
    text = study.trial_file("fault=raises", 0, "log.txt").read_text()
    assert "Traceback" in text
    assert "in raises" in text
    assert "ValueError: the fault of the user's own code" in text
