"""Pairs whose runs were on different types of GPU are flagged in every form of the report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.page import to_html
from orchestrator.reporting.terminal import render

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "effects.schema.json").read_text(encoding="utf-8"))
NOTE = (
    "2 of 6 pairs were run on different GPU types (A100 / H100; seeds 1, 2): part of Δ may be theirs. "
    "resources.accelerator_type keeps a study to one, with --fresh."
)


@pytest.fixture
def on(ended):
    return lambda *devices, value=0.9: ended(value, devices=devices, gpu_s=30.0)


@pytest.fixture
def mixed(study, on):
    """Seed 1 of one arm was on another type; seed 2 of the other arm went on there after a fault."""
    return study(
        {
            "baseline": {seed: on("A100", value=0.90 + seed / 100) for seed in range(3)},
            "no-a": {0: on("A100"), 1: on("H100", value=0.8), 2: on("A100", value=0.7)},
            "no-b": {0: on("A100"), 1: on("A100", value=0.8), 2: on("A100", "H100", value=0.7)},
        }
    )


def drawn(report) -> str:
    out = io.StringIO()
    Console(file=out, width=400).print(render(report))
    return out.getvalue()


def test_mixed_pairs_are_counted_and_named(mixed) -> None:
    report = mixed.report
    assert dict(report.first.mixed) == {"no-a": {1: ("A100", "H100")}, "no-b": {2: ("A100", "H100")}}
    assert [effect.flags[0] for effect in report.first.effects] == ["1 on mixed devices"] * 2
    assert report.notes == (NOTE,)


def test_every_form_says_so(mixed) -> None:
    report = mixed.report
    document = to_json(report)
    jsonschema.validate(document, SCHEMA)
    assert document["notes"] == [NOTE]
    assert all("1 on mixed devices" in effect["flags"] for effect in document["effects"])
    html = to_html(report, ())
    for text in (drawn(report), to_markdown(report), html):
        assert "2 of 6 pairs were run on different GPU types (A100 / H100; seeds 1, 2)" in text
        assert "(1 on mixed devices" in text
    assert "on A100 and H100" in html


@pytest.mark.parametrize("devices", [("H100",), ("CPU",), ()])
def test_one_type_is_no_news(study, on, devices: tuple[str, ...]) -> None:
    report = study({arm: {0: on(*devices), 1: on(*devices)} for arm in ("baseline", "no-a")}).report
    assert not report.first.mixed
    assert not any("device" in note or "GPU" in note for note in report.notes)


def test_another_type_under_another_seed_is_no_mixture(study, on) -> None:
    """A pair is compared within its seed."""
    report = study({arm: {0: on("A100"), 1: on("H100")} for arm in ("baseline", "no-a")}).report
    assert not report.first.mixed


def test_cpu_against_gpu_has_its_own_advice(study, on) -> None:
    report = study({"baseline": {0: on("CPU"), 1: on("CPU")}, "no-a": {0: on("H100"), 1: on("CPU")}}).report
    (note,) = (note for note in report.notes if "devices" in note)
    assert note.startswith("1 of 2 pairs were run on different devices (CPU / H100; seeds 0)")
    assert "resources.gpus_per_worker keeps" in note


def test_a_run_that_has_no_value_makes_no_pair(study, on, ended) -> None:
    report = study(
        {
            "baseline": {0: on("A100"), 1: on("A100")},
            "no-a": {0: ended(state="failed", cause="oom", devices=("H100",)), 1: on("A100")},
        }
    ).report
    assert not report.first.mixed


def test_factorial_designs_compare_all_runs_of_a_seed(study, on) -> None:
    arms = ("baseline", "no-a", "no-b", "no-a+no-b")
    outcomes = {arm: {0: on("A100"), 1: on("A100")} for arm in arms}
    outcomes["no-a+no-b"][0] = on("H100")
    components = {name: {"without": {name: False}} for name in "ab"}
    baseline = {"a": True, "b": True}
    report = study(outcomes, seeds=2, components=components, baseline=baseline, design="factorial").report
    assert set(report.first.mixed["no-a"]) == set(report.first.mixed["no-b"]) == {0}
    assert any(
        note.startswith("1 of 2 seeds were run on different GPU types (A100 / H100") for note in report.notes
    )
