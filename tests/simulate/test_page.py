"""docs/statistics.md shows what the simulator says, and nothing by hand."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy.stats import binom

from orchestrator.simulate.methods import SimulatedDesign

DOCS = Path(__file__).parents[2] / "docs"
RECORD = json.loads((DOCS / "simulated.json").read_text())


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    """The command `python docs/simulated.py`, as a module."""
    spec = importlib.util.spec_from_file_location("simulated", DOCS / "simulated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shape(value: object) -> object:
    """The keys of nested data, without its numbers."""
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_the_page_shows_the_recorded_figures(simulated: ModuleType) -> None:
    record = RECORD
    page = (DOCS / "statistics.md").read_text()
    assert simulated.fill(page, simulated.blocks(record)) == page
    assert set(re.findall(r"<!-- simulated: (\w+) -->", page)) == set(simulated.blocks(record))


@pytest.mark.slow
def test_a_null_is_claimed_no_more_often_than_alpha_allows(simulated: ModuleType) -> None:
    count = simulated.null_studies(300)
    claims = count["helps"] + count["hurts"]
    assert simulated.FOUND.delta[0] == 0
    assert claims + count["equivalent"] + count["unresolved"] == 300
    assert claims <= binom.isf(1e-3, 300, count["alpha"])
    assert count["lo"] <= claims / 300 <= count["hi"]


@pytest.mark.slow
def test_with_a_margin_a_null_may_be_called_equivalent_and_is_not_claimed_more_often(
    simulated: ModuleType,
) -> None:
    count = simulated.null_studies(100, SimulatedDesign(seeds=8, margin=3.0), seed=5)
    assert count["equivalent"] > 50
    assert count["helps"] + count["hurts"] <= binom.isf(1e-3, 100, count["alpha"])


@pytest.mark.slow
def test_the_command_measures_what_is_recorded(simulated: ModuleType) -> None:
    record = json.loads((DOCS / "simulated.json").read_text())
    found = json.loads(json.dumps(simulated.measure(3)))
    assert found["studies"] == 3
    assert shape(strip(found)) == shape(strip(record))
    assert "| resolve, reinvest |" in simulated.blocks(found)["rates"]


def strip(found: dict[str, object]) -> dict[str, object]:
    """Without the figures themselves: few studies may have none of some."""

    def plain(value: object) -> object:
        if not isinstance(value, dict):
            return None
        return None if "value" in value else {key: plain(item) for key, item in value.items()}

    return {key: plain(value) for key, value in found.items()}


def test_errors_that_are_too_large_are_said(simulated: ModuleType) -> None:
    def figure(value: float) -> dict[str, float]:
        return {"value": value, "se": 0.004, "lo": value - 0.008, "hi": value + 0.008}

    def one(fwer: float, coverage: float, worst: float, wrong: float | None) -> dict[str, Any]:
        least, sign = figure(worst), None if wrong is None else figure(wrong)
        found = {"studies": 9, "fwer": figure(fwer), "coverage": figure(coverage), "worst_coverage": least}
        return {**found, "wrong_sign": sign}

    rows = {
        "a": {"title": "quiet", "grid": one(0.06, 0.95, 0.943, 0.002), "save": one(0.05, 0.96, 0.96, None)},
        "b": {"title": "noisy", "grid": one(0.07, 0.94, 0.9, 0.0), "save": one(0.05, 0.96, 0.941, 0.003)},
    }
    said = simulated.blocks({**RECORD, "audit": {"rows": rows}})["audit"].split("\n\n")
    assert said[-1] == (
        "* noisy: *full grid, moderated t* has FWER 0.070 ± 0.004 and covers 0.940 ± 0.004; *resolve, save* "
        "covers 0.941 ± 0.004 of its worst arm and has a wrong sign in 0.0030 ± 0.0040."
    )
    assert said[0].splitlines()[0] == "| FWER | full grid, moderated t | resolve, save |"


def test_one_method_may_be_measured_alone(simulated: ModuleType) -> None:
    found = simulated.measure(1, only=["audit"], methods=["save"])
    assert set(found) == {"studies", "audit"}
    assert {name for row in found["audit"]["rows"].values() for name in row} == {"title", "save"}
    whole = simulated.merged(RECORD, found)
    assert strip(whole) == strip(RECORD)
    assert whole["audit"]["rows"]["falls"]["save"]["studies"] == simulated.RARE["falls"]
    assert whole["audit"]["rows"]["losses"]["save"]["studies"] == 1


def test_the_documented_command_writes_both_files(
    simulated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, record = tmp_path / "statistics.md", tmp_path / "simulated.json"
    page.write_text("before\n<!-- simulated: null -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(simulated, "PAGE", page)
    monkeypatch.setattr(simulated, "RECORD", record)
    assert "python docs/simulated.py --studies 4000" in (DOCS / "statistics.md").read_text()
    record.write_text((DOCS / "simulated.json").read_text())
    monkeypatch.setattr("sys.argv", ["docs/simulated.py", "--only", "null", "--studies", "2"])
    simulated.main()
    found = json.loads(record.read_text())
    assert found.pop("null")["studies"] == 2
    assert found.items() <= json.loads((DOCS / "simulated.json").read_text()).items()
    text = page.read_text()
    assert text.startswith(
        "before\n<!-- simulated: null -->\nIn 2 studies with one component that does nothing"
    )
    assert text.endswith("\n<!-- end -->\nafter\n")
