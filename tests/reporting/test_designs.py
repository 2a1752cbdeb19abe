"""Reports of sequential studies, pairs and factorial designs: the statistics as they are, not made up."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from golden import golden
from rich.console import Console

from orchestrator.record.results import results_table
from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.headline import headline
from orchestrator.reporting.latex import to_latex
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.page import to_html
from orchestrator.reporting.terminal import render
from orchestrator.stats.results import EQUIVALENT, HURTS, INTERACTS, SCREENED, UNRESOLVED

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "effects.schema.json").read_text(encoding="utf-8"))
GOLDEN = golden("no-a", "no-b", "no-c", "no-d")
RESOLVE = {"rule": "resolve", "version": 1, "max": 9}


def by_seed(rows):
    return {arm: dict(enumerate(row)) for arm, row in rows.items()}


def drawn(report) -> str:
    out = StringIO()
    Console(file=out, width=200).print(render(report))
    return out.getvalue()


def page(report) -> str:
    return to_html(report, ())


@pytest.fixture
def golden(study, ended):
    """The golden study as the driver leaves it: seeds that nobody needed are skipped."""
    skipped = ended(None, "skipped", reason="not needed", length=0, wall_s=0)
    outcomes = by_seed(GOLDEN)
    for arm, seeds in {"no-a": (3, 4), "no-b": (3, 4), "no-c": (4,), "no-d": (4,)}.items():
        outcomes[arm] |= dict.fromkeys(seeds, skipped)
    return study(outcomes, seeds=5, stopping=RESOLVE)


def test_the_golden_study(golden) -> None:
    report = golden.report
    assert report.complete
    assert report.looks == (3, 4, 5)
    a, b, c, d = report.first.effects
    assert [effect.verdict for effect in (a, b, c, d)] == [UNRESOLVED, HURTS, "helps", HURTS]
    assert (b.lo, b.hi) == pytest.approx((-1.116107, -0.75056), abs=1e-6)
    assert all(effect.early for effect in (a, b, c, d))
    looks = report.first.decisions
    assert [(look.arm, look.number) for look in looks if look.action == "different"] == [
        ("no-b", 3), ("no-c", 4), ("no-d", 4)
    ]  # fmt: skip
    assert report.ledger.spent == 19 * 9
    assert report.ledger.saved == pytest.approx(6 / 25)
    text = to_markdown(report)
    assert (
        "Removing *b* lowers val/accuracy by 0.93 pp (95 % sequential CI 0.75–1.12 for new seeds; n = 3 of 5"
        in text
    )
    assert "Stopped early because resolved; early-stopped effects lean large." in text
    assert "looks at 3, 4, 5 seeds" in text
    assert "19 %" not in text
    assert "6 runs not needed" in text
    assert r"\textdagger{} stopped early" in to_latex(report)


def test_the_second_version_leaves_no_run_of_the_reference_out(study, ended) -> None:
    outcomes = by_seed(GOLDEN)
    skipped = ended(None, "skipped", reason="not needed", length=0, wall_s=0)
    for arm, number in {"baseline": 4, "no-a": 2, "no-b": 3, "no-c": 4, "no-d": 4}.items():
        outcomes[arm] |= dict.fromkeys(range(number, 5), skipped)
    made = study(outcomes, seeds=5, stopping={"rule": "resolve", "max": 9})
    report = made.report
    assert (report.complete, report.looks, report.left_out) == (True, (2, 3, 4, 5), ())
    assert report.ledger.saved == pytest.approx(8 / 25)
    assert report.first.samples["baseline"].n == 4
    golden = [(-1.457519, 1.307519), (-1.187466, -0.7292), (0.0887, 0.4113), (-6.175867, -2.174133)]
    for effect, (lo, hi) in zip(report.first.effects, golden, strict=True):
        assert (effect.lo, effect.hi) == pytest.approx((lo, hi), abs=2e-6)
        assert effect.delta == pytest.approx((lo + hi) / 2, abs=2e-6)
    assert "Removing *b* lowers val/accuracy by 0.96 pp (95 % sequential CI 0.73–1.19" in to_markdown(report)
    used = {row["cell"] for row in results_table(made.spec, made.history).to_pylist() if row["used"]}
    assert used == {run.cell for arm in report.all_arms for run in arm.runs if run.used}
    assert len(used) == 17


@pytest.fixture
def screened(study, ended):
    """The golden study under `goal: screen`; `of(report)`: with another section `report`."""

    def of(**settings):
        outcomes = by_seed(GOLDEN)
        skipped = ended(None, "skipped", reason="not needed", length=0, wall_s=0)
        for arm, number in {"baseline": 4, "no-a": 1, "no-b": 3, "no-c": 2, "no-d": 4}.items():
            outcomes[arm] |= dict.fromkeys(range(number, 5), skipped)
        stopping = {"rule": "resolve", "goal": "screen", "max": 9}
        return study(outcomes, seeds=5, stopping=stopping, **settings)

    return of


def test_a_screened_arm_has_its_one_difference_and_no_interval(screened) -> None:
    report = screened().report
    assert (report.complete, report.looks, report.left_out) == (True, (2, 3, 4, 5), ())
    assert report.ledger.saved == pytest.approx(11 / 25)
    first, *others = report.first.effects
    assert [effect.verdict for effect in others] == [HURTS, UNRESOLVED, HURTS]
    assert (first.verdict, first.n, first.look, first.seeds) == (SCREENED, 1, 1, (0,))
    assert first.delta == pytest.approx(93.8 - (0.625 * 93.9 + 0.375 * 94.1))
    unknown = (
        "lo",
        "hi",
        "wide_lo",
        "wide_hi",
        "p",
        "p_holm",
        "se",
        "df",
        "sd",
        "plain",
        "wins",
        "seeds_needed",
    )
    assert {name: getattr(first, name) for name in unknown} == dict.fromkeys(unknown)
    assert [look.action for look in report.first.decisions if look.arm == "no-a"] == [
        "parked",
        "screened out",
    ]
    (told,) = (effect for effect in to_json(report)["effects"] if effect["arm"] == "no-a")
    jsonschema.validate(to_json(report), SCHEMA)
    assert (told["verdict"], told["lo"], told["hi"], told["wins"]) == (SCREENED, None, None, None)


def test_an_open_arm_of_the_screen_has_the_interval_of_its_test(screened) -> None:
    report = screened().report
    open_, claimed = report.first.effects[2], report.first.effects[1]
    assert open_.lo < 0 < open_.hi
    assert (claimed.lo, claimed.hi) == pytest.approx((-1.331404, -0.585262), abs=2e-6)
    assert open_.hi - open_.lo > 18.717739 + 18.367739  # at the level of the look alone
    said = "; that of an arm without a claim has the level that the arm was tested at, the others are not "
    assert said in str(report.methods)
    [told] = [line for line in report.caveats if line.startswith("Arms went on because")]
    assert "where baseline is noisier" in told
    assert told.endswith("; that of an arm without a claim has the level of its test, and so holds 0.")


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [drawn, to_markdown, to_latex, page, headline, repr, StudyReport._repr_html_]
)
def test_every_form_says_that_one_seed_was_all(screened, form) -> None:
    said = " ".join(form(screened().report).split())
    assert "one seed: screened out" in said or "1 screened out after one seed" in said


def test_the_sentence_about_a_screened_arm(screened) -> None:
    text = to_markdown(screened().report)
    said = r"\*a\*: one seed: screened out; \S+ differs by −0\.1\d pp, without an interval"
    assert re.search(said, text)


def test_a_study_of_screened_arms_alone_shows_nothing_to_matter(study) -> None:
    rows = {f"no-{name}": dict.fromkeys([0], 0.9) for name in "abcd"}
    rows["baseline"] = dict(enumerate([0.9, 0.95, 0.85, 0.91]))
    stopping = {"rule": "resolve", "goal": "screen", "max": 9}
    report = study(rows, seeds=5, stopping=stopping).report
    assert headline(report).endswith(
        "None of 4 components is shown to matter; 4 screened out after one seed."
    )


def test_the_used_runs_are_those_of_results(golden) -> None:
    rows = results_table(golden.spec, golden.history).to_pylist()
    used = {row["cell"] for row in rows if row["used"]}
    assert used == {run.cell for arm in golden.report.all_arms for run in arm.runs if run.used}


def test_seeds_that_ran_ahead_are_in_no_effect(study, ended) -> None:
    report = study(by_seed(GOLDEN), seeds=5, stopping=RESOLVE).report
    assert {arm.arm: sum(run.used for run in arm.runs) for arm in report.all_arms}["no-b"] == 3
    assert "done, in no look" in to_markdown(report)
    assert {run.reason for _, run in report.left_out} == {"decided without it"}


def test_before_the_first_look_finished_runs_are_in_the_effect_that_is_shown(study, ended) -> None:
    begun = {"baseline": {0: 0.9, 1: 0.91, 4: 0.92}, "no-b": {0: 0.8}, "no-c": {0: 0.85, 3: 0.86}}
    report = study(begun, seeds=5, stopping=RESOLVE).report
    assert [effect.n for effect in report.first.effects] == [1, 1]
    assert report.first.samples["baseline"].n == 2
    assert [(arm.arm, run.seed) for arm, run in report.left_out] == [("baseline", 4), ("no-c", 3)]
    assert {run.reason for _, run in report.left_out} == {"its look has not been taken yet"}


@pytest.mark.parametrize("form", [drawn, to_markdown, to_latex, page])
def test_every_form_tells_a_sequential_study_of_min(study, form) -> None:
    outcomes = {arm: {seed: -value for seed, value in row.items()} for arm, row in by_seed(GOLDEN).items()}
    report = study(outcomes, seeds=5, stopping=RESOLVE, metric={"name": "loss", "mode": "min"}).report
    assert report.first.effects[1].verdict == HURTS
    assert report.first.decisions[1].delta == pytest.approx(report.first.effects[1].delta)
    assert report.first.decisions[1].lo < report.first.decisions[1].hi
    assert "sequential interval per arm" in form(report)


def test_pairs_are_interactions(study) -> None:
    rows = {"baseline": [0.9, 0.91, 0.92], "no-a": [0.8, 0.81, 0.825], "no-b": [0.85, 0.86, 0.868]}
    both = {0: 0.85, 1: 0.86, 2: 0.871}
    report = study(
        by_seed(rows), later=lambda cell: both[cell.seed], interactions=[["a", "b"]],
        components={"a": {"without": {"a": False}}, "b": {"without": {"b": False}}},
    ).report  # fmt: skip
    (joint,) = report.first.interactions
    assert joint.components == ("a", "b")
    assert joint.delta == pytest.approx(0.1, abs=0.01)
    assert joint.verdict == INTERACTS
    jsonschema.validate(to_json(report), SCHEMA)
    assert [effect["kind"] for effect in to_json(report)["effects"]] == ["main", "main", "interaction"]
    assert "Removing *a* and *b* together raises" in to_markdown(report)
    assert "beyond the sum of both" in page(report)
    assert "Below the line: interactions" in to_latex(report)


def test_a_fractional_design_prints_its_aliases(study) -> None:
    names = ("a", "b", "c", "d")
    shift = {"a": -0.05, "b": 0.0, "c": 0.02, "d": 0.0}

    def value(cell):
        away = cell.arm.split("+") if cell.arm != "baseline" else []
        return (
            0.9
            + sum(shift[part.removeprefix("no-")] for part in away)
            + (cell.seed * len(cell.arm) % 3) / 1000
        )

    report = study(
        {}, later=value, design="fractional", baseline=dict.fromkeys(names, True),
        components={name: {"without": {name: False}} for name in names}, report={"margin": 0.01},
    ).report  # fmt: skip
    verdicts = {effect.arm: effect.verdict for effect in report.first.effects}
    assert verdicts == {"no-a": HURTS, "no-b": EQUIVALENT, "no-c": "helps", "no-d": EQUIVALENT}
    assert ("a", "b × c × d") in report.aliases
    for form in (drawn(report), to_markdown(report), page(report)):
        assert "a × b = c × d" in form
    assert r"a = b \ensuremath{\times} c" in to_latex(report)
    (effect, *_) = to_json(report)["effects"]
    assert (effect["runs"], effect["trial_dir"]) == (24, "trials")
    assert "Removing *a* lowers" in to_markdown(report)


@pytest.mark.parametrize(
    ("stopping", "design"),
    [
        (RESOLVE, "leave-one-out"),
        (RESOLVE | {"goal": "screen"}, "leave-one-out"),
        (RESOLVE | {"goal": "reinvest", "max_seeds": 8}, "leave-one-out"),
        (RESOLVE | {"goal": "reinvest", "max_seeds": 8}, "pairs"),
    ],
)
def test_runs_beyond_the_last_look_change_no_effect(study, ended, stopping, design: str) -> None:
    """Whether they ran depends on how many lanes there were."""

    def effects(beyond):
        def value(cell):
            random = np.random.default_rng([int(cell.cell, 16)])
            shift = sum({"no-a": -3, "no-b": -2, "no-c": 0}.get(part, 0) for part in cell.arm.split("+"))
            found = 50 + shift + random.normal() / 2
            return found if beyond is None or cell.cell in beyond else ended(None, "failed", cause="user")

        made = study(
            {}, later=value, seeds=4, design=design, stopping=stopping,
            baseline=dict.fromkeys("abcd", True), components={n: {"without": {n: False}} for n in "abcd"},
        )  # fmt: skip
        return made.report, made.report.first.all_effects

    whole, found = effects(None)
    used = {run.cell for arm in whole.all_arms for run in arm.runs if run.used}
    assert len(used) < whole.total
    _, without = effects(used)
    assert without == found


@pytest.mark.parametrize(
    ("stopping", "design"),
    [
        ({"rule": "none", "max": 9}, "pairs"),
        (RESOLVE, "leave-one-out"),
        (RESOLVE | {"goal": "screen"}, "leave-one-out"),
        (RESOLVE | {"goal": "reinvest", "max_seeds": 8}, "leave-one-out"),
        ({"rule": "none", "max": 9}, "factorial"),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_mode_min_mirrors_mode_max(study, ended, stopping, design: str, seed: int) -> None:
    """The same study with its metric turned round: every verdict, n and p stays, every Δ turns its sign."""

    def effects(sign: int):
        def value(cell):
            random = np.random.default_rng([seed, int(cell.cell, 16)])
            if random.random() < 0.1:
                return ended(None, "failed", cause="user")
            shift = sum({"no-a": -3, "no-b": 1, "no-c": 0}.get(part, 0) for part in cell.arm.split("+"))
            return sign * float(shift + random.normal())

        found = study(
            {}, later=value, seeds=4, design=design, stopping=stopping, report={"margin": 2.5},
            baseline=dict.fromkeys("abcd", True), components={n: {"without": {n: False}} for n in "abcd"},
            metric={"name": "score", "mode": "max" if sign > 0 else "min"},
        )  # fmt: skip
        return found.report.first.all_effects

    same = ("arm", "verdict", "n", "p", "p_holm", "p_equivalent", "flags", "seeds", "look", "early", "wins",
            "seeds_needed", "se", "df", "failures", "q", "p_permutation")  # fmt: skip
    turned = {"delta": "delta", "lo": "hi", "wide_lo": "wide_hi", "percent": "percent", "d_sd": "d_sd"}
    for up, down in zip(effects(1), effects(-1), strict=True):
        for name in same:
            assert getattr(up, name) == getattr(down, name), name
        for one, other in turned.items():
            # % and SD are of the reference, whose mean has turned its sign as well: its size is what counts
            there, mirrored = getattr(up, one), getattr(down, other)
            assert (there is None) == (mirrored is None), one
            assert there is None or there == -mirrored, one


def test_a_grid_that_is_not_complete_says_so_of_every_effect(study) -> None:
    values = {arm: dict(enumerate(rows[:4])) for arm, rows in GOLDEN.items()} | {
        "no-b": dict(enumerate(GOLDEN["no-b"]))
    }
    values["baseline"] = dict(enumerate(GOLDEN["baseline"]))
    report = study(values, seeds=5).report
    flagged = {effect.arm for effect in report.first.effects if "not finished" in effect.flags}
    assert flagged == {"no-a", "no-c", "no-d"}
    assert "hurts (noisy, not finished)" in to_markdown(report)


def test_a_run_that_no_look_needed_is_not_called_lost(study) -> None:
    """The baseline runs all its seeds; what no look has seen costs nobody a pair."""
    values = by_seed({"baseline": GOLDEN["baseline"], "no-b": GOLDEN["no-b"]})
    values["no-b"] = {seed: value for seed, value in values["no-b"].items() if seed < 3}
    report = study(values, seeds=5, stopping=RESOLVE).report
    assert report.first.effects[0].verdict == HURTS
    assert not any("loses" in note for note in report.notes)
