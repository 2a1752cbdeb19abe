"""First reports on real workers: a study that cannot work ends with them, and one that can loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workbench import SharedBench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: firsts
entrypoint: firsts:train
metric: {name: val/loss, mode: min}
baseline: {level: 1.0, how: well, pause: 0.0, spare: 0}
components:
  level: {swap: {high: {level: 2.0}}}
  idle: {swap: {nothing: {spare: 1}}}
seeds: 3
stopping: {max: 40, unit: epoch}
resources: {cpus_per_worker: 0.5}
"""
NEVER = STUDY.replace("firsts:train", "{command: 'python -c pass', metrics: {file: logs/history.jsonl}}")


@pytest.mark.parametrize(
    ("text", "how", "code", "said"),
    [
        (STUDY, "no unit", 1, "no number under 'epoch'"),
        (STUDY, "seedless", 2, "ignores its seed"),
        (NEVER, "well", 2, "Looked at the file logs/history.jsonl"),
    ],
)
def test_a_study_that_cannot_work_ends_with_its_first_reports(
    shared_bench: Callable[..., SharedBench], text: str, how: str, code: int, said: str
) -> None:
    study = shared_bench("firsts", text.replace("how: well", f"how: {how}"))
    finished = study.run("baseline.pause=1.0")  # a trial takes 40 s, its first reports three
    last = (finished.out + finished.err).splitlines()[-10:]
    assert finished.code == code, finished.err
    assert said in "\n".join(last)
    begun = {event["cell"] for event in study.events("assign")}
    assert len(begun) <= 4  # the probes: two seeds of the reference, one run of each other arm
    assert not [event for event in study.events("end") if event["state"] == "done"]


def test_a_study_that_works_goes_on_with_its_probes(shared_bench: Callable[..., SharedBench]) -> None:
    study = shared_bench("firsts", STUDY)
    finished = study.run()
    assert finished.code == 0, finished.err
    assert len(study.events("assign")) == len(study.results()) == 9
    assert "idle=nothing has reported the same as baseline so far, bit for bit" in finished.err
