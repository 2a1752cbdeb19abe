from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.reporting import write
from orchestrator.reporting.effects_json import EFFECT_IN_JSON, to_json
from orchestrator.reporting.figures import FORMATS
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.terminal import render
from orchestrator.reporting.write import write_report

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "effects.schema.json").read_text(encoding="utf-8"))
BASE = {0: 0.90, 1: 0.92, 2: 0.91}
ASHA = {"rule": "asha", "max": 9, "grace": 1}


def drawn(report, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(report))
    return out.getvalue()


def scenarios(ended):
    failed = ended(None, "failed", "user", "ValueError: [bold]a | b[/bold]\x1b[31m\nTraceback", 1)
    stopped = ended(0.5, "stopped", None, "rank 3 of 3", 1)
    many = {
        f"no-component-{i}": {s: 0.9 + s / 100 - i / 300 + (s * i % 7) / 500 for s in range(3)}
        for i in range(30)
    }
    return {
        "one arm": ({"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}}, {}),
        "thirty arms": ({"baseline": BASE, **many}, {}),
        "long names": ({"baseline": BASE, "no-" + "very-long-component-name" * 4: BASE}, {}),
        "one seed": ({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, {"seeds": 1}),
        "all failed": ({arm: dict.fromkeys(range(3), failed) for arm in ("baseline", "no-bn")}, {}),
        "negative": ({"baseline": {0: -5.0, 1: -6.0, 2: -7.0}, "no-bn": {0: -9, 1: -8.5, 2: -9.9}},
                     {"metric": {"name": "reward", "mode": "max"}}),
        "tiny": ({"baseline": {0: 1e-12, 1: 2e-12}, "no-bn": {0: 5e-12, 1: 8e-12}},
                 {"metric": {"name": "mse", "mode": "min"}}),
        "nan": ({"baseline": {**BASE, 0: ended(math.nan)}, "no-bn": {**BASE, 1: ended(math.inf)}}, {}),
        "zero variance": ({"baseline": BASE, "no-bn": BASE}, {}),
        "asha": ({"baseline": BASE, "no-bn": dict.fromkeys(range(3), stopped)}, {"stopping": ASHA}),
        "nothing yet": ({"no-bn": {}}, {}),
    }  # fmt: skip


NAMES = [
    "one arm", "thirty arms", "long names", "one seed", "all failed", "negative", "tiny", "nan",
    "zero variance", "asha", "nothing yet",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_form_can_be_drawn(study, ended, name: str) -> None:
    outcomes, changes = scenarios(ended)[name]
    report = study(outcomes, **changes).report
    jsonschema.validate(to_json(report), SCHEMA)
    json.dumps(to_json(report), allow_nan=False)
    markdown = to_markdown(report)
    for width in (80, 120):
        text = drawn(report, width)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        assert "\x1b" not in text + markdown
    for arm in report.arms:
        assert arm.trial_dir in [unquote(link).rstrip("/") for link in re.findall(r"\]\(([^)]+)\)", markdown)]


def test_effects_json_agrees_with_the_report(study) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}}).report
    data = to_json(report)
    (effect,) = data["effects"]
    assert effect["delta"] == pytest.approx(-0.28 / 3)
    assert effect["lo"] < effect["delta"] < effect["hi"]
    assert data["baseline"] == {
        "arm": "baseline",
        "n": 3,
        "mean": pytest.approx(0.91),
        "sd": pytest.approx(0.01),
        "also": {},
    }
    assert effect["level"] == {"n": 3, "mean": pytest.approx(2.45 / 3), "sd": pytest.approx(0.01527525)}
    assert list(data) == list(SCHEMA["properties"])
    assert [*effect, "new_data"] == list(SCHEMA["properties"]["effects"]["items"]["properties"])
    assert tuple(effect) == EFFECT_IN_JSON


def test_what_is_missing_stands_at_the_top(study) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.8}}).report
    warning = "incomplete: 4 of 6 cells have ended, 2 are left"
    assert drawn(report).splitlines()[0] == warning
    assert to_markdown(report).splitlines()[2] == f"> **{warning}**"


