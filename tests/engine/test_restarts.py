"""Starting the same study again: refused when it is another one, and exactly what is missing is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from workbench import STUBBORN, Bench, Finished

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = STUBBORN + "name: stubborn\nseeds: 2\n"
MORE = STUBBORN + "  broken: {swap: {yes: {broken: true}}}\nname: stubborn\nseeds: 2\n"
KNOWN = "deterministic=true"


@dataclass(frozen=True)
class Story:
    """What the runs left behind, in their order; `attempts` by arm and seed after each of them."""

    study: Bench
    runs: dict[str, Finished]
    attempts: dict[str, dict[tuple[str, int], int]]
    untouched: dict[str, bool]


@pytest.fixture(scope="module")
def story(shared_bench: Callable[[str, str], Bench]) -> Story:
    study = shared_bench("stubborn", STUDY)
    told = Story(study, {}, {}, {})

    def run(name: str, *words: str) -> None:
        before = contents(study)
        told.runs[name] = study.run(*words)
        told.untouched[name] = contents(study) == before
        told.attempts[name] = {key: row["attempts"] for key, row in study.results().items()}

    run("ignores its seed")
    run("fresh", "--fresh", KNOWN)
    run("changed", KNOWN, "stopping.max=4", "metric.mode=max")
    study.module.write_text(study.module.read_text() + "\n\nCHANGED = True\n")
    run("changed code", KNOWN)
    study.write(MORE)
    run("more arms", KNOWN, "--accept-code-change")
    run("extended", KNOWN, "--accept-code-change", "--extend")
    run("failed again", KNOWN)
    (study.signs / "mended").touch()
    run("retried", KNOWN, "--retry-failed")
    run("no time", KNOWN, "--extend", "seeds=3", "budget.wall=1s")
    return told


def contents(study: Bench) -> dict[str, bytes]:
    """Every file of the storage."""
    root = study.storage_root
    found = sorted(path for path in root.rglob("*") if path.is_file()) if root.exists() else []
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def cells(events: list[dict[str, Any]]) -> set[str]:
    return {event["cell"] for event in events}


def test_an_entrypoint_that_ignores_its_seed_is_bad_input(story: Story) -> None:
    run = story.runs["ignores its seed"]
    assert run.code == 2
    assert "seeds 0 and 1 of 'baseline' give identical curves: the entrypoint ignores its seed" in run.err
    assert "deterministic: true" in run.err


def test_unless_the_study_says_that_it_is_meant__in_a_fresh_directory(story: Story) -> None:
    assert story.runs["fresh"].code == 0, story.runs["fresh"].err
    assert set(story.attempts["fresh"].values()) == {1}
    kept = [path.name for path in story.study.storage_root.iterdir()]
    assert len(kept) == 2
    (old,) = set(kept) - {"stubborn"}
    assert old.startswith("stubborn.2")
    assert (story.study.storage_root / old / "journal.jsonl").stat().st_size > 0


def test_changed_settings_are_refused_with_all_differences(story: Story) -> None:
    run = story.runs["changed"]
    assert run.code == 2
    faults = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert any("stopping.max" in fault and "3" in fault and "4" in fault for fault in faults)
    assert any("metric.mode" in fault and "min" in fault for fault in faults)
    assert story.untouched["changed"]


def test_changed_code_is_refused(story: Story) -> None:
    run = story.runs["changed code"]
    assert run.code == 2
    assert "the Python code has changed" in run.err
    assert "--accept-code-change" in run.err
    assert story.untouched["changed code"]


def test_more_arms_need_extend(story: Story) -> None:
    run = story.runs["more arms"]
    assert run.code == 2
    assert "--extend" in run.err
    assert story.untouched["more arms"]


def test_extend_runs_the_new_cells_only_and_marks_those_of_changed_code(story: Story) -> None:
    assert story.runs["extended"].code == 1
    old, new = story.attempts["fresh"], story.attempts["extended"]
    assert {key: new[key] for key in old} == old
    assert set(new) - set(old) == {("broken=yes", 0), ("broken=yes", 1)}
    marked = [event for event in story.study.events("end") if event.get("accepted_code_change")]
    assert cells(story.study.events("end", "broken=yes")) <= cells(marked)
    assert not cells(story.study.events("end", "baseline", 0)) & cells(marked)


def test_what_failed_by_its_own_fault_is_tried_again_on_request_only(story: Story) -> None:
    assert story.runs["failed again"].code == 1
    assert story.attempts["failed again"] == story.attempts["extended"]
    assert story.runs["retried"].code == 0, story.runs["retried"].err
    expected = {key: 1 + (key[0] == "broken=yes") for key in story.attempts["extended"]}
    assert story.attempts["retried"] == expected
    assert [row["attempt"] for row in story.study.rows("broken=yes")] == [2, 2, 2]


def test_a_spent_budget_is_exit_code_3(story: Story) -> None:
    run = story.runs["no time"]
    assert run.code == 3
    assert "budget reached" in run.err
    rows = story.study.results()
    old = story.attempts["retried"]
    assert {key: rows[key]["attempts"] for key in old} == old
    assert {row["state"] for key, row in rows.items() if key not in old} <= {"pending", "cancelled"}


def test_an_entrypoint_that_does_not_import_leaves_nothing(shared_bench: Callable[[str, str], Bench]) -> None:
    study = shared_bench("unimportable", STUDY.replace("stubborn", "unimportable"))
    run = study.run()
    assert run.code == 2
    faults = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(faults) == 1
    assert "a_package_that_nobody_has" in faults[0]
    assert f"{study.module}:3" in faults[0]
    assert contents(study) == {}
    assert run.out == ""
