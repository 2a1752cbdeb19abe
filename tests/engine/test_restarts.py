"""Starting the same study again: refused when it is another one, and exactly what is missing is run.

What is decided, in threads; that the words of the command arrive, once on Ray.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scene import Scene
from workbench import STUBBORN, Bench

from orchestrator.api.recorded import OpenedStudy
from orchestrator.engine.inprocess import report
from orchestrator.errors import ChangedCode, ChangedStudy, ExitCode, StudyError
from orchestrator.record.layout import PLACES

pytestmark = pytest.mark.slow

BROKEN = {"broken": {"swap": {"yes": {"broken": True}}}}
STUDY = STUBBORN + "  broken: {swap: {yes: {broken: true}}}\nname: stubborn\nseeds: 2\n"
KNOWN = "deterministic=true"


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the storage."""
    found = sorted(path for path in root.rglob("*") if path.is_file()) if root.exists() else []
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def attempts(scene: Scene | Bench) -> dict[tuple[str, int], int]:
    rows = scene.cells() if isinstance(scene, Scene) else scene.results().values()
    return {(row["arm"], row["seed"]): row["attempts"] for row in rows}


class Trial:
    """Ignores its seed, and fails in one arm until it is mended."""

    mended = False

    def __call__(self, config: dict[str, Any]) -> None:
        for epoch in range(1, int(config["max_length"]) + 1):
            if config["broken"] and not self.mended:
                raise RuntimeError("broken until mended")
            report({"epoch": epoch, "loss": config["level"] / epoch})


class Story(Scene):
    """The study of these tests."""

    def __init__(self, root: Path, **changes: Any) -> None:
        base = {
            "baseline": {"level": 1.0, "broken": False},
            "components": {"level": {"swap": {"two": {"level": 2.0}}}},
            "deterministic": True,
        }
        self.root, self.trial = root, Trial()
        super().__init__(root, **{**base, **changes})

    def go(self, start: dict[str, Any] | None = None, **options: Any) -> ExitCode:
        return self.run(function=self.trial, start=start, **options)

    def refused(self, error: type[Exception], start: dict[str, Any] | None = None) -> str:
        """What it says; and that it touches nothing."""
        before = contents(self.root)
        with pytest.raises(error) as told:
            self.go(start)
        assert contents(self.root) == before
        return str(told.value)


def test_an_entrypoint_that_ignores_its_seed_is_bad_input_unless_the_study_says_that_it_is_meant(
    tmp_path: Path,
) -> None:
    story = Story(tmp_path, deterministic=False)
    with pytest.raises(StudyError, match="seeds 0 and 1 of 'baseline' give identical curves") as told:
        story.go()
    assert "the entrypoint ignores its seed" in str(told.value)
    assert "deterministic: true" in str(told.value)

    story.change(deterministic=True)
    assert story.go({"fresh": True}) is ExitCode.DONE
    assert set(attempts(story).values()) == {1}
    (old,) = {path.name for path in tmp_path.iterdir()} - {"threads", PLACES}
    assert old.startswith("threads.2")
    assert (tmp_path / old / "journal.jsonl").stat().st_size > 0


def test_changed_settings_are_refused_with_all_differences(tmp_path: Path) -> None:
    story = Story(tmp_path)
    assert story.go() is ExitCode.DONE
    story.change(stopping={"max": 4, "unit": "epoch"}, metric={"name": "loss", "mode": "max"})
    said = story.refused(ChangedStudy)
    assert "stopping.max" in said
    assert "metric.mode" in said


def test_what_was_added_runs_alone_and_cells_of_changed_code_are_marked(tmp_path: Path) -> None:
    story = Story(tmp_path)
    assert story.go() is ExitCode.DONE
    first = attempts(story)
    story.change(components={"level": {"swap": {"two": {"level": 2.0}}}, **BROKEN})
    story.code = "other code"
    assert "the code has changed" in story.refused(ChangedCode, {"extend": True})
    assert "--extend" in story.refused(ChangedStudy, {"accept_code_change": True})
    assert story.go({"extend": True, "accept_code_change": True}) is ExitCode.FAILED
    assert attempts(story) == first | {("broken=yes", 0): 1, ("broken=yes", 1): 1}
    marked = {event["cell"] for event in story.events("end") if event.get("accepted_code_change")}
    assert marked == {cell.cell for cell in story.plan.cells if cell.arm == "broken=yes"}


def the_cell(story: Story, arm: str, seed: int) -> str:
    return next(cell.cell for cell in story.plan.cells if (cell.arm, cell.seed) == (arm, seed))


