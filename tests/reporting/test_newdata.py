"""The interval for new seeds and new data: from the scores of the trials to every form of the report."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from orchestrator.record.scores import as_scores, write_scores
from orchestrator.reporting import newdata
from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.glossary import glossary
from orchestrator.reporting.headline import headline
from orchestrator.reporting.latex import to_latex
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.newdata import with_new_data
from orchestrator.reporting.notebook import report_html
from orchestrator.reporting.page import to_html
from orchestrator.reporting.terminal import render
from orchestrator.study.registered import design_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "effects.schema.json").read_text(encoding="utf-8"))
SAMPLES, SEEDS = 200, 3
HERE = "on this validation set"


@dataclass
class Scored:
    """A study whose trials have kept their scores; `report()` reads them."""

    made: Any
    scores: dict[tuple[str, int], np.ndarray]

    def path(self, arm: str, seed: int) -> Any:
        return self.made.paths.trial(arm, seed)

    def write(self, arm: str, seed: int, ids: Iterable[Any], values: Any) -> None:
        write_scores(self.made.storage, self.path(arm, seed), as_scores(ids, values))

    def report(self) -> StudyReport:
        made = self.made
        found = design_of(made.spec).contrasts(made.spec, made.history.plan.arms)
        return with_new_data(made.report, made.storage, made.paths, found)


@pytest.fixture
def scored(study: Any) -> Callable[..., Scored]:
    """`no-a` is better by much on every sample, `no-b` by chance on a few of them."""

    def build(*, written: bool = True, **changes: Any) -> Scored:
        random = np.random.default_rng(3)
        easy = random.uniform(0.2, 0.6, SAMPLES)
        few = np.where(np.arange(SAMPLES) < 2, 1.0, 0.0)
        scores = {
            (arm, seed): easy + change + random.normal(0, 1e-3) + random.normal(0, 1e-3, SAMPLES)
            for arm, change in (("baseline", 0.0 * few), ("no-a", 0.2 + 0.0 * few), ("no-b", few))
            for seed in range(SEEDS)
        }
        values: dict[str, dict[int, float]] = {}
        for (arm, seed), of_run in scores.items():
            values.setdefault(arm, {})[seed] = float(of_run.mean())
        found = Scored(study(values, seeds=SEEDS, **changes), scores)
        for (arm, seed), of_run in scores.items() if written else ():
            found.write(arm, seed, range(SAMPLES), of_run)
        return found

    return build


def drawn(report: StudyReport) -> str:
    out = io.StringIO()
    Console(file=out, width=400).print(render(report))
    return out.getvalue()


def test_a_claim_that_rests_on_a_few_samples_is_for_this_validation_set(scored) -> None:
    report = scored().report()
    a, b = (report.first.new_data[arm] for arm in ("no-a", "no-b"))
    effects = {effect.arm: effect for effect in report.first.effects}
    assert {effect.verdict for effect in effects.values()} == {"helps"}
    assert (a.samples, a.holds_zero, b.holds_zero) == (SAMPLES, False, True)
    # two of 200 samples gained 1: Δ = .01 with a sampling error of √(.01 · .99 / 199) ≈ .007
    assert b.se == pytest.approx(0.0071, rel=0.05)
    for name, found in (("no-a", a), ("no-b", b)):
        assert found.lo <= effects[name].lo <= effects[name].hi <= found.hi


@pytest.mark.slow
def test_every_form_has_the_second_interval_and_the_mark(scored) -> None:
    report = scored().report()
    texts = [
        *(to_markdown(report), to_html(report), to_latex(report), to_latex(report, slim=True)),
        *(drawn(report), report_html(report)),
    ]
    assert all(text.lower().count(HERE) >= 1 for text in texts)
    page = to_markdown(report)
    head, _, reference, *rows = (line for line in page.splitlines() if line.startswith("|"))
    assert head.split(" | ")[4] == "new seeds and new data"
    assert {line.count(" | ") for line in (head, reference, *rows[:2])} == {head.count(" | ")}
    assert "from 200 samples; so the claim is on this validation set." in page
    assert "On this validation set only: no-b" in to_latex(report, slim=True)
    assert {"new seeds and new data", HERE} <= {word for word, _ in glossary(report)}
    assert headline(report) == "2 of 2 components matter: a +19.91 pp, b +1.01 pp (on this validation set)."
    document = to_json(report)
    jsonschema.validate(document, SCHEMA)
    holds = {effect["arm"]: effect["new_data"]["claim_holds"] for effect in document["effects"]}
    assert holds == {"no-a": True, "no-b": False}


def test_without_scores_nothing_changes(scored) -> None:
    made = scored(written=False)
    assert made.report() is made.made.report
    assert all("new_data" not in effect for effect in to_json(made.report())["effects"])


def test_a_split_of_its_own_for_each_seed_needs_no_second_interval(scored) -> None:
    made = scored()
    for (arm, seed), values in made.scores.items():
        made.write(arm, seed, range(150 * seed, 150 * seed + SAMPLES), values)
    report = made.report()
    assert not report.first.new_data
    assert report.notes == (
        "New data: seeds 0 and 1 have 50 of 200 and 200 samples in common: each seed has a validation split "
        "of its own, so the interval over seeds is for new data as well, as far as the split draws them.",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda made: made.write("no-a", 1, range(1, SAMPLES + 1), made.scores["no-a", 1]),
            "no-a and baseline were scored on other samples under seed 1 "
            "(199 of 200 and 200 samples in common)",
        ),
        (
            lambda made: [
                made.write(arm, 1, range(1, SAMPLES + 1), made.scores[arm, 1])
                for arm in ("baseline", "no-a", "no-b")
            ],
            "seeds 0 and 1 have 199 of 200 and 200 samples in common, and need the same in all",
        ),
        (
            lambda made: made.write("no-a", 2, map(str, range(SAMPLES)), made.scores["no-a", 2]),
            "under seed 2 (0 of 200 and 200 samples in common)",
        ),
        (
            lambda made: made.write("no-a", 0, range(SAMPLES), made.scores["no-a", 0] * 100),
            "the scores of no-a under seed 0 have the mean",
        ),
        (
            lambda made: made.made.storage.delete_file(made.path("no-a", 2).scores()),
            "no-a has kept no scores under seed 2",
        ),
        (
            lambda made: made.made.storage.write_atomic(made.path("no-a", 0).scores(), b"PAR1 or not"),
            "the scores of no-a under seed 0 cannot be read: ",
        ),
    ],
)
def test_what_does_not_fit_is_told_and_the_others_stay(scored, change: Any, said: str) -> None:
    made = scored()
    change(made)
    report = made.report()
    (note,) = report.notes
    assert said in note
    assert "\n" not in note
    everything = "seeds 0 and 1" in said
    assert set(report.first.new_data) == (set() if everything else {"no-b"})
    assert note.startswith("No interval for new data:" if everything else "No interval for new data of no-a:")


def test_there_is_a_limit_to_what_is_held(scored, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored()
    monkeypatch.setattr(newdata, "MOST_VALUES", 7 * SAMPLES)
    report = made.report()
    assert "more than 1,400 scores in all" in report.notes[0]