def test_rung_only_is_labelled(study, ended) -> None:
    outcomes, changes = scenarios(ended)["asha"]
    report = study(outcomes, **changes).report
    for text in (drawn(report, 120), to_markdown(report)):
        assert "rung-only, no claim at full length" in text
        assert "rank 3 of 3" in text
        assert "Holm" not in text


def test_names_and_reasons_are_not_markup(study, ended) -> None:
    outcomes, changes = scenarios(ended)["all failed"]
    report = study(outcomes, **changes).report
    assert "[bold]a | b[/bold]" in drawn(report, 120)
    assert r"\[bold\]a \| b\[/bold\]" in to_markdown(report)


def test_the_table_of_runs_shows_every_cell(study, ended) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.8, 1: ended(state="failed", cause="hang")}}).report
    row = next(
        line for line in to_markdown(report).splitlines() if line.count("seed-") == 2 and "no-bn" in line
    )
    assert "[0.80](trials/no-bn/seed-0/)" in row
    assert "[failed (hang)](trials/no-bn/seed-1/)" in row
    assert "| pending |" in row  # there is no directory yet


@pytest.mark.slow
def test_all_forms_are_written(study) -> None:
    made = study({"baseline": BASE, "no-bn": BASE})
    names = ("forest", "seeds", "ledger", "variance", "assumptions")
    for for_print, kinds in ((False, ["svg"]), (True, FORMATS), (False, FORMATS)):
        assert write_report(made.storage, made.paths, made.report, for_print=for_print) is None
        figures = list((made.folder / "figures").iterdir())
        assert {path.name for path in figures} == {f"{name}.{kind}" for name in names for kind in kinds}
        assert made.storage.read_text(made.paths.report_html).startswith("<!doctype html>")
        assert all(path.stat().st_size for path in figures), "those that are there are drawn again"
        for path in figures:
            path.write_text("")
    assert made.storage.read_text(made.paths.table_tex).count("tabular") == 2
    jsonschema.validate(json.loads(made.storage.read_text(made.paths.effects_json)), SCHEMA)
    assert made.storage.read_text(made.paths.report_md).startswith("# digits\n")


def test_without_the_extra_the_core_forms_are_written(study, monkeypatch) -> None:
    monkeypatch.setattr(write, "EXTRA", ("jinja2", "a_library_that_nobody_has"))
    made = study({"baseline": BASE, "no-bn": BASE})
    line = write_report(made.storage, made.paths, made.report)
    assert line == (
        "report.html and figures/ are not written: a_library_that_nobody_has not installed "
        "(pip install 'orchestrator[report]')"
    )
    assert {path.name for path in made.folder.iterdir()} == {
        "effects.json", "report.md", "table.tex", "table-slim.tex", "methods.tex", "references.bib", "trials",
    }  # fmt: skip


values = st.one_of(st.none(), st.floats(), st.floats(0, 1), st.sampled_from([0.5, 1e-300, -0.0]))


@pytest.mark.long
@pytest.mark.slow
@given(
    outcomes=st.dictionaries(
        st.sampled_from(["baseline", "no-a", "no-b", "no-c"]),
        st.dictionaries(st.integers(0, 2), values, max_size=3),
        min_size=4,
    ),
    mode=st.sampled_from(["max", "min"]),
    rule=st.sampled_from([{"rule": "none", "max": 9}, ASHA]),
)
@example(
    outcomes={
        "baseline": {0: 0.0, 1: 0.0},
        "no-a": {},
        "no-b": {0: -1.2205945927525328e154, 1: 0.0},
        "no-c": {},
    },
    mode="max",
    rule={"rule": "none", "max": 9},
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_results_break_a_form(study, outcomes, mode: str, rule) -> None:
    metric = {"name": "val_acc|x", "mode": mode}
    report = study(outcomes, metric=metric, stopping=rule).report
    jsonschema.validate(json.loads(json.dumps(to_json(report), allow_nan=False)), SCHEMA)
    assert drawn(report)
    assert to_markdown(report).count("val_acc|x") == 0


@pytest.mark.slow
def test_the_libraries_of_the_extra_are_imported_when_they_are_needed() -> None:
    modules = (
        "orchestrator.reporting.page",
        "orchestrator.reporting.write",
        "orchestrator.reporting.terminal",
    )
    code = (
        f"import sys, {', '.join(modules)}\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
