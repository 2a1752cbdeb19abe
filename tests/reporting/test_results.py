"""What belongs to the result: the headline, order, absolute numbers, other metrics, labels, words."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.reporting import words
from orchestrator.reporting.curves import said_by_tables, with_curves
from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.glossary import glossary
from orchestrator.reporting.headline import headline
from orchestrator.reporting.latex import to_latex
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.notebook import effects_html
from orchestrator.reporting.page import to_html
from orchestrator.reporting.terminal import render

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
BN = {0: 0.8, 1: 0.83, 2: 0.82}
AUG = {0: 0.901, 1: 0.919, 2: 0.911}
LABELLED = {
    "bn": {"without": {"bn": False}, "label": "batch normalisation"},
    "aug": {"without": {"aug": False}},
}
ARMS = {"baseline": BASE, "no-aug": AUG, "no-bn": BN}


def drawn(report, width: int = 120) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(report))
    return out.getvalue()


def every_form(report) -> dict[str, str]:
    return {
        "terminal": drawn(report),
        "Markdown": to_markdown(report),
        "page": to_html(report, ()),
        "LaTeX": to_latex(report).replace(r"\ensuremath{-}", "−").replace(r"\ensuremath{\pm}", "±"),
        "notebook": effects_html(report),
        "effects.json": json.dumps(to_json(report), ensure_ascii=False),
    }


def test_the_headline_stands_in_every_form(study) -> None:
    report = study(ARMS, components=LABELLED).report
    said = "1 of 2 components matters: batch normalisation, −9.33 pp; 1 unresolved."
    assert headline(report) == said
    forms = every_form(report)
    del forms["notebook"]  # the table alone; the report has it
    for name, text in forms.items():
        assert said.removesuffix(".") in text.replace("~", " "), name
    assert drawn(report).splitlines()[2] == said


@pytest.mark.parametrize(
    ("outcomes", "changes", "said"),
    [
        ({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, {"seeds": 1},
         "One seed shows no difference beyond chance; the largest difference: bn, −10 pp."),
        ({"baseline": BASE, "no-aug": AUG}, {}, "aug is not shown to matter; 1 unresolved."),
        ({"baseline": BASE, "no-aug": AUG}, {"report": {"margin": 0.1}},
         "aug is not shown to matter; 1 practically equivalent (±10.00 pp)."),
        ({"baseline": BASE, "no-bn": BASE}, {},
         "All differences are equal, so that there is no interval; the largest difference: bn, 0.00 pp."),
        ({"no-bn": {}}, {}, "So far: Nothing to compare yet."),
        ({"baseline": BASE, "no-aug": AUG, "no-bn": "fails"}, {},
         "None of 2 components is shown to matter; every run fails without bn; 1 unresolved."),
        ({"baseline": BASE, "no-bn": BN, "no-aug": {0: 0.7, 1: 0.73, 2: 0.71}}, {},
         "2 of 2 components matter: aug −19.67 pp, bn −9.33 pp."),
    ],
)  # fmt: skip
def test_headlines(study, ended, outcomes, changes, said: str) -> None:
    failed = dict.fromkeys(range(3), ended(None, "failed", "user", "ValueError: boom", 1))
    outcomes = {arm: failed if by_seed == "fails" else by_seed for arm, by_seed in outcomes.items()}
    assert headline(study(outcomes, **changes).report) == said


def test_a_study_that_exchanges_speaks_of_changes(study) -> None:
    components = {
        "opt": {"label": "optimizer", "labels": {"sgd": "plain SGD"}, "swap": {"sgd": {"opt": "sgd"}}},
        "bn": LABELLED["bn"],
    }
    report = study({"baseline": BASE, "no-bn": AUG, "opt=sgd": BN}, components=components).report
    assert headline(report).startswith("1 of 2 changes matters: optimizer: plain SGD, −9.33 pp")
    assert "Exchanging optimizer for plain SGD lowers val/accuracy" in drawn(report)


def test_arms_stand_in_the_order_of_their_effects_behind_the_reference(study) -> None:
    report = study(ARMS, components=LABELLED).report
    lines = to_markdown(report).partition("## Effects")[2].splitlines()
    assert [line.split("](")[0] for line in lines if line.startswith("| [")][:3] == [
        "| [baseline",
        "| [without batch normalisation",
        "| [no-aug",
    ]
    lines = drawn(report).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("arm "))
    assert [line.split("  ")[0] for line in lines[first + 1 : first + 4]] == [
        "baseline",
        "without batch normalisation",
        "no-aug",
    ]
    assert [effect["arm"] for effect in to_json(report)["effects"]] == ["no-bn", "no-aug"]  # the file's


def runs(ended, values: tuple[float, ...], params: float):
    return {
        seed: ended(value, beside={"val/acc": value + 0.05, "params": params, "loss": 0.1 * seed})
        for seed, value in enumerate(values)
    }


def two_arms(ended):
    return {
        "baseline": runs(ended, (0.90, 0.91, 0.92), 11_173_962),
        "no-bn": runs(ended, (0.80, 0.82, 0.81), 11_164_352),
    }


METRIC = {"name": "val/acc", "mode": "max", "at": "best", "test": "test/acc", "also": ["params", "loss"]}


def test_other_metrics_are_columns_of_every_form(study, ended) -> None:
    report = study(two_arms(ended), metric=METRIC).report
    for name, text in every_form(report).items():
        if name == "effects.json":
            continue
        for part in ("91.0 ± 1.0", "81.0 ± 1.0", "11,164,352", "0.10 ± 0.10", "selected on val/acc"):
            assert part in text, (name, part)
    data = to_json(report)
    assert (data["metric"], data["selected_by"], data["at"]) == ("test/acc", "val/acc", "best")
    (effect,) = data["effects"]
    assert effect["level"] == {"n": 3, "mean": pytest.approx(0.81), "sd": pytest.approx(0.01)}
    assert effect["also"]["params"] == {"n": 3, "mean": 11_164_352, "sd": 0}
    assert data["baseline"]["also"]["val/acc"]["mean"] == pytest.approx(0.96)


def test_earlier_records_say_the_other_metrics_in_their_tables(study) -> None:
    metric = {"name": "acc", "mode": "max", "also": ["val/accuracy"]}
    made = study({"baseline": BASE, "no-bn": BN}, metric=metric, curves={})
    assert said_by_tables(made.report, made.spec)
    for arm, by_seed in {"baseline": BASE, "no-bn": BN}.items():
        for seed, value in by_seed.items():
            row = {"report": 9, "step": 90, "epoch": 9, "time_s": 9.0, "attempt": 1, "acc": value}
            lines = json.dumps({**row, "val/accuracy": 0.5 + seed / 10}) + "\n"
            made.storage.write_atomic(made.paths.trial(arm, seed).table("metrics").jsonl, lines)
    report = with_curves(made.report, made.storage, made.paths, made.spec)
    assert "60 ± 10" in drawn(report)


def test_the_wrong_choice_is_said_to_be_optimistic(study) -> None:
    report = study(ARMS, metric={"name": "val/accuracy", "mode": "max", "at": "best"}).report
    for name, text in every_form(report).items():
        assert name == "effects.json" or "chosen and claimed on the same data" in text, name
    assert words.selection(study(ARMS, name="other").report) == ""


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_no_width_hides_an_arm_or_its_numbers(study, ended, width: int) -> None:
    text = drawn(study(two_arms(ended), metric=METRIC).report, width)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    flat = "".join(text.split())
    for part in ("no-bn", "81.0±1.0", "−10.0", "11,164,352", "0.10±0.10", "hurts", "val/acc(%)"):
        assert part in flat


def test_words_are_explained_where_they_are_used(study, ended) -> None:
    report = study(ARMS, components=LABELLED).report
    known = dict(glossary(report))
    assert {"Δ", "pp", "hurts", "unresolved", "mean ± SD"} <= known.keys()
    assert not {"futile", "margin", "rung-only", "helps", "skipped"} & known.keys()
    assert "## Words" in to_markdown(report)
    page = to_html(report, ())
    assert "<details><summary>The words of this report</summary>" in page
    assert "<dt>unresolved</dt>" in page
    halved = study(
        {"baseline": BASE, "no-bn": dict.fromkeys(range(3), ended(0.5, "stopped", None, "rank 3 of 3", 1))},
        stopping={"rule": "asha", "max": 9},
        name="halved",
    ).report
    assert {"rung", "rung-only"} <= dict(glossary(halved)).keys()