def test_one_cell_that_failed_runs_again_and_no_other(tmp_path: Path) -> None:
    story = Story(tmp_path, components=BROKEN)
    assert story.go() is ExitCode.FAILED
    first = attempts(story)
    cell = the_cell(story, "broken=yes", 1)
    assert story.go(again=(cell,)) is ExitCode.FAILED
    story.trial.mended = True
    assert story.go(again=(cell,)) is ExitCode.DONE  # the other one that failed was not asked for
    assert attempts(story) == {**first, ("broken=yes", 1): 3}
    assert [event["state"] for event in story.events("again")] == ["failed", "failed"]


@pytest.mark.parametrize("deleted", [True, False])
def test_one_cell_that_has_its_answer_begins_anew(tmp_path: Path, deleted: bool) -> None:
    story = Story(tmp_path, components={"level": {"swap": {"two": {"level": 2.0}}}})
    assert story.go() is ExitCode.DONE
    rows = story.cells()
    row = next(row for row in rows if (row["arm"], row["seed"]) == ("level=two", 1))
    folder = story.storage.local_path(f"{story.paths.root}/{row['trial_dir']}")
    if deleted:
        shutil.rmtree(folder)
    assert story.go(again=(row["cell"],)) is ExitCode.DONE
    now = {one["cell"]: one for one in story.cells()}
    assert now[row["cell"]]["attempts"] == 2
    assert (now[row["cell"]]["state"], now[row["cell"]]["value"]) == ("done", row["value"])
    assert all(one["attempts"] == 1 for cell, one in now.items() if cell != row["cell"])
    assert (folder / "metrics.a2.parquet").exists()
    assert folder.with_name("seed-1.attempt-1").exists() is not deleted
    told = OpenedStudy(story.storage, story.paths).report(curves=False)
    assert any("level=two seed 1. The later result counts" in note for note in told.notes)


@pytest.mark.slow
def test_what_failed_by_its_own_fault_is_tried_again_on_request_only(tmp_path: Path) -> None:
    story = Story(tmp_path, components={"level": {"swap": {"two": {"level": 2.0}}}, **BROKEN})
    assert story.go() is ExitCode.FAILED
    first = attempts(story)
    story.trial.mended = True
    assert story.go() is ExitCode.FAILED
    assert attempts(story) == first
    assert story.go(retry_failed=True) is ExitCode.DONE
    assert attempts(story) == {key: 1 + (key[0] == "broken=yes") for key in first}


def test_a_spent_budget_is_exit_code_3(tmp_path: Path) -> None:
    story = Story(tmp_path, failures={"report_timeout": 10_000})
    assert story.go() is ExitCode.DONE
    first = attempts(story)
    story.change(seeds=3, budget={"wall": 1})
    a_second_a_look = partial(next, itertools.count())
    assert story.go({"extend": True}, clock=a_second_a_look) is ExitCode.BUDGET
    assert {key: count for key, count in attempts(story).items() if key in first} == first
    new = [row for row in story.cells() if row["seed"] == 2]
    assert sum(row["attempts"] for row in new) <= 1  # what was under way may be through before it hears
    assert [row["state"] for row in new].count("pending") >= 1


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_the_words_of_the_command_arrive(shared_bench: Callable[[str, str], Bench]) -> None:
    study = shared_bench("stubborn", STUDY)
    first = study.run(KNOWN)
    assert first.code == 1, first.err
    before = attempts(study)
    study.module.write_text(study.module.read_text() + "\n\nCHANGED = True\n")
    (study.signs / "mended").touch()
    kept = contents(study.storage_root)
    refused = study.run(KNOWN, "seeds=3")
    assert refused.code == 2
    assert "--extend" in refused.err
    assert "--accept-code-change" in study.run(KNOWN).err
    assert contents(study.storage_root) == kept

    words = ("--accept-code-change", "--extend", "--retry-failed")
    again = study.run(KNOWN, "seeds=3", *words)
    assert again.code == 0, again.err
    new = {(arm, 2): 1 for arm in ("baseline", "level=two", "broken=yes")}
    assert attempts(study) == {key: 1 + (key[0] == "broken=yes") for key in before} | new
    assert [row["attempt"] for row in study.rows("broken=yes")] == [2, 2, 2]


@pytest.mark.long
@pytest.mark.slow
def test_an_entrypoint_that_does_not_import_leaves_nothing(tmp_path: Path) -> None:
    study = Bench(tmp_path, "unimportable", STUDY.replace("stubborn", "unimportable"))
    run = study.run()
    assert run.code == 2
    faults = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(faults) == 1
    assert "a_package_that_nobody_has" in faults[0]
    assert f"{study.module}:3" in faults[0]
    assert contents(study.storage_root) == {}
    assert run.out == ""
